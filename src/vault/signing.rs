//! Signing keys at rest: private parts under the system's data key, and their rotation.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use domain::Timestamp;
use zeroize::Zeroizing;

use super::aead::fields;
use super::data_keys::{DataKey, Opened};
use super::scope::Scope;
use super::sql::{Row, Sql, Value, instant};
use super::versions::{Kept, advance};
use super::{Tampered, Vault, VaultError};
use crate::clock;
use crate::keys::{Algorithm, KeyInfo, SigningKey, SigningKeys, StoredKey, generate};

/// The pace of a rotation.
#[derive(Clone, Copy, Debug)]
pub struct Rotation {
    /// How long the new key is published before it signs: no less than verifiers cache key sets.
    pub publish_ahead: Duration,
    /// How long the old keys verify after that: no less than the longest token life. Zero
    /// together with no head start cuts off every token at once, as after a leak.
    pub keep_old: Duration,
}

impl Vault {
    /// The signing keys as of the last change here or [`Vault::reload_signing_keys`].
    #[must_use]
    pub fn signing_keys(&self) -> Arc<SigningKeys> {
        let keys = self.0.signing_keys.read();
        Arc::clone(&keys.unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes a key for the algorithm if none is in use, such as when a proxy first needs it.
    /// Returns whether this call made it.
    ///
    /// # Errors
    /// The store failed.
    pub async fn ensure_signing_key(
        &self,
        alg: Algorithm,
        now: Timestamp,
    ) -> Result<bool, VaultError> {
        if self.signing_keys().in_use(alg, now).is_some() {
            return Ok(false);
        }
        let system = self.loaded(Scope::System)?;
        let made = self.blocking(move |_| new_key(alg, now, now)).await?;
        let is_new = self
            .0
            .store
            .write(move |sql| ensure(sql, &system, &made, now))
            .await?;
        self.reload_signing_keys().await?;
        Ok(is_new)
    }

    /// Makes a successor to the keys of an algorithm; they retire after it has taken over. The
    /// private parts of keys long retired are erased. Returns the new key's `kid`.
    ///
    /// # Errors
    /// The store failed.
    pub async fn rotate_signing_key(
        &self,
        alg: Algorithm,
        rotation: Rotation,
        now: Timestamp,
    ) -> Result<String, VaultError> {
        let system = self.loaded(Scope::System)?;
        let not_before = now + rotation.publish_ahead;
        let retires_at = not_before + rotation.keep_old;
        let made = self
            .blocking(move |_| new_key(alg, now, not_before))
            .await?;
        let kid = made.info.kid.clone();
        self.0
            .store
            .write(move |sql| {
                advance(sql, Kept::SigningKeys)?;
                let keys = read_all(sql, &system)?;
                if keys.iter().any(|key| key.info.kid == made.info.kid) {
                    // Done before, and perhaps another rotation after it.
                    return Ok(());
                }
                for mut key in keys {
                    if key.info.alg == alg {
                        let sooner = key
                            .info
                            .retires_at
                            .map_or(retires_at, |at| at.min(retires_at));
                        key.info.retires_at = Some(sooner);
                        if key.public_jwk.is_some() && sooner <= now {
                            key.private = Zeroizing::default();
                        }
                        put(sql, &system, &key)?;
                    }
                }
                put(sql, &system, &made)
            })
            .await?;
        self.reload_signing_keys().await?;
        Ok(kid)
    }

    /// Reads the signing keys anew; [`Vault::catch_up`] does so when they have changed.
    ///
    /// # Errors
    /// [`VaultError::Tampered`]; the store failed. The keys in memory then stay.
    pub async fn reload_signing_keys(&self) -> Result<(), VaultError> {
        let system = self.loaded(Scope::System)?;
        self.blocking(move |vault| vault.reload_signing_keys_blocking(&system))
            .await
    }

    pub(super) fn reload_signing_keys_blocking(&self, system: &DataKey) -> Result<(), VaultError> {
        let (reload, keys) = (&self.0.reload, &self.0.signing_keys);
        // One at a time, so that what was read first is not kept last.
        let _turn = reload.lock().unwrap_or_else(PoisonError::into_inner);
        let read = self.0.store.read(|sql| snapshot(sql, system))?;
        *keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(read);
        Ok(())
    }
}

/// A key that is not stored yet. Blocks for RSA.
pub(super) fn new_key(
    alg: Algorithm,
    now: Timestamp,
    not_before: Timestamp,
) -> Result<StoredKey, VaultError> {
    let kid = uuid::Builder::from_random_bytes(clock::random()).into_uuid();
    generate(KeyInfo {
        kid: kid.simple().to_string(),
        alg,
        created_at: now,
        not_before,
        retires_at: None,
    })
    .map_err(|_| VaultError::KeyGeneration(alg))
}

/// Stores a key unless one of its algorithm is good, now or soon. Runs in a write transaction. Returns whether
/// it was stored.
pub(super) fn ensure(
    sql: &dyn Sql,
    system: &DataKey,
    made: &StoredKey,
    now: Timestamp,
) -> Result<bool, VaultError> {
    // Also one from a moment ahead: nodes that start together do not look at one clock.
    let is_good = |key: &KeyInfo| {
        key.alg == made.info.alg && key.retires_at.is_none_or(|retires_at| now < retires_at)
    };
    let is_there = || Ok::<_, VaultError>(snapshot(sql, system)?.infos().any(is_good));
    if is_there()? {
        return Ok(false);
    }
    advance(sql, Kept::SigningKeys)?;
    if is_there()? {
        return Ok(false);
    }
    put(sql, system, made)?;
    Ok(true)
}

/// The signing keys as the store has them.
pub(super) fn snapshot(sql: &dyn Sql, system: &DataKey) -> Result<SigningKeys, VaultError> {
    let keys = read_all(sql, system)?
        .into_iter()
        .map(|stored| SigningKey::try_from(stored).map_err(|_| Tampered.into()))
        .collect::<Result<_, VaultError>>()?;
    Ok(SigningKeys::new(keys))
}

fn put(sql: &dyn Sql, system: &DataKey, key: &StoredKey) -> Result<(), VaultError> {
    let StoredKey {
        info,
        private,
        public_jwk,
    } = key;
    sql.execute(
        "INSERT INTO grantlog_vault.signing_key
         (kid, alg, public_jwk, sealed, created_at, not_before, retires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (kid) DO UPDATE SET sealed = excluded.sealed, retires_at = excluded.retires_at",
        &[
            info.kid.as_str().into(),
            info.alg.as_str().into(),
            Value::Text(public_jwk.as_deref()),
            Value::from(&system.seal(Scope::System, &aad(key), &[private])?),
            info.created_at.timestamp_micros().into(),
            info.not_before.timestamp_micros().into(),
            Value::Int(info.retires_at.map(|at| at.timestamp_micros())),
        ],
    )?;
    Ok(())
}

/// Every signing key, oldest first.
fn read_all(sql: &dyn Sql, system: &DataKey) -> Result<Vec<StoredKey>, VaultError> {
    let rows = sql.rows(
        "SELECT kid, alg, public_jwk, sealed, created_at, not_before, retires_at
         FROM grantlog_vault.signing_key ORDER BY created_at, kid",
        &[],
    )?;
    rows.into_iter().map(|row| read_one(row, system)).collect()
}

fn read_one(mut row: Row, system: &DataKey) -> Result<StoredKey, VaultError> {
    let alg: String = row.take(1)?;
    let retires_at: Option<i64> = row.take(6)?;
    let mut key = StoredKey {
        info: KeyInfo {
            kid: row.take(0)?,
            alg: alg.parse().map_err(|_| Tampered)?,
            created_at: instant(row.take(4)?)?,
            not_before: instant(row.take(5)?)?,
            retires_at: retires_at.map(instant).transpose()?,
        },
        private: Zeroizing::default(),
        public_jwk: row.take(2)?,
    };
    let sealed: Vec<u8> = row.take(3)?;
    match system.open(Scope::System, &aad(&key), &sealed)? {
        Opened::Plain(private) => key.private = private,
        Opened::Erased => return Err(Tampered.into()),
    }
    Ok(key)
}

/// The whole row: neither a public key, an algorithm nor a time can be changed in the file, also
/// once the private part is erased.
fn aad(key: &StoredKey) -> Vec<u8> {
    let info = &key.info;
    let micros = |at: Timestamp| at.timestamp_micros().to_be_bytes();
    fields(&[
        b"signing key",
        info.kid.as_bytes(),
        info.alg.as_str().as_bytes(),
        key.public_jwk.as_deref().unwrap_or_default().as_bytes(),
        &micros(info.created_at),
        &micros(info.not_before),
        info.retires_at.map(micros).as_ref().map_or(&[], |at| at),
    ])
}
