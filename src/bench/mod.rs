//! `grantlog bench`: what this machine carries, measured in a way that anybody can repeat.
//!
//! The real program serves in a process of its own, over a temporary data folder on a real disk;
//! this process plays the clients, their users' browsers, the identity provider and the MCP server.
//! Where the system can, each side has one CPU to itself. Beside it, in the same rounds and in
//! turn, stand bare endpoints that keep nothing: what the machine allows.
//!
//! Every answer is checked, and a wrong one ends the run. Everything goes over HTTP like anybody's
//! requests; only memory, CPU time and the sizes of files are looked up from outside. Client and
//! server share the machine: what is measured is the server's cost, not a network.
//!
//! Absent: anything of the server's insides, and any data of the user: no configuration is read.

mod bare;
mod connection;
mod flow;
mod history;
mod load;
mod machine;
mod markdown;
mod node;
mod oauth;
mod provider;
mod report;
mod rounds;
mod size;
mod tools;
mod upstream;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use clap::ValueEnum;

pub use bare::serve_bare;
pub use report::{Conditions, Figure, Report, Row};

use crate::clock;
use crate::keys::Algorithm;
use crate::log::{self, OpenError};
use crate::secret::Secret;
use machine::Placement;
use node::{Database, Place, Surroundings};
use upstream::Upstream;

/// How often an empty server is started.
const STARTS: usize = 5;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Refresh tokens, in rotation
    Refresh,
    /// Redeem authorization codes
    Redeem,
    /// Register clients
    Register,
    /// Introspect live access tokens
    Introspect,
    /// The whole flow: authorize, log in, redeem
    Flow,
    /// tools/list through the gateway, beside a bare reverse proxy and the MCP server itself
    ToolsList,
    /// Open event streams through the gateway
    Streams,
    /// From the start of the process until it is ready
    Start,
    /// What a grant leaves on disk
    Size,
}

/// What to measure, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In any order; none means all.
    pub kinds: Vec<Kind>,
    /// How often each kind is measured, in turn with the others.
    pub rounds: usize,
    /// How long each kind is measured in each round.
    pub time: Duration,
    /// Connections of the load client.
    pub connections: usize,
    /// Grants that each connection refreshes in turn.
    pub grants: usize,
    /// Event streams that are open at once.
    pub streams: usize,
    /// How many entries the embedded log has before.
    pub entries: u64,
    /// Where the temporary data goes; a real disk, for memory makes durability free.
    pub folder: PathBuf,
    /// An empty PostgreSQL database for log and vault, in place of the embedded store.
    pub database: Option<Secret>,
    /// How many nodes share it.
    pub nodes: usize,
    /// How access tokens are signed.
    pub algorithm: Algorithm,
}

/// Why there is no measurement.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The system refused a port, a process or a folder.
    #[error("the system refused a port, a process or a folder")]
    System(#[from] io::Error),
    /// A connection broke.
    #[error("a connection broke")]
    Connection(#[from] hyper::Error),
    /// A request could not be written.
    #[error("a request could not be written")]
    Request(#[from] http::Error),
    /// An answer is not what it must be.
    #[error("unexpected: {0}")]
    Unexpected(String),
    /// The server did not start, follow or stop.
    #[error("{0}")]
    Server(String),
    /// It must not be touched.
    #[error("the database is not empty: nothing was touched")]
    Occupied,
    /// The database cannot be asked.
    #[error("the database cannot be used")]
    Database(#[from] OpenError),
    /// Somebody stopped it.
    #[error("stopped before the end; nothing is left behind")]
    Stopped,
}

type Fallible<T> = Result<T, BenchError>;

/// Measures, until `stopped`; `tell` is told how far it has come. Blocks, and pins the thread that
/// it is called on: to be called on a thread of its own, outside of any runtime.
///
/// # Errors
/// The server does not start, or an answer is wrong; no measurement is given then.
pub fn run(
    plan: &Plan,
    tell: &dyn Fn(&str),
    stopped: impl Future<Output = ()>,
) -> Result<Report, BenchError> {
    let placement = Placement::establish();
    crate::server::raise_descriptor_limit();
    let database = plan.empty_database()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        tokio::select! {
            report = measure(plan, placement, database.as_ref(), tell) => report,
            () = stopped => Err(BenchError::Stopped),
        }
    })
}

impl Plan {
    /// What a file weighs and how an empty store starts is the embedded store's.
    fn wants(&self, kind: Kind) -> bool {
        if self.database.is_some() && matches!(kind, Kind::Start | Kind::Size) {
            return false;
        }
        self.kinds.is_empty() || self.kinds.contains(&kind)
    }

    fn empty_database(&self) -> Fallible<Option<Database>> {
        let Some(url) = &self.database else {
            return Ok(None);
        };
        if log::postgres::migrations(url.expose())?.applied > 0 {
            return Err(BenchError::Occupied);
        }
        let key = clock::random::<32>();
        Ok(Some(Database {
            url: url.clone(),
            master_key: Secret::new(BASE64_STANDARD.encode(key)),
        }))
    }
}

async fn measure(
    plan: &Plan,
    placement: Placement,
    database: Option<&Database>,
    tell: &dyn Fn(&str),
) -> Fallible<Report> {
    let mut report = Report::new(Conditions::of(plan, placement));
    let folder = tempfile::Builder::new()
        .prefix("grantlog-bench-")
        .tempdir_in(&plan.folder)?;
    let provider = provider::start().await?;
    let upstream = Upstream::start().await?;
    let surroundings = Surroundings {
        database,
        folder: folder.path(),
        provider: &provider,
        upstream: &upstream.host,
        placement,
        algorithm: plan.algorithm,
    };
    if plan.wants(Kind::Start) {
        tell("starting");
        let mut starts = Vec::new();
        for n in 0..STARTS {
            let node = Place::new(surroundings, &format!("start-{n}"))?;
            let node = node.start().await?;
            starts.push(node.started_in);
            node.stop().await?;
        }
        report.started_empty(&starts);
    }
    if plan.wants(Kind::Size) {
        tell("sizing");
        report.program()?;
        size::measure(plan, surroundings, &mut report).await?;
    }
    rounds::measure(plan, surroundings, &upstream, &mut report, tell).await?;
    Ok(report)
}
