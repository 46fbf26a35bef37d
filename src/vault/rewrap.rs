//! Rotation of the master key: data keys are wrapped anew, nothing they sealed is touched.
//!
//! Rows are replaced only as they were read: a key that another node destroys meanwhile stays
//! destroyed, and two nodes that re-wrap at once share the work.

use super::master::MasterKeys;
use super::sql::{Sql, Value};
use super::{Vault, VaultError};

/// How many rows one transaction re-wraps.
const BATCH: i64 = 500;

/// A second pass finds what other nodes made during the first. No more: a node that puts another key first would do the same.
const PASSES: usize = 2;

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
        let mut after = Vec::new();
        for _ in 0..PASSES {
            if self.blocking(Self::is_rewrapped).await? {
                break;
            }
            after.clear();
            loop {
                let (vault, from) = (self.clone(), after.clone());
                let some = move |sql: &dyn Sql| rewrap_some(sql, &vault.0.master_keys, &from);
                let (last, rewrapped) = self.0.store.write(some).await?;
                total += rewrapped;
                match last {
                    Some(last) => after = last,
                    None => break,
                }
            }
        }
        if total > 0 {
            self.checkpoint().await?;
        }
        Ok(total)
    }

    /// Whether every data key is wrapped by the first master key. Blocks, and takes no turn from those who write.
    ///
    /// # Errors
    /// The store failed.
    pub fn is_rewrapped(&self) -> Result<bool, VaultError> {
        let wrapping = self.0.master_keys.wrapping_id();
        let other = self.0.store.read(|sql| {
            sql.row(
                "SELECT scope FROM grantlog_vault.data_key WHERE wrapped IS NOT NULL AND wrapped_by <> $1 LIMIT 1",
                &[Value::from(&wrapping)],
            )
        })?;
        Ok(other.is_none())
    }
}

/// Gives the next rows after a scope the first wrapping key; returns the last of them, if there was one, and how many were
/// wrapped anew.
fn rewrap_some(
    sql: &dyn Sql,
    master_keys: &MasterKeys,
    after: &[u8],
) -> Result<(Option<Vec<u8>>, usize), VaultError> {
    let wrapping = master_keys.wrapping_id();
    // Always in the same order, or two nodes could each wait for the other's row.
    let rows = sql.rows(
        "SELECT scope, wrapped, wrapped_by FROM grantlog_vault.data_key
         WHERE scope > $1 AND wrapped IS NOT NULL AND wrapped_by <> $2 ORDER BY scope LIMIT $3",
        &[Value::from(&after), Value::from(&wrapping), BATCH.into()],
    )?;
    let (mut last, mut rewrapped) = (None, 0);
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
        last = Some(scope);
    }
    Ok((last, rewrapped))
}
