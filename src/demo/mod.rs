//! `grantlog demo`: the whole job with real parts and nothing installed. A server and gateway on
//! loopback with a throw-away data folder, an identity provider and an MCP server that exist only
//! here, one client, and a theft.
//!
//! Nothing here is reachable from `serve`, and nothing here reaches into the server: the story
//! goes over HTTP like anybody's, so what it shows is what users get. Only the log is verified in
//! its files, from outside, as it should be.

mod browser;
mod check;
mod client;
mod identity_provider;
mod mcp_server;
mod record;
mod story;
mod transcript;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::pin::pin;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::clock;
use crate::config::{Config, ConfigError, Sources};
use crate::log::Log;
use crate::server::{self, Running, StartError};
use crate::vault::{self, MasterKeys, Vault};
use check::{Unexpected, at};
use identity_provider::{IdentityProvider, PEOPLE};
use mcp_server::McpServer;
use record::Operator;
use transcript::Transcript;

/// Why the demo ended early.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A step of the story did not hold.
    #[error("{step}: expected {expected}, found {found}")]
    Step {
        /// Which.
        step: &'static str,
        /// What should have come.
        expected: String,
        /// What came.
        found: String,
    },
    /// A port, the data folder or stdout was refused by the system.
    #[error("the demo cannot use its ports, its folder or its output")]
    System(#[from] io::Error),
    /// The demo's own configuration was refused.
    #[error(transparent)]
    Config(#[from] Box<ConfigError>),
    /// The server did not start.
    #[error("the server did not start")]
    Server(#[from] Box<StartError>),
    /// Somebody stopped the demo before the story's end.
    #[error("stopped before the end of the story")]
    Stopped,
}

/// Runs the demo; without `exit` it serves after the story until it is stopped. The data folder
/// is gone afterwards in any case.
///
/// # Errors
/// The first step of the story that did not hold; or the demo could not start.
pub async fn run(exit: bool) -> Result<(), DemoError> {
    let mut stop = pin!(server::stopped());
    let stage = tokio::select! {
        stage = Stage::set_up() => stage?,
        () = &mut stop => return Err(DemoError::Stopped),
    };
    let told = tokio::select! {
        told = stage.perform(exit) => told,
        () = &mut stop => Err(DemoError::Stopped),
    };
    if told.is_ok() && !exit {
        stop.await;
    }
    stage.running.stop().await;
    told
}

/// Everything that runs, and where.
struct Stage {
    running: Running,
    identity_provider: IdentityProvider,
    _mcp_server: McpServer,
    operator: Operator,
    server_url: String,
    mcp_url: String,
    operator_token: Zeroizing<String>,
    data: TempDir,
}

impl Stage {
    async fn set_up() -> Result<Self, DemoError> {
        let data = tempfile::Builder::new()
            .prefix("grantlog-demo-")
            .tempdir()?;
        let identity_provider = IdentityProvider::start().await?;
        let mcp_server = McpServer::start().await?;
        let [server, gateway, ops] = free_ports()?;
        let server_url = format!("http://{}:{server}", Ipv4Addr::LOCALHOST);
        let operator_token = Zeroizing::new(URL_SAFE_NO_PAD.encode(clock::random::<32>()));
        let config = config(data.path(), [server, gateway, ops], &operator_token)?;
        let running = server::start(config).await.map_err(Box::new)?;
        let operator =
            Operator::new(server_url.clone(), operator_token.clone()).map_err(at("set-up"))?;
        let mcp_url = operator
            .set_up(&identity_provider, mcp_server.url())
            .await
            .map_err(at("set-up"))?;
        Ok(Self {
            running,
            identity_provider,
            _mcp_server: mcp_server,
            operator,
            server_url,
            mcp_url,
            operator_token,
            data,
        })
    }

    /// Says what there is, plays the story, and lets the record tell it again.
    async fn perform(&self, exit: bool) -> Result<(), DemoError> {
        let mut out = Transcript::new();
        self.introduce(&mut out)?;
        out.heading("The story")?;
        let client_id =
            story::play(&self.mcp_url, self.identity_provider.issuer(), &mut out).await?;
        let stolen = self.operator.tell(&client_id, &mut out).await?;
        self.prove(&mut out).await?;
        if exit {
            out.heading("Every step held. The server stops and its data folder is removed.")?;
        } else {
            self.invite(&stolen, &mut out)?;
        }
        Ok(())
    }

    fn introduce(&self, out: &mut Transcript) -> io::Result<()> {
        out.heading(format_args!(
            "grantlog {}  demo: throw-away data, loopback only, NOT for production",
            env!("CARGO_PKG_VERSION")
        ))?;
        out.fact("Server", &self.server_url)?;
        out.fact(
            "MCP server",
            format_args!("{}  (toy tools: add, echo)", self.mcp_url),
        )?;
        out.fact(
            "Provider",
            format_args!("{}  (demo only)", self.identity_provider.issuer()),
        )?;
        for person in &PEOPLE {
            out.fact(
                "",
                format_args!("{:<11} password {}", person.login, person.password),
            )?;
        }
        out.fact("Admin token", self.operator_token.as_str())?;
        out.fact(
            "Data",
            format_args!("{}  (removed at the end)", self.data.path().display()),
        )?;
        out.fact(
            "Try it",
            format_args!("claude mcp add --transport http demo {}", self.mcp_url),
        )
    }

    /// Re-reads the whole log beside the running server, as `grantlog verify --data` does.
    async fn prove(&self, out: &mut Transcript) -> Result<(), DemoError> {
        let folder = self.data.path().to_owned();
        let (verified, head) = tokio::task::spawn_blocking(move || verify(&folder))
            .await
            .unwrap_or_else(|error| Err(Unexpected::new("an intact log", error)))
            .map_err(at("verify"))?;
        out.heading("The log")?;
        out.line(format_args!("{verified}/{head} entries valid"))?;
        Ok(())
    }

    fn invite(&self, stolen: &str, out: &mut Transcript) -> io::Result<()> {
        out.heading("It keeps running. In another terminal:")?;
        out.line(format_args!("export GRANTLOG_URL={}", self.server_url))?;
        out.line(format_args!(
            "export GRANTLOG_TOKEN={}",
            self.operator_token.as_str()
        ))?;
        out.line("grantlog logins")?;
        out.line(format_args!("grantlog grant story {stolen}"))?;
        out.line("grantlog events tail")?;
        out.line(format_args!(
            "grantlog verify --data {}",
            self.data.path().display()
        ))?;
        out.heading("Ctrl-C ends it and removes the data folder.")
    }
}

/// Three ports that were free a moment ago: public URLs must be known before the server starts.
pub(crate) fn free_ports() -> io::Result<[u16; 3]> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let listeners = [bind()?, bind()?, bind()?];
    let [server, gateway, ops] = listeners.each_ref().map(TcpListener::local_addr);
    Ok([server?.port(), gateway?.port(), ops?.port()])
}

/// The server's configuration: nothing of this process's environment, and no file.
fn config(
    data: &Path,
    [server, gateway, ops]: [u16; 3],
    operator_token: &str,
) -> Result<Config, Box<ConfigError>> {
    let loopback = |port: u16| format!("{}:{port}", Ipv4Addr::LOCALHOST);
    let environment: BTreeMap<String, String> = [
        ("SERVER__LISTEN", loopback(server)),
        ("SERVER__PUBLIC_URL", format!("http://{}", loopback(server))),
        ("GATEWAY__LISTEN", loopback(gateway)),
        (
            "GATEWAY__PUBLIC_URL",
            format!("http://{}", loopback(gateway)),
        ),
        ("OPS__LISTEN", loopback(ops)),
        ("STORE__DATA_DIR", data.display().to_string()),
        ("ADMIN__BOOTSTRAP_TOKEN", operator_token.to_owned()),
    ]
    .into_iter()
    .map(|(key, value)| (format!("GRANTLOG_{key}"), value))
    .collect();
    Config::resolve(Sources {
        flags: &BTreeMap::new(),
        environment: &environment,
        file: None,
        read: &|path| std::fs::read_to_string(path),
    })
    .map_err(Box::new)
}

/// How many entries are as they were written, and how many there are.
fn verify(folder: &Path) -> Result<(u64, u64), Unexpected> {
    let unreadable = |error: &dyn std::error::Error| Unexpected::new("a readable log", error);
    let log = Log::open_read_only(folder).map_err(|error| unreadable(&error))?;
    let master_keys = MasterKeys::in_data_folder(folder).map_err(|error| unreadable(&error))?;
    let vault = Vault::open_read_only(&folder.join(vault::FILE_NAME), master_keys)
        .map_err(|error| unreadable(&error))?;
    let verified = server::verify(&log, &vault, |_| true)
        .map_err(|error| Unexpected::new("an intact log", error))?;
    Ok((verified, log.head().max(verified)))
}
