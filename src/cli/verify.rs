//! `grantlog verify`: reads the whole log and tells whether it is what was written.

use clap::Args;
use serde_json::{Value, json};

use super::configured::ConfigArgs;
use super::exit::{Failure, unavailable};
use super::output::Output;
use super::progress::Progress;
use super::read_only::Stores;
use crate::config::Config;
use crate::server::{self, Broken};

/// Checks the log's integrity.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    configuration: ConfigArgs,
}

/// Checks the log's integrity.
///
/// # Errors
/// See [`Failure`]; [`Failure::Integrity`] with the first bad position.
pub async fn run(args: VerifyArgs, output: &mut Output) -> Result<(), Failure> {
    let config = args.configuration.load()?;
    let Verified { document, outcome } = verify(&config).await?;
    match outcome {
        Ok(sentence) => Ok(output.result(&sentence, &document)?),
        Err(failure) => {
            output.finding(&document)?;
            Err(failure)
        }
    }
}

/// What reading the whole log has shown.
struct Verified {
    /// For programs.
    document: Value,
    /// For people: a sentence, or [`Failure::Integrity`] with the first bad position.
    outcome: Result<String, Failure>,
}

/// An error says nothing about the log: a store cannot be opened or read.
async fn verify(config: &Config) -> Result<Verified, Failure> {
    let stores = match Stores::open(config) {
        Ok(stores) => stores,
        Err(Failure::Integrity(reason)) => {
            return Ok(Verified {
                document: json!({ "intact": false, "reason": reason }),
                outcome: Err(Failure::Integrity(reason)),
            });
        }
        Err(failure) => return Err(failure),
    };
    let entries = stores.log.head();
    let sealed = stores.vault.sealed_entries().await;
    let sealed = sealed.map_err(|error| unavailable(&error))?;
    let mut bar = Progress::new("Verifying", entries);
    let verified = server::verify(&stores.log, &stores.vault, |done| {
        bar.at(done);
        true
    });
    drop(bar);
    Ok(match verified {
        Ok(position) => Verified {
            document: json!({ "entries": position, "valid": position, "sealed": sealed, "intact": true }),
            outcome: Ok(format!(
                "{position}/{position} entries valid, {sealed} of them sealed"
            )),
        },
        Err(Broken::Entry { position, reason }) => Verified {
            document: json!({
                "entries": entries, "valid": position, "sealed": sealed, "intact": false, "position": position,
                "reason": reason,
            }),
            outcome: Err(Failure::Integrity(format!(
                "BROKEN at position {position}: {reason}. {position} entries before it are valid. \
                 Stop the server, keep a copy of the data folder as evidence, restore the last backup"
            ))),
        },
        Err(error @ Broken::Index) => Verified {
            document: json!({
                "entries": entries, "valid": entries, "sealed": sealed, "intact": false,
                "reason": error.to_string(),
            }),
            outcome: Err(Failure::Integrity(format!(
                "BROKEN: {error}; every entry itself is valid. Stop the server and keep a copy of the \
                 data folder as evidence"
            ))),
        },
        Err(error @ Broken::NoKey { first, .. }) => Verified {
            document: json!({
                "entries": entries, "valid": entries, "sealed": sealed, "intact": false, "position": first,
                "reason": error.to_string(),
            }),
            outcome: Err(Failure::Integrity(format!(
                "{error}; every entry itself is valid. The vault is older than the log, or rows of it were taken away"
            ))),
        },
        Err(error @ (Broken::Unknown { .. } | Broken::Unreadable(_) | Broken::Vault(_))) => {
            return Err(unavailable(&error));
        }
    })
}
