//! Rotation of the master key: data keys are wrapped anew, nothing they sealed is touched.
//!
//! Rows are replaced only as they were read: a key that another node destroys meanwhile stays
//! destroyed, and two nodes that re-wrap at once share the work.

use super::master::MasterKeys;
use super::sql::{Sql, Value};
use super::{Vault, VaultError};

/// How many rows one transaction re-wraps.
const BATCH: i64 = 500;

impl Vault {
    /// Wraps every data key under the first master key, after which the others can go. Returns how
    /// many were wrapped anew. Every node must know the first master key before, and none may put
    /// another first after.
    ///
    /// # Errors
    /// [`VaultError::WrongMasterKey`] where a key's master key was not given; the store failed.
    /// What was re-wrapped before the error stays so.
    pub async fn rewrap(&self) -> Result<usize, VaultError> {
        let mut total = 0;
        loop {
            let vault = self.clone();
            let (found, rewrapped) = self
                .0
                .store
                .write(move |sql| rewrap_some(sql, &vault.0.master_keys))
                .await?;
            if found == 0 {
                break;
            }
            total += rewrapped;
        }
        self.checkpoint().await?;
        Ok(total)
    }
}

/// Returns how many rows had another wrapping key, and how many of them got the first.
fn rewrap_some(sql: &dyn Sql, master_keys: &MasterKeys) -> Result<(usize, usize), VaultError> {
    let wrapping = master_keys.wrapping_id();
    // Always in the same order, or two nodes could each wait for the other's row.
    let rows = sql.rows(
        "SELECT scope, wrapped, wrapped_by FROM grantlog_vault.data_key
         WHERE wrapped IS NOT NULL AND wrapped_by <> $1 ORDER BY scope LIMIT $2",
        &[Value::from(&wrapping), BATCH.into()],
    )?;
    let found = rows.len();
    let mut rewrapped = 0;
    for mut row in rows {
        let (scope, wrapped): (Vec<u8>, Vec<u8>) = (row.take(0)?, row.take(1)?);
        let wrapped_by: Vec<u8> = row.take(2)?;
        let bytes = master_keys
            .unwrap(&scope, &wrapped_by, &wrapped)
            .ok_or(VaultError::WrongMasterKey)??;
        rewrapped += sql.execute(
            "UPDATE grantlog_vault.data_key SET wrapped = $3, wrapped_by = $4
             WHERE scope = $1 AND wrapped = $2",
            &[
                Value::from(&scope),
                Value::from(&wrapped),
                Value::from(&master_keys.wrap(&scope, &bytes)),
                Value::from(&wrapping),
            ],
        )? as usize;
    }
    Ok((found, rewrapped))
}
