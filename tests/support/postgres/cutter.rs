//! A network between a node and PostgreSQL, which can be cut, held up, or cut at the commit.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use url::Url;

const COMMIT: &[u8] = b"COMMIT\0";

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

/// Whose commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Log,
    Vault,
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
    next: Arc<Mutex<Option<(Of, Cut)>>>,
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

    /// Cuts the connection over which the next entries of the log are committed.
    pub fn cut_next(&self, cut: Cut) {
        *self.next.lock().unwrap() = Some((Of::Log, cut));
    }

    /// Cuts the connection over which the next changes to the vault are committed.
    pub fn cut_next_of_vault(&self, cut: Cut) {
        *self.next.lock().unwrap() = Some((Of::Vault, cut));
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
        let mut vault_is_changed = false;
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
                    vault_is_changed |= changes_vault(sent);
                    let commit = commit(sent, vault_is_changed);
                    let cut = (self.next.lock().unwrap())
                        .take_if(|(of, _)| commit.is_some_and(|(whose, _)| whose == *of));
                    if let (Some((_, cut)), Some((_, end))) = (cut, commit) {
                        let mut sent = sent.to_vec();
                        while !sent.ends_with(end) {
                            node.read_buf(&mut sent).await.unwrap();
                        }
                        self.cutting.send_modify(|cutting| *cutting += 1);
                        cut_at(cut, &sent, end.len(), node, server).await;
                        return self.cutting.send_modify(|cutting| *cutting -= 1);
                    }
                    vault_is_changed &= !ends_transaction(sent);
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

/// Whose commit has begun, and how it ends: with a COMMIT, or, called in one step, with the message `Sync`. The log sends its
/// entries and what commits them at once; the vault waits for each answer.
fn commit(sent: &[u8], vault_is_changed: bool) -> Option<(Of, &'static [u8])> {
    if has(sent, b"FROM grantlog_log.append") {
        Some((Of::Log, b"S\0\0\0\x04"))
    } else if has(sent, b"INSERT INTO grantlog_log") {
        Some((Of::Log, COMMIT))
    } else {
        (vault_is_changed && has(sent, COMMIT)).then_some((Of::Vault, COMMIT))
    }
}

fn changes_vault(sent: &[u8]) -> bool {
    let changes: [&[u8]; 3] = [
        b"INSERT INTO grantlog_vault",
        b"UPDATE grantlog_vault",
        b"DELETE FROM grantlog_vault",
    ];
    changes.iter().any(|change| has(sent, change))
}

fn ends_transaction(sent: &[u8]) -> bool {
    has(sent, COMMIT) || has(sent, b"ROLLBACK\0")
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
    while !has(&answer, b"Z\0\0\0\x05I") {
        server.read_buf(&mut answer).await.unwrap();
    }
}

fn some(read: std::io::Result<usize>, bytes: &[u8]) -> Option<&[u8]> {
    read.ok()
        .filter(|read| *read > 0)
        .map(|read| &bytes[..read])
}

fn has(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}
