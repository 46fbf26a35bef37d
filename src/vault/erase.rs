//! Erasure: destroying a data key destroys what it sealed, wherever copies of that are.
//!
//! The log keeps its entries, and its proofs hold; their personal parts read as erased.

use domain::Timestamp;
use domain::id::SubjectId;
use rusqlite::{Connection, params};

use super::data_keys::DataKey;
use super::scope::Scope;
use super::{Vault, VaultError};

impl Vault {
    /// Destroys a subject's key, identity and upstream tokens, for good. What was sealed for the
    /// subject reads as [`Opened::Erased`](super::Opened::Erased) from now on; the same person, coming back, is a new
    /// subject. `false` where that had happened before.
    ///
    /// Copies of the vault made before still hold the key: keep backups no longer than erasure may
    /// take.
    ///
    /// # Errors
    /// [`VaultError::NoKey`] for an unknown subject; the store failed.
    pub async fn destroy(&self, subject: SubjectId, now: Timestamp) -> Result<bool, VaultError> {
        self.destroy_key(Scope::Subject(subject), now).await
    }

    /// Destroys a month's key: what was sealed in it about unknown people reads as erased.
    ///
    /// # Errors
    /// [`VaultError::NoKey`] for a month without a key; the store failed.
    pub async fn destroy_month(
        &self,
        year: u16,
        month: u8,
        now: Timestamp,
    ) -> Result<bool, VaultError> {
        self.destroy_key(Scope::Month { year, month }, now).await
    }

    async fn destroy_key(&self, scope: Scope, now: Timestamp) -> Result<bool, VaultError> {
        let destroyed = self
            .0
            .store
            .write(move |connection| destroy(connection, scope, now))
            .await?;
        self.0.data_keys.forget(scope);
        self.0.data_keys.put(scope, DataKey::Destroyed);
        self.checkpoint().await?;
        Ok(destroyed)
    }

    /// Drops a key from memory alone, such as when another node has destroyed it.
    pub fn forget(&self, scope: Scope) {
        if scope != Scope::System {
            self.0.data_keys.forget(scope);
        }
    }
}

fn destroy(connection: &Connection, scope: Scope, now: Timestamp) -> Result<bool, VaultError> {
    let identity = scope.encode();
    let changed = connection.execute(
        "UPDATE data_key SET wrapped = NULL, destroyed_at = ?2 WHERE scope = ?1 AND wrapped IS NOT NULL",
        params![identity, now.timestamp_micros()],
    )?;
    if let Scope::Subject(subject) = scope {
        let subject = subject.0.as_bytes();
        connection.execute("DELETE FROM subject WHERE subject = ?1", [subject])?;
        connection.execute("DELETE FROM upstream_token WHERE subject = ?1", [subject])?;
    }
    let known = changed > 0
        || connection
            .prepare("SELECT 1 FROM data_key WHERE scope = ?1")?
            .exists([&identity])?;
    if known {
        Ok(changed > 0)
    } else {
        Err(VaultError::NoKey(scope))
    }
}
