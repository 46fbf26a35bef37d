//! What `replay` and `verify` do with the stores of a configuration, and what `doctor` says of them.
//!
//! Everything that only looks opens the stores read-only, so it may run beside a server.

use std::path::{Path, PathBuf};

use domain::entry::Entry;
use domain::event::Event;
use domain::provider;
use projections::{ReadModelError, Recorded, Until};
use serde_json::{Value, json};

use super::exit::Failure;
use super::progress::Progress;
use super::store::{ReplayArgs, Report};
use crate::app::{self, Unreadable, Why};
use crate::causes::chain;
use crate::clock;
use crate::config::Config;
use crate::log::{self, Log, OpenError, StoredEntry};
use crate::migrations::Unfit;
use crate::server::{self, Broken, READ_MODEL_FILE, StartError};
use crate::vault::{self, Vault, VaultError};

/// Entries read at once: what is decoded of them stays in the CPU's caches until it is folded.
const BATCH: usize = 256;

/// The stores of a configuration, opened read-only.
pub struct Stores {
    /// The log.
    pub log: Log,
    /// The vault.
    pub vault: Vault,
    /// Where they are.
    pub folder: PathBuf,
}

impl Stores {
    /// Opens them.
    ///
    /// # Errors
    /// One is missing, of another version, or its key is.
    pub fn open(config: &Config) -> Result<Self, Failure> {
        let (log, vault) = server::open_read_only(config)?;
        let folder = config.store.data_dir.clone();
        Ok(Self { log, vault, folder })
    }

    /// Opens those in a folder, whatever else the configuration names.
    ///
    /// # Errors
    /// As [`Stores::open`].
    pub fn in_folder(config: &Config, folder: &Path) -> Result<Self, Failure> {
        let (log, vault) = server::open_embedded_read_only(config, folder)?;
        let folder = folder.to_owned();
        Ok(Self { log, vault, folder })
    }

    /// The whole log in batches, decoded.
    fn entries(&self) -> impl Iterator<Item = Result<Vec<Recorded>, ReadFailure>> + Send + '_ {
        let mut from = 0;
        std::iter::from_fn(move || {
            let stored = match self.log.read_after_blocking(from, BATCH) {
                Ok(stored) if stored.is_empty() => return None,
                Ok(stored) => stored,
                Err(error) => return Some(Err(error.into())),
            };
            from += stored.len() as u64;
            let mut decoded = Vec::with_capacity(stored.len());
            for stored in &stored {
                match app::decode(&self.vault, stored) {
                    Ok(recorded) => decoded.push(recorded),
                    Err(error) => return Some(Err(error.into())),
                }
            }
            Some(Ok(decoded))
        })
    }
}

