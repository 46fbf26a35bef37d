//! What can go wrong in the vault.

use super::aead::Tampered;
use super::master::MasterKeyError;
use super::scope::Scope;

/// Why the vault did not do as asked. No message holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// A master key was not accepted.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// A data key was wrapped by a master key that was not given.
    #[error("the vault was sealed with another master key than those given")]
    WrongMasterKey,
    /// The data key is not in memory: load it (or ensure it) and ask again.
    #[error("the data key of {0} is not loaded")]
    NotLoaded(Scope),
    /// There never was such a data key.
    #[error("there is no data key of {0}")]
    NoKey(Scope),
    /// The data key was destroyed, so nothing can be sealed under it any more.
    #[error("the data key of {0} was destroyed")]
    Erased(Scope),
    /// Sealed bytes, or the commitment to them, were changed or belong elsewhere.
    #[error(transparent)]
    Tampered(#[from] Tampered),
    /// The grant has upstream tokens of somebody else.
    #[error("the grant's upstream tokens are another subject's")]
    AnotherSubject,
    /// There is no secret of this owner and version.
    #[error("there is no such secret in the vault")]
    NoSecret,
    /// The library made no signing key for this algorithm.
    #[error("a {0} signing key could not be made")]
    KeyGeneration(crate::keys::Algorithm),
    /// The vault was opened for reading alone.
    #[error("the vault is open for reading alone")]
    ReadOnly,
    /// The tables are not those that this program may use.
    #[error("the vault cannot be used: {0}")]
    Schema(#[from] crate::migrations::Unfit),
    /// The transaction did not commit; nothing of it holds.
    #[error("the vault's transaction did not commit")]
    NotCommitted,
    /// The writing thread is gone.
    #[error("the vault has stopped")]
    Stopped,
    /// Other nodes were faster, again and again.
    #[error("the vault's transaction lost too many races")]
    LostRace,
    /// What other nodes changed could not be read.
    #[error("what other nodes changed in the vault cannot be read")]
    NotFollowed,
    /// The answer to the commit was lost, and trying again did not tell.
    #[error("whether the vault's transaction holds is not known: {0}")]
    Unsettled(crate::postgres::Error),
    /// A row that is there from the first migration on is not.
    #[error("a row is missing from the vault")]
    RowMissing,
    /// A column, counted from 0, holds what it cannot hold.
    #[error("column {0} of a row of the vault is not of its type")]
    Column(usize),
    /// The file failed.
    #[error("vault store: {0}")]
    Store(#[from] rusqlite::Error),
    /// The database failed.
    #[error("vault store: {0}")]
    Postgres(#[from] crate::postgres::Error),
    /// A file could not be read or written.
    #[error("vault file: {0}")]
    File(#[from] std::io::Error),
}

impl VaultError {
    /// Whether the operator's configuration is at fault, rather than the store.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::MasterKey(_) | Self::WrongMasterKey)
    }
}
