//! The real program, with a data folder of its own, under the declared provider and proxy.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use http::StatusCode;

use crate::Fallible;
use crate::http::Connection;
use crate::machine::Pinning;
use crate::provider::{CLIENT_ID, CLIENT_SECRET};

const PROGRAM: &str = env!("CARGO_BIN_EXE_grantlog");
const READY_WITHIN: Duration = Duration::from_secs(30);
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(60);
const STOPPED_WITHIN: Duration = Duration::from_secs(30);

/// A running server; killed when dropped.
pub struct Node {
    child: Child,
    /// `host:port` of the authorization server.
    pub host: String,
    ops: String,
    /// From the start of the process to its first "ready".
    pub started_in: Duration,
}

/// Where a node's files are, and how it is started.
pub struct Place {
    folder: PathBuf,
    pinning: Pinning,
}

impl Place {
    /// A new folder under `parent` with a configuration for the provider at `provider`.
    pub fn new(parent: &Path, name: &str, provider: &str, pinning: Pinning) -> Fallible<Self> {
        let folder = parent.join(name);
        fs::create_dir(&folder)?;
        let configuration = format!(
            r#"
[limits]
registrations_per_minute = 0
authorizations_per_minute = 0
tokens_per_minute = 0

[[provider]]
name = "figures"
type = "oidc"
issuer = "http://{provider}"
client_id = "{CLIENT_ID}"
client_secret = "{CLIENT_SECRET}"

[[proxy]]
name = "figures"
upstream_url = "http://127.0.0.1:9/mcp"
provider = "figures"
[proxy.config]
oauth_proxy_require_consent = false
oauth_proxy_scopes = "read write"
"#
        );
        fs::write(folder.join("grantlog.toml"), configuration)?;
        Ok(Self { folder, pinning })
    }

    /// The folder with the stores.
    pub fn data(&self) -> PathBuf {
        self.folder.join("grantlog-data")
    }

    /// The size of a file of the data folder, in bytes.
    pub fn size_of(&self, file: &str) -> Fallible<u64> {
        Ok(fs::metadata(self.data().join(file))?.len())
    }

    /// Starts the server and waits until it is ready.
    pub async fn start(&self) -> Fallible<Node> {
        let [server, gateway, ops] = [free_port()?, free_port()?, free_port()?];
        let log = fs::File::create(self.folder.join("server.log"))?;
        let began = Instant::now();
        let child = self
            .pinning
            .command(PROGRAM)
            .arg("serve")
            .current_dir(&self.folder)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("GRANTLOG_SERVER__LISTEN", &server)
            .env("GRANTLOG_SERVER__PUBLIC_URL", format!("http://{server}"))
            .env("GRANTLOG_GATEWAY__LISTEN", &gateway)
            .env("GRANTLOG_GATEWAY__PUBLIC_URL", format!("http://{gateway}"))
            .env("GRANTLOG_OPS__LISTEN", &ops)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let mut node = Node {
            child,
            host: server,
            ops,
            started_in: Duration::ZERO,
        };
        while !node.is_ready().await {
            if let Some(status) = node.child.try_wait()? {
                let log = fs::read_to_string(self.folder.join("server.log"))?;
                return Err(format!("the server ended with {status}:\n{log}").into());
            }
            if began.elapsed() > READY_WITHIN {
                return Err("the server does not become ready".into());
            }
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

    /// Waits until the read models have followed the log to its end; returns the log's length.
    pub async fn catch_up(&self) -> Fallible<u64> {
        let began = Instant::now();
        let mut ops = Connection::open(&self.ops).await?;
        loop {
            let metrics = ops.get("/metrics", None).await?.text();
            let value = |name: &str| -> Option<u64> {
                let lines = metrics.lines();
                let mut values =
                    lines.filter_map(|line| line.strip_prefix(name)?.trim().parse().ok());
                values.next()
            };
            let head = value("grantlog_log_head").ok_or("the log has no length")?;
            if value("grantlog_read_model_position") == Some(head) {
                return Ok(head);
            }
            if began.elapsed() > CAUGHT_UP_WITHIN {
                return Err("the read models do not follow".into());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends it as an operator would.
    pub async fn stop(mut self) -> Fallible<()> {
        let process = self.process().to_string();
        Command::new("kill").args(["-INT", &process]).status()?;
        let began = Instant::now();
        while self.child.try_wait()?.is_none() {
            if began.elapsed() > STOPPED_WITHIN {
                return Err("the server does not end".into());
            }
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

/// `127.0.0.1` with a port that was free a moment ago.
pub fn free_port() -> Fallible<String> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?
        .local_addr()?
        .to_string())
}
