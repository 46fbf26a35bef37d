//! `grantlog move`: the embedded log and vault, as they are, into a PostgreSQL database; and a copy of them, for `restore`.
//!
//! Entries go in steps, each durable, so that a move that was broken off goes on where it stopped; the vault follows, whole.
//! Until everything has been read back and compared, the database says that it is unfinished; it says so no longer only
//! after the folder says that it was moved. So there is no moment at which both could be served.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use serde_json::json;

use super::Environment;
use super::copies::expect_known;
use super::exit::{Failure, unavailable};
use super::output::{Output, Report, note};
use super::progress::Progress;
use super::source::with_password;
use crate::clock;
use crate::config::{self, Config};
use crate::log::postgres::Target;
use crate::log::{self, CarryError, Log};
use crate::secret::Secret;
use crate::server::{self, StartError};
use crate::vault::Vault;

/// Carry the store from a data folder into a PostgreSQL database
///
/// Log and vault are carried as they are, and then every entry and every row is compared.
/// No server may run. A move that was broken off goes on when it is run again; a database that holds anything else is left
/// as it is. Afterwards the folder is not served any more. The master key is not carried: all nodes need the same one.
#[derive(Debug, Args)]
pub struct MoveArgs {
    /// The data folder
    #[arg(long, value_name = "sqlite://FOLDER")]
    from: String,
    /// The database [default: store.database_url]. The password is taken from PGPASSWORD
    #[arg(long, value_name = "postgres://HOST/NAME")]
    to: Option<String>,
    /// The configuration file [default: GRANTLOG_CONFIG, else ./grantlog.toml if it exists], of which
    /// keys.master_key [default: master.key in the data folder] and store.database_url count
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What was carried has arrived; the database does not say so yet.
pub struct Arrived {
    target: Target,
    /// How many entries the folder has.
    pub entries: u64,
    carried: u64,
    recorded_since: u64,
    /// Absent where the database has gone on: its vault is another one by then.
    vault_rows: Option<u64>,
    seconds: f64,
}

/// Moves the stores.
///
/// # Errors
/// See [`Failure`]; [`Failure::Integrity`] if what has arrived is not what was sent.
pub fn run(args: &MoveArgs, environment: &Environment, output: &mut Output) -> Result<(), Failure> {
    let folder = folder_of(&args.from)?;
    let config = config::load(args.config.as_deref(), &BTreeMap::new())?;
    let url = match (&args.to, &config.store.database_url) {
        (Some(url), _) => Secret::new(with_password("--to", url, environment)?),
        (None, Some(url)) => url.clone(),
        (None, None) => {
            let reason = "expected --to postgres://HOST/NAME, or store.database_url";
            return Err(Failure::Usage(reason.to_owned()));
        }
    };
    let held = log::hold(&folder).map_err(StartError::from)?;
    let moved = log::moved(&folder);
    if moved.is_none() {
        log::expect_to_note_moved(&folder).map_err(StartError::from)?;
    }
    let arrived = carry(&config, &folder, &url, moved.as_deref())?;
    let file = match moved {
        Some(file) => file,
        None => {
            let note = moved_text(arrived.entries);
            log::note_moved(&folder, &note).map_err(StartError::from)?
        }
    };
    let report = arrived.finish()?;
    drop(held);
    output.result(&report.sentence, &report.document)?;
    note(&format!(
        "{} keeps the folder from being served; next: store.database_url, and on every node the same keys.master_key",
        file.display()
    ));
    Ok(())
}

fn folder_of(url: &str) -> Result<PathBuf, Failure> {
    match url.strip_prefix("sqlite://") {
        Some(folder) if !folder.is_empty() => Ok(folder.into()),
        _ => Err(Failure::Usage(
            "--from: expected sqlite://FOLDER (out of a database comes `grantlog backup FOLDER`)"
                .to_owned(),
        )),
    }
}

fn moved_text(entries: u64) -> String {
    format!(
        "The log of this folder ({entries} entries) and its vault were moved into a PostgreSQL database at {}.\n\
         What is recorded since then is in the database only. While this file is here, `grantlog serve` does not serve\n\
         from this folder, so that the two do not part unawares. Its log and vault are as they were; master.key, if it\n\
         is here, still opens the vault in the database.\n",
        clock::now().format("%Y-%m-%dT%H:%M:%SZ")
    )
}

/// Carries a folder's log and vault into a database, as far as they are not there, and compares. Where the folder says that
/// it was `moved`, they must be there: two databases that go on from one folder would both be served.
///
/// # Errors
/// The master key does not open the vault; the database holds something else; a store fails;
/// [`Failure::Integrity`] if what has arrived is not what was sent.
pub fn carry(
    config: &Config,
    folder: &Path,
    url: &Secret,
    moved: Option<&Path>,
) -> Result<Arrived, Failure> {
    let started = Instant::now();
    let (log, vault) = server::open_embedded_read_only(config, folder)?;
    vault.expect_master_keys().map_err(StartError::from)?;
    expect_known(&server::schemas(folder, None)?)?;
    expect_known(&server::schemas(folder, Some(url))?)?;
    let mut target = find(&log, url, moved)?;
    let (before, is_whole) = (target.head(), !target.is_begun() && target.head() > 0);
    if !is_whole {
        target.begin().map_err(StartError::from)?;
        carry_entries(&log, &mut target)?;
        carry_vault(&vault, url)?;
    }
    let hint = if is_whole {
        "; a move has ended there before, and nodes may have worked with it since"
    } else {
        "; the folder is as it was: drop the schemas grantlog_log and grantlog_vault there, and move again"
    };
    compare_entries(&log, &target, hint)?;
    let recorded_since = target.head() - log.head();
    let vault_rows = match recorded_since {
        0 => Some(compare_vaults(&vault, url, hint)?),
        _ => None,
    };
    Ok(Arrived {
        entries: log.head(),
        carried: target.head() - before,
        recorded_since,
        target,
        vault_rows,
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// What is in the database, if it is nothing, a part of this move, or all of it.
fn find(log: &Log, url: &Secret, moved: Option<&Path>) -> Result<Target, Failure> {
    let target = Target::find(url.expose()).map_err(StartError::from)?;
    if let Some(note) = moved {
        if target.begins_with(log)? {
            return Ok(target);
        }
        return Err(Failure::Error(format!(
            "the folder's store was moved before, as {} says, and not into this database: name the one that it went \
             into, or remove that file to move it once more without what has been recorded there since",
            note.display()
        )));
    }
    let is_ours = match target.head() {
        _ if target.is_begun() => true,
        0 => Vault::is_absent_in(server::connections(url.expose())?).map_err(StartError::from)?,
        head => head == log.head(),
    };
    if is_ours && target.is_beginning_of(log)? {
        return Ok(target);
    }
    Err(Failure::Error(format!(
        "the database holds a store already, {} entries that are not this folder's: nothing was overwritten",
        target.head()
    )))
}

fn carry_entries(log: &Log, target: &mut Target) -> Result<(), Failure> {
    let mut bar = Progress::new("Moving entries", log.head());
    target
        .carry(log, &mut |done| bar.at(done))
        .map_err(|error| match error {
            CarryError::Read(error) => error.into(),
            error @ CarryError::Write(_) => Failure::Unavailable(format!(
                "{error}; the same command goes on where this one stopped"
            )),
        })
}

fn carry_vault(vault: &Vault, url: &Secret) -> Result<(), Failure> {
    let bar = vault_bar("Moving the vault", vault)?;
    let connections = server::connections(url.expose())?;
    let carried = vault.carry_to(connections, &|done| bar.borrow_mut().at(done));
    Ok(carried.map_err(StartError::from)?)
}

fn compare_entries(log: &Log, target: &Target, hint: &str) -> Result<(), Failure> {
    let mut bar = Progress::new("Comparing entries", log.head());
    match target.difference(log, &mut |done| bar.at(done)) {
        Ok(None) => Ok(()),
        Ok(Some(position)) => Err(Failure::Integrity(format!(
            "entry {position} in the database is not the folder's{hint}"
        ))),
        Err(error) => Err(error.into()),
    }
}

/// Returns how many rows each has.
fn compare_vaults(vault: &Vault, url: &Secret, hint: &str) -> Result<u64, Failure> {
    let bar = vault_bar("Comparing the vault", vault)?;
    let rows = Cell::new(0);
    let connections = server::connections(url.expose())?;
    let difference = vault.difference(connections, &|done| {
        rows.set(done);
        bar.borrow_mut().at(done);
    });
    match difference.map_err(StartError::from)? {
        None => Ok(rows.get()),
        Some(table) => Err(Failure::Integrity(format!(
            "the vault in the database is not the folder's in table {table}{hint}"
        ))),
    }
}

fn vault_bar(label: &'static str, vault: &Vault) -> Result<RefCell<Progress>, Failure> {
    let rows = vault.rows().map_err(StartError::from)?;
    Ok(RefCell::new(Progress::new(label, rows)))
}

impl Arrived {
    /// Lets nodes work with what has arrived.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn finish(self) -> Result<Report, Failure> {
        let Self {
            entries,
            carried,
            recorded_since,
            vault_rows,
            seconds,
            ..
        } = self;
        self.target.finish().map_err(|error| unavailable(&error))?;
        let Some(vault_rows) = vault_rows else {
            return Ok(Report {
                sentence: format!(
                    "{entries} entries are in the database, each compared with the folder's; it has gone on with \
                     {recorded_since} more, so its vault is another one by now and was not compared"
                ),
                document: json!({
                    "entries": entries, "carried": carried, "recorded_since": recorded_since, "seconds": seconds,
                }),
            });
        };
        Ok(Report {
            sentence: format!(
                "{entries} entries and {vault_rows} vault rows are in the database, each compared with the folder's; \
                 {carried} entries were carried now, in {seconds:.1} s"
            ),
            document: json!({
                "entries": entries, "carried": carried, "vault_rows": vault_rows, "seconds": seconds,
            }),
        })
    }
}
