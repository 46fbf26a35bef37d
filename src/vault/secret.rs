//! Named secrets by version, under the system's data key: provider secrets, upstream headers.
//!
//! Events name only the version, so an old setting finds its secret for as long as it is kept.

use domain::Timestamp;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::aead::fields;
use super::data_keys::{DataKey, Opened};
use super::scope::Scope;
use super::sql::{Sql, Value};
use super::{Vault, VaultError};
use crate::clock;

impl Vault {
    /// Stores a secret of `owner` (such as `provider-1`) under a new version, which it returns.
    ///
    /// # Errors
    /// The store failed.
    pub async fn put_secret(
        &self,
        owner: &str,
        plaintext: &[u8],
        now: Timestamp,
    ) -> Result<Uuid, VaultError> {
        let version = uuid::Builder::from_random_bytes(clock::random()).into_uuid();
        let key = self.loaded(Scope::System)?;
        let owner = owner.to_owned();
        let plaintext = Zeroizing::new(plaintext.to_vec());
        self.0
            .store
            .write(move |sql| put(sql, &key, &owner, version, &plaintext, now))
            .await?;
        Ok(version)
    }

    /// A secret of `owner` by version.
    ///
    /// # Errors
    /// [`VaultError::NoSecret`]; [`VaultError::Tampered`]; the store failed.
    pub async fn secret(
        &self,
        owner: &str,
        version: Uuid,
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let key = self.loaded(Scope::System)?;
        let owner = owner.to_owned();
        self.blocking(move |vault| {
            let found = (vault.0.store).read(|sql| get(sql, &key, &owner, version))?;
            found.ok_or(VaultError::NoSecret)
        })
        .await
    }

    /// Deletes one version of a secret. `false` where there was none.
    ///
    /// # Errors
    /// The store failed.
    pub async fn delete_secret(&self, owner: &str, version: Uuid) -> Result<bool, VaultError> {
        let owner = owner.to_owned();
        self.0
            .store
            .write(move |sql| {
                let deleted = sql.execute(
                    "DELETE FROM grantlog_vault.secret WHERE owner = $1 AND version = $2",
                    &[owner.as_str().into(), version.as_bytes().into()],
                )?;
                Ok(deleted > 0)
            })
            .await
    }

    /// Deletes every version of a secret.
    ///
    /// # Errors
    /// The store failed.
    pub async fn delete_secrets(&self, owner: &str) -> Result<(), VaultError> {
        let owner = owner.to_owned();
        self.0
            .store
            .write(move |sql| {
                sql.execute(
                    "DELETE FROM grantlog_vault.secret WHERE owner = $1",
                    &[owner.as_str().into()],
                )?;
                Ok(())
            })
            .await
    }
}

pub(super) fn get(
    sql: &dyn Sql,
    key: &DataKey,
    owner: &str,
    version: Uuid,
) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError> {
    let row = sql.row(
        "SELECT sealed FROM grantlog_vault.secret WHERE owner = $1 AND version = $2",
        &[owner.into(), version.as_bytes().into()],
    )?;
    let Some(mut row) = row else {
        return Ok(None);
    };
    let sealed: Vec<u8> = row.take(0)?;
    match key.open(Scope::System, &aad(owner, version), &sealed)? {
        Opened::Plain(plain) => Ok(Some(plain)),
        Opened::Erased => Ok(None),
    }
}

/// Stores a secret, unless there is one of this owner and version.
pub(super) fn put(
    sql: &dyn Sql,
    key: &DataKey,
    owner: &str,
    version: Uuid,
    plaintext: &[u8],
    now: Timestamp,
) -> Result<(), VaultError> {
    let sealed = key.seal(Scope::System, &aad(owner, version), &[plaintext])?;
    sql.execute(
        "INSERT INTO grantlog_vault.secret (owner, version, sealed, created_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (owner, version) DO NOTHING",
        &[
            owner.into(),
            version.as_bytes().into(),
            Value::from(&sealed),
            now.timestamp_micros().into(),
        ],
    )?;
    Ok(())
}

fn aad(owner: &str, version: Uuid) -> Vec<u8> {
    fields(&[b"secret", owner.as_bytes(), version.as_bytes()])
}
