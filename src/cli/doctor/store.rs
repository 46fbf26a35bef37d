//! What can be seen of the store without changing it.

use domain::entry::Entry;
use domain::event::Event;
use domain::provider;

use super::Check;
use crate::causes::chain;
use crate::config::Config;
use crate::log::{self, OpenError, StoredEntry};
use crate::migrations::Unfit;
use crate::server::{self, StartError};
use crate::vault::{self, VaultError};

/// Whether the store can be opened.
pub(super) fn check(config: &Config) -> Check {
    match look_at(config) {
        Ok(found) => Check::ok("store", found),
        Err((found, fix)) => Check::failed("store", found, fix),
    }
}

/// What was found, or what is wrong and the fix.
fn look_at(config: &Config) -> Result<String, (String, String)> {
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
                StartError::Log(OpenError::Schema(Unfit::Interrupted))
                | StartError::Vault(VaultError::Schema(Unfit::Interrupted)) => "start the server",
                StartError::VaultMissing { .. } => "put back the vault, or that of the last backup",
                _ => "see docs/operations.md",
            };
            Err((chain(&error), fix.to_owned()))
        }
    }
}

/// The name of each provider that the store has, by number, from 1 on; none where one was removed. `None` where the store
/// cannot be read, which [`check`] tells.
pub(super) fn provider_names(config: &Config) -> Option<Vec<Option<String>>> {
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
