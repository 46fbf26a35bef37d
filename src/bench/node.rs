//! The real program, with a data folder of its own, under the declared provider and proxy.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use http::StatusCode;

use super::connection::Connection;
use super::machine::{self, Memory, Placement};
use super::provider::{CLIENT_ID, CLIENT_SECRET};
use super::{BenchError, Fallible};
use crate::demo;
use crate::keys::Algorithm;
use crate::secret::Secret;

const READY_WITHIN: Duration = Duration::from_secs(30);
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(600);
const STOPPED_WITHIN: Duration = Duration::from_secs(30);

/// A running server; killed when dropped.
pub(super) struct Node {
    child: Child,
    /// `host:port` of the authorization server.
    pub host: String,
    /// `host:port` of the MCP gateway.
    pub gateway: String,
    ops: String,
    /// From the start of the process to its first "ready".
    pub started_in: Duration,
}

/// What a node works with.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    /// Where log and vault are, if not in the folder.
    pub database: Option<&'a Database>,
    /// Where the folders of nodes are made.
    pub folder: &'a Path,
    /// `host:port` of the identity provider.
    pub provider: &'a str,
    /// `host:port` of the MCP server.
    pub upstream: &'a str,
    pub placement: Placement,
    pub algorithm: Algorithm,
}

/// A database and the key of the vault in it.
pub(super) struct Database {
    pub url: Secret,
    pub master_key: Secret,
}

/// Where a node's files are, and how it is started.
pub(super) struct Place<'a> {
    folder: PathBuf,
    placement: Placement,
    database: Option<&'a Database>,
}

impl<'a> Place<'a> {
    /// A new folder with a configuration.
    pub fn new(surroundings: Surroundings<'a>, name: &str) -> Fallible<Self> {
        let Surroundings {
            database,
            provider,
            upstream,
            placement,
            algorithm,
            ..
        } = surroundings;
        let folder = surroundings.folder.join(name);
        fs::create_dir(&folder)?;
        let configuration = format!(
            r#"
[limits]
registrations_per_minute = 0
authorizations_per_minute = 0
tokens_per_minute = 0

[[provider]]
name = "bench"
type = "oidc"
issuer = "http://{provider}"
client_id = "{CLIENT_ID}"
client_secret = "{CLIENT_SECRET}"

[[proxy]]
name = "bench"
upstream_url = "http://{upstream}/mcp"
provider = "bench"
[proxy.config]
oauth_proxy_require_consent = false
oauth_proxy_token_alg = "{algorithm}"
oauth_proxy_scopes = "read write"
"#
        );
        fs::write(folder.join("grantlog.toml"), configuration)?;
        Ok(Self {
            folder,
            placement,
            database,
        })
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.join("grantlog-data")
    }

    /// The size of a file of the data folder, in bytes; 0 while there is none.
    pub fn size_of(&self, file: &str) -> u64 {
        fs::metadata(self.data().join(file)).map_or(0, |metadata| metadata.len())
    }

    /// Starts the server and waits until it is ready.
    pub async fn start(&self) -> Fallible<Node> {
        self.start_as(None).await
    }

    /// The same for one more node of the service that `first` belongs to.
    pub async fn start_beside(&self, first: &Node) -> Fallible<Node> {
        self.start_as(Some(first)).await
    }

    async fn start_as(&self, first: Option<&Node>) -> Fallible<Node> {
        let listeners = demo::free_ports()?.map(|port| format!("{}:{port}", Ipv4Addr::LOCALHOST));
        let [server, gateway, ops] = listeners;
        let public = first.map_or(&server, |first| &first.host);
        let public_gateway = first.map_or(&gateway, |first| &first.gateway);
        let log = fs::File::create(self.folder.join("server.log"))?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("serve")
            .current_dir(&self.folder)
            .env_clear()
            .env("GRANTLOG_SERVER__LISTEN", &server)
            .env("GRANTLOG_SERVER__PUBLIC_URL", format!("http://{public}"))
            .env("GRANTLOG_GATEWAY__LISTEN", &gateway)
            .env(
                "GRANTLOG_GATEWAY__PUBLIC_URL",
                format!("http://{public_gateway}"),
            )
            .env("GRANTLOG_OPS__LISTEN", &ops)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        if let Some(Database { url, master_key }) = self.database {
            command
                .env("GRANTLOG_STORE__DATABASE_URL", url.expose())
                .env("GRANTLOG_KEYS__MASTER_KEY", master_key.expose());
        }
        let began = Instant::now();
        let mut node = Node {
            child: self.placement.spawn(command)?,
            host: server,
            gateway,
            ops,
            started_in: Duration::ZERO,
        };
        while !node.is_ready().await {
            if let Some(status) = node.child.try_wait()? {
                let log = fs::read_to_string(self.folder.join("server.log"))?;
                let reason = format!("the server ended with {status}:\n{log}");
                return Err(BenchError::Server(reason));
            }
            still(began, READY_WITHIN, "the server does not become ready")?;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        node.started_in = began.elapsed();
        Ok(node)
    }
}

impl Node {
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    pub fn memory(&self) -> Option<Memory> {
        Memory::of(self.process())
    }

    /// Waits until the read models have followed the log to its end; returns the log's length.
    pub async fn catch_up(&self) -> Fallible<u64> {
        let began = Instant::now();
        let mut ops = Connection::open(&self.ops).await?;
        loop {
            let metrics = ops.get("/metrics", None).await?.text();
            let value = |name: &str| -> Option<u64> {
                let mut lines = metrics.lines();
                lines.find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
            };
            let head = value("grantlog_log_head ");
            if let Some(head) = head.filter(|_| value("grantlog_read_model_position ") == head) {
                return Ok(head);
            }
            still(began, CAUGHT_UP_WITHIN, "the read models do not follow")?;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends it as an operator would.
    pub async fn stop(mut self) -> Fallible<()> {
        machine::interrupt(&mut self.child)?;
        let began = Instant::now();
        while self.child.try_wait()?.is_none() {
            still(began, STOPPED_WITHIN, "the server does not end")?;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    async fn is_ready(&self) -> bool {
        let ready = async {
            let mut ops = Connection::open(&self.ops).await?;
            let answer = ops.get("/readyz", None).await?;
            Fallible::Ok(answer.status == StatusCode::OK)
        };
        ready.await.unwrap_or(false)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn still(began: Instant, within: Duration, reason: &str) -> Fallible<()> {
    if began.elapsed() > within {
        return Err(BenchError::Server(reason.to_owned()));
    }
    Ok(())
}
