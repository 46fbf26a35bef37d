//! Signing keys at rest: private parts under the system's data key, and their rotation.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use chrono::DateTime;
use domain::Timestamp;
use rusqlite::{Connection, Row, params};
use zeroize::Zeroizing;

use super::aead::fields;
use super::data_keys::{DataKey, Opened};
use super::scope::Scope;
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
    ///
    /// # Errors
    /// The store failed.
    pub async fn ensure_signing_key(
        &self,
        alg: Algorithm,
        now: Timestamp,
    ) -> Result<(), VaultError> {
        if self.signing_keys().in_use(alg, now).is_some() {
            return Ok(());
        }
        let system = self.loaded(Scope::System)?;
        let made = self.blocking(move |_| new_key(alg, now, now)).await?;
        self.0
            .store
            .write(move |connection| ensure(connection, &system, made, now))
            .await?;
        self.reload_signing_keys().await
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
            .write(move |connection| {
                for mut key in read_all(connection, &system)? {
                    if key.info.alg == alg {
                        let sooner = key
                            .info
                            .retires_at
                            .map_or(retires_at, |at| at.min(retires_at));
                        key.info.retires_at = Some(sooner);
                        if key.public_jwk.is_some() && sooner <= now {
                            key.private = Zeroizing::default();
                        }
                        put(connection, &system, &key)?;
                    }
                }
                put(connection, &system, &made)
            })
            .await?;
        self.reload_signing_keys().await?;
        Ok(kid)
    }

    /// Reads the signing keys anew, such as after another node has rotated them.
    ///
    /// # Errors
    /// [`VaultError::Tampered`]; the store failed. The keys in memory then stay.
    pub async fn reload_signing_keys(&self) -> Result<(), VaultError> {
        let system = self.loaded(Scope::System)?;
        self.blocking(move |vault| {
            let read = snapshot(&vault.0.store.reader(), &system)?;
            let mut keys = vault
                .0
                .signing_keys
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            *keys = Arc::new(read);
            Ok(())
        })
        .await
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
    .map_err(|_| VaultError::NoSigningKey(alg))
}

/// Stores a key unless one of its algorithm is in use. Runs in a write transaction.
pub(super) fn ensure(
    connection: &Connection,
    system: &DataKey,
    made: StoredKey,
    now: Timestamp,
) -> Result<(), VaultError> {
    if snapshot(connection, system)?
        .in_use(made.info.alg, now)
        .is_some()
    {
        return Ok(());
    }
    put(connection, system, &made)
}

/// The signing keys as the file has them.
pub(super) fn snapshot(
    connection: &Connection,
    system: &DataKey,
) -> Result<SigningKeys, VaultError> {
    let keys = read_all(connection, system)?
        .into_iter()
        .map(|stored| SigningKey::try_from(stored).map_err(|_| Tampered.into()))
        .collect::<Result<_, VaultError>>()?;
    Ok(SigningKeys::new(keys))
}

fn put(connection: &Connection, system: &DataKey, key: &StoredKey) -> Result<(), VaultError> {
    let StoredKey {
        info,
        private,
        public_jwk,
    } = key;
    connection.execute(
        "INSERT OR REPLACE INTO signing_key
         (kid, alg, public_jwk, sealed, created_at, not_before, retires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            info.kid,
            info.alg.as_str(),
            public_jwk,
            system.seal(Scope::System, &aad(key), &[private])?,
            info.created_at.timestamp_micros(),
            info.not_before.timestamp_micros(),
            info.retires_at.map(|at| at.timestamp_micros())
        ],
    )?;
    Ok(())
}

/// Every signing key, oldest first.
fn read_all(connection: &Connection, system: &DataKey) -> Result<Vec<StoredKey>, VaultError> {
    let mut select = connection.prepare(
        "SELECT kid, alg, public_jwk, sealed, created_at, not_before, retires_at
         FROM signing_key ORDER BY created_at, kid",
    )?;
    let mut rows = select.query([])?;
    let mut keys = Vec::new();
    while let Some(row) = rows.next()? {
        keys.push(read_one(row, system)?);
    }
    Ok(keys)
}

fn read_one(row: &Row<'_>, system: &DataKey) -> Result<StoredKey, VaultError> {
    let alg: String = row.get(1)?;
    let mut key = StoredKey {
        info: KeyInfo {
            kid: row.get(0)?,
            alg: alg.parse().map_err(|_| Tampered)?,
            created_at: instant(row.get(4)?)?,
            not_before: instant(row.get(5)?)?,
            retires_at: row.get::<_, Option<i64>>(6)?.map(instant).transpose()?,
        },
        private: Zeroizing::default(),
        public_jwk: row.get(2)?,
    };
    let sealed: Vec<u8> = row.get(3)?;
    match system.open(Scope::System, &aad(&key), &sealed)? {
        Opened::Plain(private) => key.private = private,
        Opened::Erased => return Err(Tampered.into()),
    }
    Ok(key)
}

fn instant(micros: i64) -> Result<Timestamp, Tampered> {
    DateTime::from_timestamp_micros(micros).ok_or(Tampered)
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
