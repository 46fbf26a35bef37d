//! `[store]`: where everything is kept.

use std::path::PathBuf;

use super::ConfigError;
use super::key::Key;
use super::section::Section;
use crate::postgres;
use crate::secret::Secret;

/// Where the log, the vault and the read models are.
#[derive(Clone, Debug)]
pub struct Store {
    /// The folder of the embedded store: the log, the vault and the read models. Made on the
    /// first start. Default `./grantlog-data`.
    pub data_dir: PathBuf,
    /// `postgres://…` moves the log and the vault to PostgreSQL, shared by any number of nodes;
    /// the read models stay in `data_dir`. A secret, because it may hold a password. Default:
    /// empty, the embedded store.
    pub database_url: Option<Secret>,
    /// Whether pending migrations are applied at start; else the start ends with exit code 6.
    /// Default `true`.
    pub migrate: bool,
}

pub(super) const KEYS: &[Key] = &[
    Key::plain("data_dir", "./grantlog-data", "a folder"),
    Key::secret("database_url", "a URL that begins with postgres://"),
    Key::plain("migrate", "true", "true or false"),
];

impl Store {
    pub(super) fn read(section: &Section<'_, '_>) -> Result<Self, ConfigError> {
        let database_url = match section.secret("database_url")? {
            Some((url, place)) => match postgres::check(url.expose()) {
                Ok(()) => Some(url),
                Err(refused) => {
                    let found = Some(what(refused));
                    return Err(section.invalid_secret("database_url", found, place));
                }
            },
            None => None,
        };
        Ok(Self {
            data_dir: section.or_default("data_dir")?,
            database_url,
            migrate: section.or_default("migrate")?,
        })
    }
}

fn what(refused: postgres::Error) -> String {
    match refused {
        postgres::Error::Url(reason) => format!("one that cannot be used: {reason}"),
        other => other.to_string(),
    }
}
