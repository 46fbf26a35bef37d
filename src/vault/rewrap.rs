//! Rotation of the master key: data keys are wrapped anew, nothing they sealed is touched.

use rusqlite::{Connection, params};

use super::master::{KeyId, MasterKeys};
use super::{Vault, VaultError};

/// How many rows one transaction re-wraps.
const BATCH: u32 = 500;

impl Vault {
    /// Wraps every data key under the first master key, after which the others can go. Returns how
    /// many were wrapped anew.
    ///
    /// # Errors
    /// [`VaultError::WrongMasterKey`] where a key's master key was not given; the store failed.
    /// What was re-wrapped before the error stays so.
    pub async fn rewrap(&self) -> Result<usize, VaultError> {
        let mut total = 0;
        loop {
            let vault = self.clone();
            let count = self
                .0
                .store
                .write(move |connection| rewrap_some(connection, &vault.0.master_keys))
                .await?;
            if count == 0 {
                break;
            }
            total += count;
        }
        self.checkpoint().await?;
        Ok(total)
    }
}

fn rewrap_some(connection: &Connection, master_keys: &MasterKeys) -> Result<usize, VaultError> {
    let wrapping: KeyId = master_keys.wrapping_id();
    let mut select = connection.prepare(
        "SELECT scope, wrapped, wrapped_by FROM data_key WHERE wrapped IS NOT NULL AND wrapped_by <> ?1 LIMIT ?2",
    )?;
    let rows = select
        .query_map(params![wrapping, BATCH], |row| {
            Ok((
                row.get::<_, Vec<u8>>(0)?,
                row.get::<_, Vec<u8>>(1)?,
                row.get::<_, Vec<u8>>(2)?,
            ))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    let mut update =
        connection.prepare("UPDATE data_key SET wrapped = ?2, wrapped_by = ?3 WHERE scope = ?1")?;
    for (scope, wrapped, wrapped_by) in &rows {
        let bytes = master_keys
            .unwrap(scope, wrapped_by, wrapped)
            .ok_or(VaultError::WrongMasterKey)??;
        update.execute(params![scope, master_keys.wrap(scope, &bytes), wrapping])?;
    }
    Ok(rows.len())
}
