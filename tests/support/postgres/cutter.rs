//! A network between a node and PostgreSQL, which can be cut, held up, or cut at the commit.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use url::Url;

/// What happens to the next commit that passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// It does not arrive.
    Before,
    /// Its rows arrive, what commits them does not.
    Within,
    /// It arrives, and nobody waits for what becomes of it.
    While,
    /// It is answered, and the answer is lost.
    After,
    /// The node is cut off; the commit arrives a good while later, from a proxy that holds on to it.
    Late,
}

/// How the network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// Everything passes.
    Open,
    /// Connections end, and new ones end at once.
    Severed,
    /// Connections stay, and nothing passes: both ends wait.
    Silent,
}

/// The network; clones share it.
#[derive(Clone)]
pub struct Cutter {
    port: u16,
    socket: PathBuf,
    next: Arc<Mutex<Option<Cut>>>,
    cutting: watch::Sender<usize>,
    line: watch::Sender<Line>,
}

impl Cutter {
    /// Lies between a loopback port and the socket in `database`'s URL.
    pub async fn before(database: &str) -> Self {
        let url = Url::parse(database).unwrap();
        let mut pairs = url.query_pairs();
        let (_, dir) = pairs.find(|(key, _)| key == "host").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let cutter = Self {
            port: listener.local_addr().unwrap().port(),
            socket: PathBuf::from(dir.into_owned()).join(".s.PGSQL.5432"),
            next: Arc::default(),
            cutting: watch::channel(0).0,
            line: watch::channel(Line::Open).0,
        };
        let network = cutter.clone();
        tokio::spawn(async move {
            while let Ok((node, _)) = listener.accept().await {
                let network = network.clone();
                tokio::spawn(async move { network.connect(node).await });
            }
        });
        cutter
    }

    /// The same database, reached through here.
    pub fn url(&self, database: &str) -> String {
        let url = Url::parse(database).unwrap();
        format!("postgres://grantlog@127.0.0.1:{}{}", self.port, url.path())
    }

    /// Cuts the connection over which the next entries are committed.
    pub fn cut_next(&self, cut: Cut) {
        *self.next.lock().unwrap() = Some(cut);
    }

    /// Whether that has happened.
    pub fn has_cut(&self) -> bool {
        self.next.lock().unwrap().is_none()
    }

    /// Waits until whatever is cut has arrived, or never will.
    pub async fn quiet(&self) {
        let mut cutting = self.cutting.subscribe();
        cutting.wait_for(|cutting| *cutting == 0).await.unwrap();
    }

    /// Ends every connection, and new ones as soon as they are made.
    pub fn sever(&self) {
        self.line.send_replace(Line::Severed);
    }

    /// Lets nothing pass, while every connection seems to be good.
    pub fn silence(&self) {
        self.line.send_replace(Line::Silent);
    }

    /// Lets everything pass again, also what was held back.
    pub fn mend(&self) {
        self.line.send_replace(Line::Open);
    }

    async fn connect(&self, node: TcpStream) {
        if let Ok(server) = UnixStream::connect(&self.socket).await {
            self.carry(node, server).await;
        }
    }

    /// Carries bytes both ways until one end closes, or it is cut.
    async fn carry(&self, mut node: TcpStream, mut server: UnixStream) {
        let mut line = self.line.subscribe();
        let (mut sent, mut answered) = (vec![0; 1 << 20], vec![0; 1 << 20]);
        loop {
            let now = *line.borrow_and_update();
            match now {
                Line::Open => {}
                Line::Severed => return,
                Line::Silent => {
                    let _ = line.changed().await;
                    continue;
                }
            }
            tokio::select! {
                biased;
                _ = line.changed() => {}
                read = node.read(&mut sent) => {
                    let Some(sent) = some(read, &sent) else { return };
                    let end = end_of_commit(sent);
                    let cut = self.next.lock().unwrap().take_if(|_| end.is_some());
                    if let (Some(cut), Some(end)) = (cut, end) {
                        let mut sent = sent.to_vec();
                        while !sent.ends_with(end) {
                            node.read_buf(&mut sent).await.unwrap();
                        }
                        self.cutting.send_modify(|cutting| *cutting += 1);
                        cut_at(cut, &sent, end.len(), node, server).await;
                        return self.cutting.send_modify(|cutting| *cutting -= 1);
                    }
                    if server.write_all(sent).await.is_err() {
                        return;
                    }
                }
                read = server.read(&mut answered) => {
                    let Some(answered) = some(read, &answered) else { return };
                    if node.write_all(answered).await.is_err() { return }
                }
            }
        }
    }
}

/// How what has begun ends if it appends entries: with a COMMIT, or, called in one step, with the message `Sync`.
fn end_of_commit(sent: &[u8]) -> Option<&'static [u8]> {
    let has = |what| find(sent, what).is_some();
    if has(b"FROM grantlog_log.append") {
        Some(b"S\0\0\0\x04")
    } else {
        has(b"INSERT INTO grantlog_log").then_some(b"COMMIT\0")
    }
}

async fn cut_at(cut: Cut, sent: &[u8], end: usize, node: TcpStream, mut server: UnixStream) {
    match cut {
        Cut::Before => {}
        Cut::Within => server.write_all(&sent[..sent.len() - end]).await.unwrap(),
        Cut::While => server.write_all(sent).await.unwrap(),
        Cut::After => {
            server.write_all(sent).await.unwrap();
            answered(&mut server).await;
        }
        Cut::Late => {
            drop(node);
            tokio::time::sleep(Duration::from_millis(700)).await;
            server.write_all(sent).await.unwrap();
            // Then the server is left, too.
            answered(&mut server).await;
        }
    }
}

/// Reads until no transaction is open any more.
async fn answered(server: &mut UnixStream) {
    let mut answer = Vec::new();
    while find(&answer, b"Z\0\0\0\x05I").is_none() {
        server.read_buf(&mut answer).await.unwrap();
    }
}

fn some(read: std::io::Result<usize>, bytes: &[u8]) -> Option<&[u8]> {
    read.ok()
        .filter(|read| *read > 0)
        .map(|read| &bytes[..read])
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
