//! `grantlog bench`: what this machine carries.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use serde_json::json;

use super::Environment;
use super::exit::Failure;
use super::output::{Column, Format, Output, note};
use super::source::with_password;
use crate::bench::{self, BenchError, Kind, Plan, Report};
use crate::causes::chain;
use crate::keys::Algorithm;
use crate::secret::Secret;
use crate::server::stopped;

/// Measure what this machine carries
///
/// Starts the real service on loopback over temporary data, and plays clients, browsers, identity
/// provider and MCP server for it; on Linux each side has one CPU to itself. Nothing of a
/// configuration is read, and nothing is left behind. Client and server share the machine, so
/// compare ratios ("of bare": to an endpoint that keeps nothing, measured in turn in the same
/// run) rather than rates, on a machine that does nothing else.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// What to measure [default: everything, about two minutes]
    #[arg(value_name = "KIND", value_enum)]
    kinds: Vec<Kind>,
    /// How long each kind is measured in each round
    #[arg(long, default_value = "3", value_parser = seconds)]
    seconds: Duration,
    /// How often each kind is measured, in turn with the others
    #[arg(long, default_value_t = 3, value_parser = RangedU64ValueParser::<usize>::new().range(1..=100))]
    rounds: usize,
    /// Connections of the load client
    #[arg(long, default_value_t = 32, value_parser = RangedU64ValueParser::<usize>::new().range(1..=4096))]
    connections: usize,
    /// Grants that each connection refreshes in turn
    #[arg(long, default_value_t = 32, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1024))]
    grants: usize,
    /// How many entries the log has before, to see what a long log costs
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        conflicts_with = "database"
    )]
    entries: u64,
    /// Event streams that are open at once
    #[arg(long, default_value_t = 1000, value_parser = RangedU64ValueParser::<usize>::new().range(1..=100_000))]
    streams: usize,
    /// Where the temporary data goes: a real disk, for memory makes durability free
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Measure with log and vault in this empty PostgreSQL database, which then keeps what was
    /// measured: drop it. A password is taken from PGPASSWORD
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// How many nodes share the database and the server's CPU
    #[arg(long, default_value_t = 1, requires = "database", value_parser = RangedU64ValueParser::<usize>::new().range(1..=16))]
    nodes: usize,
    /// How access tokens are signed; the bare endpoint signs with HS256 whatever this says
    #[arg(long, value_name = "ALG", default_value = "HS256")]
    algorithm: Algorithm,
    /// Print Markdown, for documents
    #[arg(long, conflicts_with_all = ["json", "jsonl"], help_heading = "Output")]
    markdown: bool,
    /// Be what others are compared with, in front of this MCP server
    #[arg(long, hide = true, value_name = "HOST:PORT")]
    bare: Option<String>,
}

const ROWS: &[Column] = &[
    ("WHAT", "/title"),
    ("PER SECOND", "/per_second"),
    ("MIN", "/per_second_min"),
    ("MAX", "/per_second_max"),
    ("OF BARE", "/of_bare"),
    ("P50 MS", "/p50_ms"),
    ("P99 MS", "/p99_ms"),
    ("SERVER CPU", "/server_cpu"),
    ("CLIENT CPU", "/client_cpu"),
];

const FIGURES: &[Column] = &[("WHAT", "/title"), ("VALUE", "/value"), ("UNIT", "/unit")];

/// Measures, and prints what was measured.
///
/// # Errors
/// The server does not start, an answer is wrong, or somebody stopped it.
pub async fn run(
    args: BenchArgs,
    environment: &Environment,
    output: &mut Output,
) -> Result<(), Failure> {
    if let Some(upstream) = &args.bare {
        let tell = |host: &str| {
            // Whoever started this notices that it was told nothing.
            let _ = output.raw(format!("{host}\n").as_bytes());
        };
        return Ok(bench::serve_bare(upstream, tell).await?);
    }
    let plan = Plan {
        kinds: args.kinds,
        rounds: args.rounds,
        time: args.seconds,
        connections: args.connections,
        grants: args.grants,
        streams: args.streams,
        entries: args.entries,
        folder: args.dir,
        database: match &args.database {
            Some(url) => Some(Secret::new(with_password("--database", url, environment)?)),
            None => None,
        },
        nodes: args.nodes,
        algorithm: args.algorithm,
    };
    let measuring = tokio::task::spawn_blocking(move || {
        let tell = |step: &str| note(&format!("{step} …"));
        bench::run(&plan, &tell, stopped())
    });
    let report = measuring
        .await
        .map_err(|error| Failure::Error(error.to_string()))??;
    if args.markdown {
        return Ok(output.raw(report.markdown().as_bytes())?);
    }
    print(&report, output)
}

fn print(report: &Report, output: &mut Output) -> Result<(), Failure> {
    let document = json!(report);
    if output.format() == Format::Plain {
        note(&report.conditions.describe());
    }
    output.list(ROWS, &document, "rows")?;
    if output.format() != Format::Json {
        output.list(FIGURES, &document, "figures")?;
    }
    Ok(())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| *seconds > 0.0);
    let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let time = time.filter(|time| *time <= Duration::from_secs(3600));
    time.ok_or_else(|| "expected a number of seconds, more than 0 and at most 3600".to_owned())
}

impl From<BenchError> for Failure {
    fn from(error: BenchError) -> Self {
        let text = chain(&error);
        match error {
            BenchError::Server(_) | BenchError::Database(_) => Self::Unavailable(text),
            BenchError::System(_)
            | BenchError::Connection(_)
            | BenchError::Request(_)
            | BenchError::Unexpected(_)
            | BenchError::Occupied
            | BenchError::Stopped => Self::Error(text),
        }
    }
}