/// The log could not be read to its end.
#[derive(Debug, thiserror::Error)]
enum ReadFailure {
    /// The store failed.
    #[error(transparent)]
    Log(#[from] crate::log::ReadError),
    /// An entry makes no sense.
    #[error(transparent)]
    Entry(#[from] Unreadable),
}

/// Builds read models from the log; see [`ReplayArgs`].
///
/// # Errors
/// [`Failure::Mismatch`] if `--check` finds a difference.
pub async fn replay(config: &Config, args: &ReplayArgs) -> Result<Report, Failure> {
    let stores = Stores::open(config)?;
    let until = args.until.as_deref().map_or(Ok(Until::End), until)?;
    let in_use = stores.folder.join(READ_MODEL_FILE);
    if args.check {
        expect_read_model(config, &in_use)?;
        return check(&stores, &in_use);
    }
    let target = args.into.clone().unwrap_or_else(|| in_use.clone());
    if args.into.is_some() && target.exists() {
        return Err(Failure::Error(format!(
            "{} exists already: nothing was overwritten",
            target.display()
        )));
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
            projections::RebuildError::Source(ReadFailure::Entry(Unreadable {
                why: Why::Entry(_) | Why::Unpaired | Why::Shape(_),
                ..
            })) => Failure::Integrity(text),
            projections::RebuildError::Source(ReadFailure::Log(error)) => error.into(),
            projections::RebuildError::Source(ReadFailure::Entry(_))
            | projections::RebuildError::Fold(_)
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

/// What reading the whole log has shown.
pub struct Verified {
    /// For programs.
    pub document: Value,
    /// For people: a sentence, or [`Failure::Integrity`] with the first bad position.
    pub outcome: Result<String, Failure>,
}

/// Checks the log's integrity.
///
/// # Errors
/// A store cannot be opened or read, which says nothing about the log.
pub fn verify(config: &Config) -> Result<Verified, Failure> {
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
    let mut bar = Progress::new("Verifying", entries);
    let verified = server::verify(&stores.log, &stores.vault, 0, |done| {
        bar.at(done);
        true
    });
    drop(bar);
    Ok(match verified {
        Ok(position) => Verified {
            document: json!({ "entries": position, "valid": position, "intact": true }),
            outcome: Ok(format!("{position}/{position} entries valid")),
        },
        Err(Broken::Entry { position, reason }) => Verified {
            document: json!({
                "entries": entries, "valid": position, "intact": false, "position": position, "reason": reason,
            }),
            outcome: Err(Failure::Integrity(format!(
                "BROKEN at position {position}: {reason}. {position} entries before it are valid. \
                 Stop the server, keep a copy of the data folder as evidence, restore the last backup"
            ))),
        },
        Err(error @ Broken::Index) => Verified {
            document: json!({
                "entries": entries, "valid": entries, "intact": false, "reason": error.to_string(),
            }),
            outcome: Err(Failure::Integrity(format!(
                "BROKEN: {error}; every entry itself is valid. Stop the server and keep a copy of the \
                 data folder as evidence"
            ))),
        },
        Err(error @ Broken::NoKey { first, .. }) => Verified {
            document: json!({
                "entries": entries, "valid": entries, "intact": false, "position": first, "reason": error.to_string(),
            }),
            outcome: Err(Failure::Integrity(format!(
                "{error}; every entry itself is valid. The vault is older than the log, or rows of it were taken away"
            ))),
        },
        Err(error @ (Broken::Unreadable(_) | Broken::Vault(_))) => return Err(unavailable(&error)),
    })
}

/// The name of each provider that the store has, by number, from 1 on; none where one was removed. `None` where the store
/// cannot be read, which [`look_at`] tells.
pub fn provider_names(config: &Config) -> Option<Vec<Option<String>>> {
    let log = match server::open_read_only(config) {
        Ok((log, _)) => log,
        Err(StartError::Log(
            OpenError::Missing(_) | OpenError::Schema(Unfit::Behind { applied: 0, .. }),
        )) => return Some(Vec::new()),
        Err(_) => return None,
    };
    // Numbers are given out without gaps.
    let streams = (1_u32..).map_while(|number| {
        let entries = log.read_stream_blocking(&format!("provider-{number}"));
        entries.ok().filter(|entries| !entries.is_empty())
    });
    let name = |entries: Vec<StoredEntry>| {
        let last = Entry::decode(&entries.last()?.entry).ok()?;
        match last.event {
            Event::Provider(provider::Event::Added(now) | provider::Event::Changed(now)) => {
                Some(now.settings.name)
            }
            _ => None,
        }
    };
    Some(streams.map(name).collect())
}

/// Opens the stores read-only and tells how they are: what was found, or what is wrong and the
/// fix.
///
/// # Errors
/// As said.
pub async fn look_at(config: &Config) -> Result<String, (String, String)> {
    let store = &config.store;
    if let (None, Some(note)) = (&store.database_url, log::moved(&store.data_dir)) {
        let fix = "set store.database_url";
        return Err((OpenError::Moved(note).to_string(), fix.to_owned()));
    }
    match server::open_read_only(config) {
        Ok((log, vault)) => {
            let keys = match vault.is_rewrapped() {
                Ok(false) => {
                    "the master keys fit, and all are needed until a server has run with them"
                }
                Ok(true) | Err(_) => "the master key fits",
            };
            let place = match &store.database_url {
                Some(_) => "the database".to_owned(),
                None => store.data_dir.display().to_string(),
            };
            Ok(format!("{} entries in {place}, {keys}", log.head()))
        }
        Err(StartError::Log(OpenError::Missing(_)))
            if store.data_dir.join(vault::FILE_NAME).exists() =>
        {
            let fix = "restore the last backup into another folder".to_owned();
            Err((StartError::LogMissing.to_string(), fix))
        }
        Err(StartError::Log(OpenError::Missing(path))) => Ok(format!(
            "none yet: the first start makes {}",
            path.display()
        )),
        Err(StartError::Log(OpenError::Schema(Unfit::Behind { applied: 0, .. }))) => {
            Ok("none yet: the first start makes it".to_owned())
        }
        Err(error) => {
            let fix = match &error {
                StartError::MasterKey(_)
                | StartError::Vault(VaultError::MasterKey(_) | VaultError::WrongMasterKey) => {
                    "give the master key that this store was made with"
                }
                StartError::VaultMissing { .. } => "put back the vault, or that of the last backup",
                _ => "see docs/operations.md",
            };
            Err((chain(&error), fix.to_owned()))
        }
    }
}

/// A store that fails.
pub fn unavailable(error: &dyn std::error::Error) -> Failure {
    Failure::Unavailable(chain(error))
}
