//! `grantlog replay`, `verify`, `backup` and `restore`: looking after the store.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::configured::ConfigArgs;
use super::copies;
use super::exit::Failure;
use super::output::Output;
use super::stores::{self, Verified};

/// What came of it: a sentence for people, a document for programs.
#[derive(Clone, Debug)]
pub struct Report {
    /// One line.
    pub sentence: String,
    /// The same and more.
    pub document: Value,
}

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
    pub until: Option<String>,
    /// Write the read model to this new file instead
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    pub into: Option<PathBuf>,
    /// Build aside and compare with the read model in use; exit code 5 if they differ, 3 if there is
    /// none
    #[arg(long)]
    pub check: bool,
    #[command(flatten)]
    configuration: ConfigArgs,
}

/// Checks the log's integrity.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    configuration: ConfigArgs,
}

/// Copies the store while it may be in use. The master key is not in the copy: keep it elsewhere.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// A folder that does not exist yet
    pub target: PathBuf,
    #[command(flatten)]
    configuration: ConfigArgs,
}

/// Puts a copy back, where there is no store.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The folder that `backup` wrote
    pub from: PathBuf,
    #[command(flatten)]
    configuration: ConfigArgs,
}

/// Builds read models from the log.
///
/// # Errors
/// See [`Failure`]; [`Failure::Mismatch`] if `--check` finds a difference.
pub async fn replay(args: ReplayArgs, output: &mut Output) -> Result<(), Failure> {
    let config = args.configuration.load()?;
    let replayed = stores::replay(&config, &args).await;
    if let (true, Err(failure @ (Failure::Mismatch(_) | Failure::Integrity(_)))) =
        (args.check, &replayed)
    {
        output.finding(&json!({ "equal": false, "reason": failure.to_string() }))?;
    }
    say(output, &replayed?)
}

/// Checks the log's integrity.
///
/// # Errors
/// See [`Failure`]; [`Failure::Integrity`] with the first bad position.
pub async fn verify(args: VerifyArgs, output: &mut Output) -> Result<(), Failure> {
    let config = args.configuration.load()?;
    let Verified { document, outcome } = stores::verify(&config)?;
    match outcome {
        Ok(sentence) => Ok(output.result(&sentence, &document)?),
        Err(failure) => {
            output.finding(&document)?;
            Err(failure)
        }
    }
}

/// Copies the store.
///
/// # Errors
/// See [`Failure`]; the target exists.
pub async fn backup(args: BackupArgs, output: &mut Output) -> Result<(), Failure> {
    let config = args.configuration.load()?;
    refuse_existing(&args.target)?;
    say(output, &copies::backup(&config, &args.target).await?)
}

/// Puts a copy back.
///
/// # Errors
/// See [`Failure`]; there is a store already.
pub async fn restore(args: RestoreArgs, output: &mut Output) -> Result<(), Failure> {
    let config = args.configuration.load()?;
    say(output, &copies::restore(&config, &args.from).await?)
}

fn say(output: &mut Output, report: &Report) -> Result<(), Failure> {
    Ok(output.result(&report.sentence, &report.document)?)
}

fn refuse_existing(path: &std::path::Path) -> Result<(), Failure> {
    if path.exists() {
        let reason = format!("{} exists already: nothing was overwritten", path.display());
        return Err(Failure::Error(reason));
    }
    Ok(())
}
