//! Who an upstream identity is to us.
//!
//! A person is known upstream as (provider, issuer, sub), never by e-mail. Here that triple is
//! kept only as an HMAC under a key of the vault, so the table names nobody; erasing a subject
//! deletes its row.

use aws_lc_rs::hmac;
use domain::Timestamp;
use domain::id::{GrantId, ProviderId, SubjectId};

use super::aead::fields;
use super::data_keys::{DataKey, find_or_make};
use super::scope::Scope;
use super::sql::{Sql, Value};
use super::upstream::{self, UpstreamTokens};
use super::{Vault, VaultError};
use crate::clock;

/// A person as the upstream provider knows them. `Debug` shows the provider alone.
#[derive(Clone, Copy)]
pub struct Identity<'a> {
    /// Our number of the provider.
    pub provider: ProviderId,
    /// The issuer it spoke as; for providers without OpenID Connect, a constant of theirs.
    pub issuer: &'a str,
    /// Its stable identifier for the person.
    pub sub: &'a str,
}

impl std::fmt::Debug for Identity<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("provider", &self.provider)
            .finish_non_exhaustive()
    }
}

impl Vault {
    /// The subject of an identity; a new identity becomes a new subject with a data key of its
    /// own, in one transaction. The key is in memory afterwards. Concurrent calls agree.
    ///
    /// # Errors
    /// The store failed.
    pub async fn subject_for(
        &self,
        identity: Identity<'_>,
        now: Timestamp,
    ) -> Result<SubjectId, VaultError> {
        let lookup = self.lookup(identity);
        self.write_key(move |sql, vault| {
            let (subject, key) = find_or_admit(sql, vault, &lookup, now)?;
            Ok((Scope::Subject(subject), key, subject))
        })
        .await
    }

    /// [`Vault::subject_for`], and what the provider gave for the grant, in one transaction.
    ///
    /// # Errors
    /// [`VaultError::AnotherSubject`] where somebody else's login has left tokens for the grant; the
    /// store failed. Then neither is kept.
    pub async fn record_login(
        &self,
        identity: Identity<'_>,
        grant: GrantId,
        tokens: &UpstreamTokens,
        now: Timestamp,
    ) -> Result<SubjectId, VaultError> {
        let lookup = self.lookup(identity);
        let plain = tokens.to_bytes();
        self.write_key(move |sql, vault| {
            let (subject, key) = find_or_admit(sql, vault, &lookup, now)?;
            upstream::put(sql, &key, subject, grant, &plain, now)?;
            Ok((Scope::Subject(subject), key, subject))
        })
        .await
    }

    fn lookup(&self, identity: Identity<'_>) -> [u8; 32] {
        let encoded = fields(&[
            &identity.provider.0.to_be_bytes(),
            identity.issuer.as_bytes(),
            identity.sub.as_bytes(),
        ]);
        hmac::sign(&self.0.purpose_keys.index, &encoded)
            .as_ref()
            .try_into()
            .expect("an HMAC-SHA256 has 32 bytes")
    }
}

fn find_or_admit(
    sql: &dyn Sql,
    vault: &Vault,
    lookup: &[u8; 32],
    now: Timestamp,
) -> Result<(SubjectId, DataKey), VaultError> {
    let known = find(sql, lookup)?;
    if let Some(subject) = known
        && let Some(key) = vault.0.data_keys.get(Scope::Subject(subject))
    {
        return Ok((subject, key));
    }
    let subject = match known {
        Some(subject) => subject,
        None => admit(sql, lookup)?,
    };
    let scope = Scope::Subject(subject);
    let key = find_or_make(sql, &vault.0.master_keys, scope, now)?;
    Ok((subject, key))
}

fn find(sql: &dyn Sql, lookup: &[u8; 32]) -> Result<Option<SubjectId>, VaultError> {
    let row = sql.row(
        "SELECT subject FROM grantlog_vault.subject WHERE identity = $1",
        &[Value::from(lookup)],
    )?;
    row.map(|mut row| Ok(SubjectId(row.take(0)?))).transpose()
}

/// A new subject, or the one that another node has just made.
fn admit(sql: &dyn Sql, lookup: &[u8; 32]) -> Result<SubjectId, VaultError> {
    let drawn = SubjectId(uuid::Builder::from_random_bytes(clock::random()).into_uuid());
    let inserted = sql.execute(
        "INSERT INTO grantlog_vault.subject (identity, subject) VALUES ($1, $2)
         ON CONFLICT (identity) DO NOTHING",
        &[Value::from(lookup), drawn.0.as_bytes().into()],
    )?;
    if inserted > 0 {
        return Ok(drawn);
    }
    find(sql, lookup)?.ok_or(VaultError::LostRace)
}
