//! Data keys: made, wrapped, kept in memory, destroyed.
//!
//! Sealing and opening under a key in memory is synchronous and touches no store. A key that is
//! not there is a typed answer ([`VaultError::NotLoaded`]), never a hidden wait.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use domain::Timestamp;
use domain::id::SubjectId;
use quick_cache::sync::Cache;
use zeroize::Zeroizing;

use super::aead::AeadKey;
use super::master::MasterKeys;
use super::scope::Scope;
use super::sql::{Sql, Value};
use super::{Vault, VaultError};
use crate::clock;

/// How many subjects' keys are kept in memory, at some 700 bytes each.
const SUBJECTS_MAX: usize = 65_536;

/// What opening sealed bytes gives. `Debug` hides the plaintext.
#[derive(PartialEq, Eq)]
pub enum Opened {
    /// The plaintext.
    Plain(Zeroizing<Vec<u8>>),
    /// The key was destroyed: nobody will ever read this.
    Erased,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain(…)",
            Self::Erased => "Erased",
        })
    }
}

/// A data key, or the certainty that it is gone.
#[derive(Clone, Debug)]
pub(super) enum DataKey {
    Live(Arc<AeadKey>),
    Destroyed,
}

impl DataKey {
    pub fn seal(&self, scope: Scope, aad: &[u8], parts: &[&[u8]]) -> Result<Vec<u8>, VaultError> {
        match self {
            Self::Live(key) => Ok(key.seal(&scope.encode(), aad, parts)),
            Self::Destroyed => Err(VaultError::Erased(scope)),
        }
    }

    pub fn open(&self, scope: Scope, aad: &[u8], sealed: &[u8]) -> Result<Opened, VaultError> {
        let (sealed_for, header_len) = Scope::decode(sealed)?;
        if sealed_for != scope {
            return Err(super::Tampered.into());
        }
        match self {
            Self::Live(key) => Ok(Opened::Plain(key.open(header_len, aad, sealed)?)),
            Self::Destroyed => Ok(Opened::Erased),
        }
    }
}

/// The data keys in memory: the system's and the months' for good, the subjects' bounded.
#[derive(Debug)]
pub(super) struct DataKeys {
    lasting: RwLock<HashMap<Scope, DataKey>>,
    subjects: Cache<SubjectId, DataKey>,
    /// Counts forgotten keys, so that one read before is not put back after.
    forgotten: AtomicU64,
}

impl DataKeys {
    pub fn new() -> Self {
        Self {
            lasting: RwLock::default(),
            subjects: Cache::new(SUBJECTS_MAX),
            forgotten: AtomicU64::new(0),
        }
    }

    pub fn get(&self, scope: Scope) -> Option<DataKey> {
        match scope {
            Scope::Subject(subject) => self.subjects.get(&subject),
            Scope::Month { .. } | Scope::System => {
                let lasting = self.lasting.read().unwrap_or_else(PoisonError::into_inner);
                lasting.get(&scope).cloned()
            }
        }
    }

    pub fn put(&self, scope: Scope, key: DataKey) {
        match scope {
            Scope::Subject(subject) => self.subjects.insert(subject, key),
            Scope::Month { .. } | Scope::System => {
                let mut lasting = self.lasting.write().unwrap_or_else(PoisonError::into_inner);
                lasting.insert(scope, key);
            }
        }
    }

    /// How many keys were forgotten so far.
    fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::SeqCst)
    }

    /// Makes sure that no key of the scope read before now stays in memory.
    pub fn forget(&self, scope: Scope) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        self.evict(scope);
    }

    fn evict(&self, scope: Scope) {
        match scope {
            Scope::Subject(subject) => drop(self.subjects.remove(&subject)),
            Scope::Month { .. } | Scope::System => {
                let mut lasting = self.lasting.write().unwrap_or_else(PoisonError::into_inner);
                lasting.remove(&scope);
            }
        }
    }

    /// Keeps a key that was read when `forgotten` keys had been. `false` where another has been
    /// forgotten since: it may be this one, so it must be read again.
    fn keep(&self, scope: Scope, key: DataKey, forgotten: u64) -> bool {
        self.put(scope, key);
        let current = self.forgotten() == forgotten;
        if !current {
            self.evict(scope);
        }
        current
    }
}

