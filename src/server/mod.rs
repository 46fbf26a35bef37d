//! The running service: stores opened, state in memory, listeners bound, tasks started; and the
//! same in reverse.
//!
//! Ready means: everything the log knew at start is in memory, so no token is checked against an
//! older view. Read models may still be catching up. Stopping loses nothing: no new connection is
//! taken, requests in flight are answered, counted refusals are recorded, the log's queue is
//! drained.

mod descriptors;
mod integrity;
mod listen;
mod maintenance;
mod ops;
mod progress;
mod read_models;
#[cfg(test)]
mod rig;
mod signals;
mod stores;
#[cfg(test)]
mod tests;
mod unread;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use chrono::TimeDelta;
use projections::{ReadModel, Reader};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::administration::{self, DeclareError, Declined};
use crate::app::{self, App, Context, LoadError, Unavailable};
use crate::config::Config;
use crate::federation::Federation;
use crate::http::{self, Callbacks, Limits, Parts, ProviderTokens, Rates, Shared, Urls};
use crate::log;
use crate::secret::Secret;
use crate::vault::{MasterKeyError, VaultError};
use crate::{clock, gateway};

use descriptors::Connections;
pub use descriptors::raise_descriptor_limit;
pub use integrity::{Broken, verify};
pub use maintenance::seal_until;
pub use signals::stopped;
pub use stores::{
    Claim, Stores, claim, connections, create_private, migrate, open_embedded_read_only,
    open_read_only, schemas,
};

/// The read models' file in the data folder.
pub const READ_MODEL_FILE: &str = "read.db";

/// How long requests in flight may take to end.
const DRAIN: Duration = Duration::from_secs(10);
/// How long a store may take after that: whoever stops a node has not much more patience, and what a
/// silent database holds is there at the next start.
const CLOSE: Duration = Duration::from_secs(5);

