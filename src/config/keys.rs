//! `[keys]`: what protects the vault.

use super::ConfigError;
use super::key::Key;
use super::section::Section;
use super::store::Store;
use crate::secret::Secret;
use crate::vault::{MasterKeyError, MasterKeys};

/// What protects the vault.
#[derive(Clone, Debug)]
pub struct Keys {
    /// 32 random bytes in base64, or a list of such: the first protects, all open, so that putting
    /// a new one in front rotates it. One key a line here. Default: made as a file with mode 0600
    /// in the data folder; must be set with PostgreSQL.
    pub master_key: Option<Secret>,
}

pub(super) const KEYS: &[Key] = &[Key::secret(
    "master_key",
    "32 random bytes in base64 (openssl rand -base64 32), or a list of such",
)];

impl Keys {
    pub(super) fn read(section: &Section<'_, '_>, store: &Store) -> Result<Self, ConfigError> {
        match section.secret("master_key")? {
            Some((key, place)) => match MasterKeys::parse(key.expose()) {
                Ok(_) => Ok(Self {
                    master_key: Some(key),
                }),
                Err(refused) => {
                    Err(section.invalid_secret("master_key", Some(what(&refused)), place))
                }
            },
            // every node needs the same one, and the database must not hold what opens it
            None if store.database_url.is_some() => Err(section.missing("master_key")),
            None => Ok(Self { master_key: None }),
        }
    }
}

fn what(refused: &MasterKeyError) -> String {
    match refused {
        MasterKeyError::Missing => "nothing".to_owned(),
        MasterKeyError::Malformed { position } => format!("something else as key {position}"),
        MasterKeyError::Weak { position } => format!("a guessable key {position}"),
        MasterKeyError::Exposed { .. } | MasterKeyError::File { .. } => refused.to_string(),
    }
}
