//! Erasure: destroying a data key destroys what it sealed, wherever copies of that are.
//!
//! The log keeps its entries, and its proofs hold; their personal parts read as erased.

use domain::Timestamp;
use domain::id::SubjectId;

use super::data_keys::DataKey;
use super::scope::Scope;
use super::sql::{Sql, Value};
use super::versions::{Kept, advance};
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
            .write(move |sql| destroy(sql, scope, now))
            .await?;
        self.0.data_keys.forget(scope);
        self.0.data_keys.put(scope, DataKey::Destroyed);
        self.checkpoint().await?;
        Ok(destroyed)
    }

    /// Drops a key from memory alone, such as when another node has destroyed it (which
    /// [`Vault::catch_up`] finds out).
    pub fn forget(&self, scope: Scope) {
        if scope != Scope::System {
            self.0.data_keys.forget(scope);
        }
    }
}

fn destroy(sql: &dyn Sql, scope: Scope, now: Timestamp) -> Result<bool, VaultError> {
    let identity = scope.encode();
    let destroyed = sql.execute(
        "UPDATE grantlog_vault.data_key SET wrapped = NULL, destroyed_at = $2
         WHERE scope = $1 AND wrapped IS NOT NULL",
        &[Value::from(&identity), now.timestamp_micros().into()],
    )?;
    if let Scope::Subject(subject) = scope {
        let subject = Value::from(subject.0.as_bytes());
        sql.execute(
            "DELETE FROM grantlog_vault.subject WHERE subject = $1",
            &[subject],
        )?;
        sql.execute(
            "DELETE FROM grantlog_vault.upstream_token WHERE subject = $1",
            &[subject],
        )?;
    }
    if destroyed > 0 {
        let erasure = advance(sql, Kept::Erasures)?;
        sql.execute(
            "UPDATE grantlog_vault.data_key SET destroyed_in = $2 WHERE scope = $1",
            &[Value::from(&identity), erasure.into()],
        )?;
        return Ok(true);
    }
    let known = sql.row(
        "SELECT scope FROM grantlog_vault.data_key WHERE scope = $1",
        &[Value::from(&identity)],
    )?;
    known.map(|_| false).ok_or(VaultError::NoKey(scope))
}