impl Vault {
    /// Seals under a key in memory. `aad` is what the bytes belong to; opening needs the same.
    ///
    /// # Errors
    /// [`VaultError::NotLoaded`]: [`Vault::ensure`] it first. [`VaultError::Erased`]: the key was
    /// destroyed.
    pub fn seal(&self, scope: Scope, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, VaultError> {
        self.loaded(scope)?.seal(scope, aad, &[plaintext])
    }

    /// Opens under a key in memory; [`Opened::Erased`] where the key was destroyed.
    ///
    /// # Errors
    /// [`VaultError::NotLoaded`]: [`Vault::load`] it first. [`VaultError::Tampered`]: the bytes
    /// were changed, or sealed under another scope or associated data.
    pub fn open_sealed(
        &self,
        scope: Scope,
        aad: &[u8],
        sealed: &[u8],
    ) -> Result<Opened, VaultError> {
        self.loaded(scope)?.open(scope, aad, sealed)
    }

    /// Whether sealing and opening under this scope need no store.
    #[must_use]
    pub fn is_loaded(&self, scope: Scope) -> bool {
        self.0.data_keys.get(scope).is_some()
    }

    /// Brings a data key into memory; a month's key is made where there is none. A subject's key
    /// is made only together with its identity ([`Vault::record_login`]).
    ///
    /// # Errors
    /// [`VaultError::NoKey`] for an unknown subject; the store failed.
    pub async fn ensure(&self, scope: Scope, now: Timestamp) -> Result<(), VaultError> {
        match (self.load(scope).await, scope) {
            (Err(VaultError::NoKey(_)), Scope::Month { .. }) => {}
            (outcome, _) => return outcome,
        }
        self.write_key(move |sql, vault| {
            let key = find_or_make(sql, &vault.0.master_keys, scope, now)?;
            Ok((scope, key, ()))
        })
        .await
    }

    /// A transaction that finds or makes a data key, which is in memory afterwards.
    pub(super) async fn write_key<T: Send + 'static>(
        &self,
        work: impl Fn(&dyn Sql, &Vault) -> Result<(Scope, DataKey, T), VaultError> + Send + 'static,
    ) -> Result<T, VaultError> {
        let forgotten = self.0.data_keys.forgotten();
        let vault = self.clone();
        let (scope, key, answer) = self.0.store.write(move |sql| work(sql, &vault)).await?;
        if !self.0.data_keys.keep(scope, key, forgotten) {
            self.load(scope).await?;
        }
        Ok(answer)
    }

    /// Brings an existing data key into memory, or the knowledge that it was destroyed.
    ///
    /// # Errors
    /// [`VaultError::NoKey`]; the store failed.
    pub async fn load(&self, scope: Scope) -> Result<(), VaultError> {
        if self.is_loaded(scope) {
            return Ok(());
        }
        self.blocking(move |vault| vault.load_blocking(scope).map(drop))
            .await
    }

    /// [`Vault::load`] for threads that may block.
    pub(super) fn load_blocking(&self, scope: Scope) -> Result<DataKey, VaultError> {
        if let Some(key) = self.0.data_keys.get(scope) {
            return Ok(key);
        }
        loop {
            let forgotten = self.0.data_keys.forgotten();
            let found = (self.0.store).read(|sql| find(sql, &self.0.master_keys, scope))?;
            let key = found.ok_or(VaultError::NoKey(scope))?;
            if self.0.data_keys.keep(scope, key.clone(), forgotten) {
                return Ok(key);
            }
        }
    }

    /// The key in memory.
    pub(super) fn loaded(&self, scope: Scope) -> Result<DataKey, VaultError> {
        self.0
            .data_keys
            .get(scope)
            .ok_or(VaultError::NotLoaded(scope))
    }

    /// [`Vault::seal`] of several parts in a row.
    pub(super) fn seal_parts(
        &self,
        scope: Scope,
        aad: &[u8],
        parts: &[&[u8]],
    ) -> Result<Vec<u8>, VaultError> {
        self.loaded(scope)?.seal(scope, aad, parts)
    }
}

/// The data key of a scope, if it has ever had one.
pub(super) fn find(
    sql: &dyn Sql,
    master_keys: &MasterKeys,
    scope: Scope,
) -> Result<Option<DataKey>, VaultError> {
    let identity = scope.encode();
    let row = sql.row(
        "SELECT wrapped, wrapped_by FROM grantlog_vault.data_key WHERE scope = $1",
        &[Value::from(&identity)],
    )?;
    let Some(mut row) = row else {
        return Ok(None);
    };
    let wrapped: Option<Vec<u8>> = row.take(0)?;
    let Some(wrapped) = wrapped else {
        return Ok(Some(DataKey::Destroyed));
    };
    let wrapped_by: Vec<u8> = row.take(1)?;
    let bytes = master_keys
        .unwrap(&identity, &wrapped_by, &wrapped)
        .ok_or(VaultError::WrongMasterKey)??;
    Ok(Some(DataKey::Live(Arc::new(AeadKey::new(&bytes)))))
}

/// The data key of a scope, made if it has never had one. Runs in a write transaction. Of two
/// nodes that make it at once, one waits and takes the other's.
pub(super) fn find_or_make(
    sql: &dyn Sql,
    master_keys: &MasterKeys,
    scope: Scope,
    now: Timestamp,
) -> Result<DataKey, VaultError> {
    if let Some(key) = find(sql, master_keys, scope)? {
        return Ok(key);
    }
    let identity = scope.encode();
    let bytes = Zeroizing::new(clock::random::<32>());
    let inserted = sql.execute(
        "INSERT INTO grantlog_vault.data_key (scope, wrapped, wrapped_by, created_at)
         VALUES ($1, $2, $3, $4) ON CONFLICT (scope) DO NOTHING",
        &[
            Value::from(&identity),
            Value::from(&master_keys.wrap(&identity, &bytes)),
            Value::from(&master_keys.wrapping_id()),
            now.timestamp_micros().into(),
        ],
    )?;
    if inserted == 0 {
        return find(sql, master_keys, scope)?.ok_or(VaultError::LostRace);
    }
    Ok(DataKey::Live(Arc::new(AeadKey::new(&bytes))))
}
