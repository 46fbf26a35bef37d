//! `grantlog replay`: builds read models from the log, or compares them with it.

use std::path::{Path, PathBuf};

use clap::Args;
use projections::{FoldError, ReadModelError, Until};
use serde_json::json;

use super::configured::ConfigArgs;
use super::exit::{Failure, refuse_existing, unavailable};
use super::output::{Output, Report};
use super::progress::Progress;
use super::read_only::{ReadFailure, Stores};
use crate::causes::chain;
use crate::clock;
use crate::config::Config;
use crate::server::{self, READ_MODEL_FILE};

/// Builds read models from the log.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// Stop at this time or position; needs --into, and so does not go with --check
    #[arg(
        long,
        value_name = "TIME|POSITION",
        requires = "into",
        conflicts_with = "check",
        allow_hyphen_values = true
    )]
    until: Option<String>,
    /// Write the read model to this new file instead
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    into: Option<PathBuf>,
    /// Build aside and compare with the read model in use; exit code 5 if they differ, 3 if there is
    /// none
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    configuration: ConfigArgs,
}

/// Builds read models from the log.
///
/// # Errors
/// See [`Failure`]; [`Failure::Mismatch`] if `--check` finds a difference.
pub fn run(args: ReplayArgs, output: &mut Output) -> Result<(), Failure> {
    let config = args.configuration.load()?;
    let replayed = replay(&config, &args);
    if let (true, Err(failure @ (Failure::Mismatch(_) | Failure::Integrity(_)))) =
        (args.check, &replayed)
    {
        output.finding(&json!({ "equal": false, "reason": failure.to_string() }))?;
    }
    Ok(output.report(&replayed?)?)
}

fn replay(config: &Config, args: &ReplayArgs) -> Result<Report, Failure> {
    let stores = Stores::open(config)?;
    let until = args.until.as_deref().map_or(Ok(Until::End), until)?;
    let in_use = stores.folder.join(READ_MODEL_FILE);
    if args.check {
        expect_read_model(config, &in_use)?;
        return check(&stores, &in_use);
    }
    let target = args.into.clone().unwrap_or_else(|| in_use.clone());
    if args.into.is_some() {
        refuse_existing(&target)?;
    }
    // A server has the read model open; only it may replace it.
    let claim = match args.into {
        Some(_) => None,
        None => Some(server::claim(&stores.folder)?),
    };
    let rebuilt = rebuild(&stores, &target, until)?;
    let position = rebuilt.position();
    let placed = if args.into.is_some() {
        rebuilt.place()
    } else {
        rebuilt.replace()
    };
    placed.map_err(|error| unavailable(&error))?;
    drop(claim);
    Ok(Report {
        sentence: format!("{position} events replayed into {}", target.display()),
        document: json!({ "events": position, "file": target.display().to_string() }),
    })
}

/// Folds the log into a new file, as far as `until`.
///
/// # Errors
/// The log cannot be read, or the file written.
pub fn rebuild(
    stores: &Stores,
    target: &Path,
    until: Until,
) -> Result<projections::Rebuilt, Failure> {
    let mut bar = Progress::new("Replaying", stores.log.head());
    projections::rebuild(target, stores.entries(), until, |done| bar.at(done)).map_err(|error| {
        let text = chain(&error);
        match error {
            projections::RebuildError::Source(ReadFailure::Entry(error)) => error.into(),
            projections::RebuildError::Source(ReadFailure::Log(error)) => error.into(),
            projections::RebuildError::Fold(FoldError::Stream { .. }) => Failure::Integrity(text),
            projections::RebuildError::Fold(FoldError::Gap { .. } | FoldError::Store { .. })
            | projections::RebuildError::ReadModel(_)
            | projections::RebuildError::File(_) => Failure::Unavailable(text),
        }
    })
}

/// A copy has none, and a node that has not served yet.
fn expect_read_model(config: &Config, in_use: &Path) -> Result<(), Failure> {
    if in_use.exists() {
        return Ok(());
    }
    let data = match &config.store.database_url {
        None => format!(" --data {}", config.store.data_dir.display()),
        Some(_) => String::new(),
    };
    Err(Failure::NotFound(format!(
        "there is no read model at {} to compare with the log: `grantlog replay{data}` makes it",
        in_use.display()
    )))
}

/// Builds aside exactly as far as the read model in use has come, and compares.
fn check(stores: &Stores, in_use: &Path) -> Result<Report, Failure> {
    // A server may fold on meanwhile: what is compared is a copy that stands still.
    let folder = tempfile::tempdir().map_err(|error| unavailable(&error))?;
    let copy = folder.path().join("in-use.db");
    let position = projections::copy(in_use, &copy).map_err(|error| match error {
        error @ ReadModelError::OtherVersion => Failure::Mismatch(error.to_string()),
        error @ (ReadModelError::Foreign | ReadModelError::Sqlite(_)) => unavailable(&error),
    })?;
    let until = Until::Position(position.saturating_sub(1));
    let rebuilt = rebuild(stores, &folder.path().join("rebuilt.db"), until)?;
    let difference =
        projections::compare(&copy, rebuilt.file()).map_err(|error| unavailable(&error))?;
    rebuilt.discard().map_err(|error| unavailable(&error))?;
    if let Some(difference) = difference {
        return Err(Failure::Mismatch(format!(
            "the read model differs from the log: {difference}"
        )));
    }
    Ok(Report {
        sentence: format!("{position} events replayed: the read model equals them, 0 differences"),
        document: json!({ "events": position, "equal": true, "differences": 0 }),
    })
}

fn until(text: &str) -> Result<Until, Failure> {
    if let Ok(position) = text.parse() {
        return Ok(Until::Position(position));
    }
    let now = clock::now();
    projections::time::until(text, now)
        // Nobody knows yet what will be live then.
        .map(|at| {
            if at > now {
                Until::End
            } else {
                Until::Time(at)
            }
        })
        .ok_or_else(|| Failure::Usage(format!("--until {text}: expected a time or a position")))
}
