//! What nodes keep in memory, and how one learns that another has changed it.
//!
//! Each kind has a version in the store, advanced by the transaction that changes it, which holds
//! the version's row to its end: versions become visible in order, and two nodes that decide on the
//! same kind do so one after the other. [`Vault::catch_up`], called every half
//! second, compares two numbers and reads what is new: no node trusts an older view for longer than that.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use super::data_keys::DataKey;
use super::scope::Scope;
use super::sql::{Sql, Value};
use super::{Vault, VaultError};

/// What has a version.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    Erasures,
    SigningKeys,
}

impl Kept {
    fn name(self) -> &'static str {
        match self {
            Self::Erasures => "erasures",
            Self::SigningKeys => "signing keys",
        }
    }
}

/// Askers share a reading: one begins no sooner after somebody has asked.
const GATHER: Duration = Duration::from_millis(50);

/// How far this handle has caught up.
#[derive(Debug)]
pub(super) struct Versions {
    erasures: AtomicI64,
    signing_keys: AtomicI64,
    /// How many readings on demand have begun; one at a time.
    begun: AtomicU64,
    /// Whether the last of them succeeded; unknown if its asker went away meanwhile.
    turn: tokio::sync::Mutex<Option<bool>>,
}

impl Versions {
    /// As of now; to be read before that which is kept.
    pub fn read(sql: &dyn Sql) -> Result<Self, VaultError> {
        Ok(Self {
            erasures: current(sql, Kept::Erasures)?.into(),
            signing_keys: current(sql, Kept::SigningKeys)?.into(),
            begun: AtomicU64::new(0),
            turn: tokio::sync::Mutex::default(),
        })
    }
}

fn current(sql: &dyn Sql, kept: Kept) -> Result<i64, VaultError> {
    let row = sql.row(
        "SELECT version FROM grantlog_vault.cache_version WHERE name = $1",
        &[Value::from(kept.name())],
    )?;
    row.ok_or(VaultError::RowMissing)?.take(0)
}

/// Announces a change in the transaction that makes it, and keeps others from making one until it
/// ends. Returns the version. What was read before this may be old.
pub(super) fn advance(sql: &dyn Sql, kept: Kept) -> Result<i64, VaultError> {
    let row = sql.row(
        "UPDATE grantlog_vault.cache_version SET version = version + 1 WHERE name = $1 RETURNING version",
        &[Value::from(kept.name())],
    )?;
    row.ok_or(VaultError::RowMissing)?.take(0)
}

impl Vault {
    /// Learns what other nodes have changed: forgets the keys that they destroyed, reads the
    /// signing keys where they made or rotated one. To be called every half second.
    ///
    /// # Errors
    /// The store failed; what is in memory then stays as old as it is.
    pub async fn catch_up(&self) -> Result<(), VaultError> {
        let system = self.loaded(Scope::System)?;
        self.blocking(move |vault| vault.catch_up_blocking(&system))
            .await
    }

    fn catch_up_blocking(&self, system: &DataKey) -> Result<(), VaultError> {
        let (store, versions) = (&self.0.store, &self.0.versions);
        let known = |version: &AtomicI64| version.load(Ordering::SeqCst);
        let (erasures, signing_keys) = store.read(|sql| {
            Ok((
                current(sql, Kept::Erasures)?,
                current(sql, Kept::SigningKeys)?,
            ))
        })?;
        if erasures != known(&versions.erasures) {
            let destroyed = store.read(|sql| {
                sql.rows(
                    "SELECT scope FROM grantlog_vault.data_key WHERE destroyed_in > $1",
                    &[known(&versions.erasures).into()],
                )
            })?;
            for mut row in destroyed {
                let scope: Vec<u8> = row.take(0)?;
                self.forget(Scope::decode(&scope)?.0);
            }
            versions.erasures.store(erasures, Ordering::SeqCst);
        }
        if signing_keys != known(&versions.signing_keys) {
            self.reload_signing_keys_blocking(system)?;
            versions.signing_keys.store(signing_keys, Ordering::SeqCst);
        }
        Ok(())
    }

    /// [`Vault::catch_up`] without waiting for its turn, such as where a token names a signing key
    /// that this node does not know yet. Askers share readings, so strangers cannot cause many.
    ///
    /// # Errors
    /// As there.
    pub async fn catch_up_now(&self) -> Result<(), VaultError> {
        let versions = &self.0.versions;
        let begun = versions.begun.load(Ordering::SeqCst);
        let mut last = versions.turn.lock().await;
        match *last {
            Some(succeeded) if versions.begun.load(Ordering::SeqCst) != begun => {
                return succeeded.then_some(()).ok_or(VaultError::NotFollowed);
            }
            Some(_) | None => {}
        }
        tokio::time::sleep(GATHER).await;
        versions.begun.fetch_add(1, Ordering::SeqCst);
        *last = None;
        let read = self.catch_up().await;
        *last = Some(read.is_ok());
        read
    }
}
