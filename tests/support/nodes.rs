//! Several nodes over one database, as a load balancer's customer meets them.

use std::fs;
use std::ops::Index;
use std::path::{Path, PathBuf};

use crate::balancer::Balancer;
use crate::oauth::{Client, Proxy};
use crate::server::{Server, Setup};

/// The master key that all nodes share.
const MASTER_KEY: &str = "mPqkR0zq3lJYw1nC7Vb2hXf8tSgE5uDyA9oKiL4Z6Hc=";

/// Nodes with one database, one master key and the same public URLs, which are their balancers'.
#[derive(Debug)]
pub struct Nodes {
    servers: Vec<Server>,
    /// In front of the authorization servers.
    pub server: Balancer,
    /// In front of the gateways.
    pub gateway: Balancer,
}

impl Nodes {
    /// `count` nodes of the database at `url`, started together.
    pub async fn start(count: usize, url: &str) -> Self {
        Self::with((0..count).map(|_| Setup::default().database(url))).await
    }

    /// Nodes that differ, started together.
    pub async fn with(setups: impl IntoIterator<Item = Setup>) -> Self {
        let mut nodes = Self {
            servers: Vec::new(),
            server: Balancer::start().await,
            gateway: Balancer::start().await,
        };
        let starting: Vec<_> = setups
            .into_iter()
            .map(|setup| tokio::spawn(nodes.public(setup).start()))
            .collect();
        for server in starting {
            nodes.take(server.await.expect("a node starts"));
        }
        nodes
    }

    /// Starts a further node.
    pub async fn add(&mut self, setup: Setup) {
        let server = self.public(setup).start().await;
        self.take(server);
    }

    /// Starts a server with the same public URLs that is none of them.
    pub async fn start_apart(&self, setup: Setup) -> Server {
        self.public(setup).start().await
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.servers.len()
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = &Server> {
        self.servers.iter()
    }

    /// `count` of them, in turn.
    pub fn in_turn(&self, count: usize) -> impl Iterator<Item = &Server> {
        self.servers.iter().cycle().take(count)
    }

    /// One, to be stopped and started.
    pub fn get_mut(&mut self, number: usize) -> &mut Server {
        &mut self.servers[number]
    }

    fn public(&self, setup: Setup) -> Setup {
        setup
            .env("GRANTLOG_SERVER__PUBLIC_URL", &self.server.url)
            .env("GRANTLOG_GATEWAY__PUBLIC_URL", &self.gateway.url)
    }

    fn take(&mut self, server: Server) {
        self.server.add(&server.url);
        self.gateway.add(&server.gateway_url);
        self.servers.push(server);
    }
}

impl Index<usize> for Nodes {
    type Output = Server;

    fn index(&self, number: usize) -> &Server {
        &self.servers[number]
    }
}

impl Setup {
    /// Keeps log and vault in the database at `url`, as every node of a test does.
    #[must_use]
    pub fn database(self, url: &str) -> Self {
        self.nodes_master_key()
            .env("GRANTLOG_STORE__DATABASE_URL", url)
    }

    /// Has the master key of the nodes, and what is configured otherwise.
    #[must_use]
    pub fn nodes_master_key(self) -> Self {
        self.env("GRANTLOG_KEYS__MASTER_KEY", MASTER_KEY)
    }
}

impl Setup {
    /// Runs the server on a machine whose clock is so many seconds ahead, or behind.
    #[must_use]
    pub fn clock(self, seconds: i64) -> Self {
        // What measures how long something takes stays as it is.
        self.env("LD_PRELOAD", &faketime())
            .env("FAKETIME", &format!("{seconds:+}s"))
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    }

    /// Runs the server on a machine whose clock is set by writing to `file`, as in `+7200s`.
    #[must_use]
    pub fn clock_set_by(self, file: &Path) -> Self {
        self.env("LD_PRELOAD", &faketime())
            .env("FAKETIME_TIMESTAMP_FILE", &file.display().to_string())
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    }
}

/// The library that shifts a program's clock by `FAKETIME`; Debian's folder is named after the machine's kind.
#[must_use]
pub fn faketime() -> String {
    let folders = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let folders = folders.map(|folder| folder.path());
    let folders = folders.chain(["/usr/lib", "/usr/lib64"].map(PathBuf::from));
    let mut libraries = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    let library = libraries.find(|library| library.exists());
    let library = library.expect("these tests need libfaketime: install the package faketime");
    library.display().to_string()
}

impl Proxy {
    /// The same proxy at one node's own addresses, past the balancers.
    #[must_use]
    pub fn at(&self, node: &Server) -> Self {
        Self {
            issuer: moved(&self.issuer, &node.url),
            mcp_url: moved(&self.mcp_url, &node.gateway_url),
            ..self.clone()
        }
    }
}

impl Client {
    /// The same client, asking one node past the balancers.
    #[must_use]
    pub fn at(&self, node: &Server) -> Self {
        Self {
            proxy: self.proxy.at(node),
            ..self.clone()
        }
    }
}

/// `url` at another origin.
pub fn moved(url: &str, origin: &str) -> String {
    let path = url.splitn(4, '/').nth(3).unwrap_or_default();
    format!("{origin}/{path}")
}
