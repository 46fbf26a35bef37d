//! A load balancer in front of several servers, without sticky sessions.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Hands each connection to the next server, or to the one that a test wants.
///
/// Whoever is to meet another server with each request must not keep connections.
#[derive(Debug)]
pub struct Balancer {
    /// Its origin.
    pub url: String,
    turns: Arc<Mutex<Turns>>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Turns {
    servers: Vec<SocketAddr>,
    next: usize,
    /// Which servers the next connections lead to, before it is one after the other again.
    wanted: VecDeque<usize>,
}

impl Balancer {
    /// A balancer that has no servers yet.
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let turns = Arc::<Mutex<Turns>>::default();
        let known = Arc::clone(&turns);
        let accepting = tokio::spawn(async move {
            while let Ok((caller, _)) = listener.accept().await {
                tokio::spawn(carry(caller, Arc::clone(&known)));
            }
        });
        Self {
            url: format!("http://{address}"),
            turns,
            accepting,
        }
    }

    /// Adds a server, by its origin.
    pub fn add(&self, origin: &str) {
        let address = origin.trim_start_matches("http://").parse();
        let address = address.expect("an origin on loopback");
        self.turns().servers.push(address);
    }

    /// Leads the next connections to these servers, in this order.
    pub fn lead_next_to(&self, servers: &[usize]) {
        self.turns().wanted = servers.iter().copied().collect();
    }

    fn turns(&self) -> std::sync::MutexGuard<'_, Turns> {
        self.turns.lock().expect("no task panicked")
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Turns {
    /// The servers to try, best first.
    fn take(&mut self) -> Vec<SocketAddr> {
        let count = self.servers.len();
        let first = self.wanted.pop_front().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        (0..count)
            .map(|n| self.servers[(first + n) % count])
            .collect()
    }
}

async fn carry(mut caller: TcpStream, turns: Arc<Mutex<Turns>>) {
    let servers = turns.lock().expect("no task panicked").take();
    for address in servers {
        if let Ok(mut server) = TcpStream::connect(address).await {
            let _ = tokio::io::copy_bidirectional(&mut caller, &mut server).await;
            return;
        }
    }
}