/// Why the service did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder cannot be created.
    #[error("the data folder cannot be created")]
    DataFolder(#[source] io::Error),
    /// Another process has the data folder.
    #[error("another process uses {}", .0.display())]
    InUse(PathBuf),
    /// The log cannot be opened.
    #[error(transparent)]
    Log(#[from] log::OpenError),
    /// There is a vault whose log is gone.
    #[error(
        "there is a vault and no log beside it: put the log back, or take the vault away to begin anew"
    )]
    LogMissing,
    /// There is a log whose vault is gone.
    #[error(
        "there is a log of {entries} entries and no vault beside it: put the vault back, which alone opens what is sealed there"
    )]
    VaultMissing {
        /// How many entries the log has.
        entries: u64,
    },
    /// The master key is missing, weak or wrong.
    #[error("the master key cannot be used")]
    MasterKey(#[from] MasterKeyError),
    /// The vault cannot be opened.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The state could not be put together.
    #[error("the state cannot be loaded")]
    Load(#[from] LoadError),
    /// Opening the stores broke off.
    #[error("opening the stores broke off")]
    Stopped,
    /// A store failed while the state was put together.
    #[error("a store failed at start")]
    Store(#[from] Unavailable),
    /// An address cannot be listened at.
    #[error("cannot listen at {address}")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The machine's TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[source] reqwest::Error),
    /// A declared provider or proxy was refused.
    #[error(transparent)]
    Declared(#[from] Declined),
}

impl From<DeclareError> for StartError {
    fn from(error: DeclareError) -> Self {
        match error {
            DeclareError::Declined(declined) => declined.into(),
            DeclareError::Unavailable(error) => error.into(),
        }
    }
}

/// A service that has started.
pub struct Running {
    /// Where the authorization server listens.
    pub server_addr: SocketAddr,
    /// Where the MCP gateway listens.
    pub gateway_addr: SocketAddr,
    /// Where metrics and health are.
    pub ops_addr: SocketAddr,
    /// The first operator's token, if it was made at this start: shown once.
    pub new_bootstrap_token: Option<Secret>,
    app: Arc<App>,
    stopping: CancellationToken,
    tasks: TaskTracker,
    /// Records refused requests until all requests are answered.
    refusals: tokio::task::JoinHandle<()>,
    drained: CancellationToken,
    follower: Follower,
}

struct Follower {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
    _claim: Claim,
}

/// Makes what a first start makes: data folder, keys, the first operator, the declared providers
/// and proxies. Returns the operator's token if it was drawn.
///
/// # Errors
/// As for [`start`]; nothing is listened at.
pub async fn prepare(config: &Config) -> Result<Option<Secret>, StartError> {
    let (shared, follower) = assemble(config).await?;
    let token = let_in_first_operator(&shared.app, config).await;
    in_time(close(&shared.app, follower)).await;
    Ok(token?)
}

/// A service with its stores and addresses, which answers nobody yet.
pub struct Bound {
    config: Config,
    shared: Shared,
    follower: Follower,
    /// Of the authorization server, the gateway, and operations.
    listeners: [TcpListener; 3],
}

/// Starts the service.
///
/// # Errors
/// A store, a key, an address or a declaration cannot be used.
pub async fn start(config: Config) -> Result<Running, StartError> {
    bind(config).await?.start().await
}

/// Does all of a start that may be broken off at any time.
///
/// # Errors
/// As for [`start`].
pub async fn bind(config: Config) -> Result<Bound, StartError> {
    let (shared, follower) = assemble(&config).await?;
    let listeners = async {
        let server = listen_at(config.server.listen).await?;
        let gateway = listen_at(config.gateway.listen).await?;
        let ops = listen_at(config.ops.listen).await?;
        Ok([server, gateway, ops])
    };
    match listeners.await {
        Ok(listeners) => Ok(Bound {
            config,
            shared,
            follower,
            listeners,
        }),
        Err(error) => {
            in_time(close(&shared.app, follower)).await;
            Err(error)
        }
    }
}

impl Bound {
    /// Lets the first operator in and answers. Whoever calls waits for it: the operator's token is told once.
    ///
    /// # Errors
    /// A store failed.
    pub async fn start(self) -> Result<Running, StartError> {
        match let_in_first_operator(&self.shared.app, &self.config).await {
            Ok(token) => Ok(self.answer(token)),
            Err(error) => {
                in_time(close(&self.shared.app, self.follower)).await;
                Err(error.into())
            }
        }
    }

    fn answer(self, new_bootstrap_token: Option<Secret>) -> Running {
        let Self {
            config,
            shared,
            follower,
            listeners: [server, gateway, ops],
        } = self;
        let address =
            |listener: &TcpListener, configured| listener.local_addr().unwrap_or(configured);
        let drained = CancellationToken::new();
        let refusals = app::record_refusals(shared.app.clone(), drained.clone().cancelled_owned());
        let running = Running {
            server_addr: address(&server, config.server.listen),
            gateway_addr: address(&gateway, config.gateway.listen),
            ops_addr: address(&ops, config.ops.listen),
            new_bootstrap_token,
            app: shared.app.clone(),
            stopping: shared.stopping.clone(),
            tasks: shared.tasks.clone(),
            refusals: tokio::spawn(refusals),
            drained,
            follower,
        };
        let tasks = &running.tasks;
        let stopping = &running.stopping;
        let allowed = Connections::allowed();
        tasks.spawn(listen::serve(
            server,
            http::routes(shared.clone()),
            stopping.clone(),
            allowed.server,
        ));
        tasks.spawn(listen::serve(
            gateway,
            gateway::routes(shared.clone()),
            stopping.clone(),
            allowed.gateway,
        ));
        tasks.spawn(listen::serve(
            ops,
            ops::routes(shared.clone()),
            stopping.clone(),
            usize::MAX,
        ));
        tasks.spawn(maintenance::run(shared.clone()));
        tasks.spawn(maintenance::catch_up(shared.clone()));
        tasks.spawn(maintenance::rewrap(shared.clone()));
        let sealed = shared.clone();
        tasks.spawn_blocking(move || maintenance::seal(&sealed));
        integrity::watch(shared);
        running
    }
}

impl Running {
    /// Ends the service: answers what is in flight, records what was counted, drains the log.
    pub async fn stop(self) {
        self.stopping.cancel();
        self.tasks.close();
        if tokio::time::timeout(DRAIN, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("some requests did not end in time");
        }
        // Until now somebody could be refused.
        self.drained.cancel();
        in_time(async {
            let _ = self.refusals.await;
            close(&self.app, self.follower).await;
        })
        .await;
        // A log that is closed can be read, and who opens it meanwhile may seal it, too.
        let sealing = tokio::task::spawn_blocking(move || {
            maintenance::seal_the_rest(&self.app.log, &self.app.vault, CLOSE);
        });
        let _ = sealing.await;
    }
}

impl Follower {
    async fn end(self) {
        self.stop.store(true, Ordering::Release);
        let _ = tokio::task::spawn_blocking(move || self.thread.join()).await;
    }
}

/// Opens the stores and puts the state together; commands can be executed from here on.
async fn assemble(config: &Config) -> Result<(Shared, Follower), StartError> {
    let opened = config.clone();
    let opening = tokio::task::spawn_blocking(move || open(&opened));
    let Opened {
        app,
        read_model,
        reader,
        claim,
    } = opening.await.unwrap_or(Err(StartError::Stopped))?;
    let now = clock::now();
    app.vault.prepare(now).await?;
    let follower = follow(app.clone(), read_model, claim);
    match settle(config, app.clone(), reader).await {
        Ok(shared) => Ok((shared, follower)),
        Err(error) => {
            in_time(close(&app, follower)).await;
            Err(error)
        }
    }
}

/// Brings what is in memory up to the log, and the log up to the configuration.
async fn settle(config: &Config, app: Arc<App>, reader: Reader) -> Result<Shared, StartError> {
    app.until_followed().await?;
    let shared: Shared = parts(config, app.clone(), reader)?.into();
    let system = Context::system(clock::now());
    app.ensure_signing_keys(&system).await?;
    administration::declare(&app, config, &system).await?;
    Ok(shared)
}

async fn close(app: &App, follower: Follower) {
    app.log.close().await;
    follower.end().await;
}

async fn in_time(closed: impl Future<Output = ()>) {
    if tokio::time::timeout(CLOSE, closed).await.is_err() {
        tracing::warn!("the log did not answer in time");
    }
}

/// Comes after whatever else can stop a start: a token that is drawn is shown by whoever called, or by nobody ever.
async fn let_in_first_operator(app: &App, config: &Config) -> Result<Option<Secret>, Unavailable> {
    let system = Context::system(clock::now());
    administration::bootstrap(app, &config.admin, &system).await
}

/// What the service stands on.
struct Opened {
    app: Arc<App>,
    read_model: ReadModel,
    reader: Reader,
    claim: Claim,
}

/// Opens the stores and loads what has to be in memory. Blocks.
fn open(config: &Config) -> Result<Opened, StartError> {
    let Stores { log, vault, claim } = Stores::open(config)?;
    let path = config.store.data_dir.join(READ_MODEL_FILE);
    let app = App::new(log, vault);
    let (read_model, reader) = read_models::load(&path, &app)?;
    Ok(Opened {
        app: Arc::new(app),
        read_model,
        reader,
        claim,
    })
}

fn follow(app: Arc<App>, read_model: ReadModel, claim: Claim) -> Follower {
    let stop = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Handle::current();
    let thread = {
        let stop = stop.clone();
        std::thread::spawn(move || app::follow(&app, read_model, &runtime, &stop))
    };
    Follower {
        stop,
        thread,
        _claim: claim,
    }
}

fn parts(config: &Config, app: Arc<App>, reader: Reader) -> Result<Parts, StartError> {
    Ok(Parts {
        app,
        federation: Federation::new().map_err(StartError::Tls)?,
        urls: Urls {
            server: config.server.public_url.as_str().to_owned(),
            gateway: config.gateway.public_url.as_str().to_owned(),
        },
        rates: Rates::new(Limits {
            registrations_per_minute: config.limits.registrations_per_minute,
            authorizations_per_minute: config.limits.authorizations_per_minute,
            tokens_per_minute: config.limits.tokens_per_minute,
        }),
        trusted_proxies: config.network.trusted_proxies.clone(),
        gateway: config.gateway.clone(),
        mcp_body_bytes: config.limits.mcp_body_bytes,
        unused_client: match config.limits.unused_client_hours {
            0 => None,
            hours => Some(TimeDelta::hours(hours.into())),
        },
        reader,
        provider_tokens: ProviderTokens::default(),
        callbacks: Callbacks::default(),
        stopping: CancellationToken::new(),
        tasks: TaskTracker::new(),
    })
}

async fn listen_at(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| StartError::Listen { address, source })
}
