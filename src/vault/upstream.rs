//! What the upstream provider gave for a grant, under the subject's data key.

use std::borrow::Cow;

use domain::Timestamp;
use domain::id::{GrantId, SubjectId};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::aead::fields;
use super::data_keys::{DataKey, Opened};
use super::scope::Scope;
use super::sql::{Sql, Value, instant};
use super::{Tampered, Vault, VaultError};
use crate::secret::Secret;

/// What the upstream provider gave to act for a person (RFC 6749 §5.1); all are bearer tokens.
#[derive(Clone, Debug)]
pub struct UpstreamTokens {
    /// Presented to the MCP server on the user's behalf.
    pub access_token: Secret,
    /// Gets the next access token.
    pub refresh_token: Option<Secret>,
    /// When the access token expires, if the provider said so.
    pub expires_at: Option<Timestamp>,
    /// When the refresh token expires unused, if the provider said so.
    pub refresh_expires_at: Option<Timestamp>,
    /// Where the provider is that gave them; unknown of what earlier programs stored.
    pub origin: Option<String>,
}

/// The stored form.
#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    #[serde(borrow)]
    access_token: Cow<'a, str>,
    #[serde(borrow, default)]
    refresh_token: Option<Cow<'a, str>>,
    #[serde(default)]
    expires_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refresh_expires_at: Option<Timestamp>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    origin: Option<Cow<'a, str>>,
    /// Always `Bearer`; earlier programs read no record without it.
    #[serde(borrow)]
    token_type: Cow<'a, str>,
}

impl UpstreamTokens {
    pub(super) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let stored = Stored {
            access_token: self.access_token.expose().into(),
            refresh_token: self.refresh_token.as_ref().map(|s| s.expose().into()),
            expires_at: self.expires_at,
            refresh_expires_at: self.refresh_expires_at,
            origin: self.origin.as_deref().map(Cow::Borrowed),
            token_type: "Bearer".into(),
        };
        Zeroizing::new(serde_json::to_vec(&stored).expect("strings and instants are JSON"))
    }

    fn from_bytes(plain: &[u8]) -> Result<Self, Tampered> {
        let stored: Stored<'_> = serde_json::from_slice(plain).map_err(|_| Tampered)?;
        Ok(Self {
            access_token: Secret::new(stored.access_token),
            refresh_token: stored.refresh_token.map(Secret::new),
            expires_at: stored.expires_at,
            refresh_expires_at: stored.refresh_expires_at,
            origin: stored.origin.map(Cow::into_owned),
        })
    }
}

/// Upstream tokens as they were read.
#[derive(Clone, Debug)]
pub struct StoredTokens {
    /// Whose they are.
    pub subject: SubjectId,
    /// The tokens.
    pub tokens: UpstreamTokens,
    /// When the vault got them, which is when the provider gave them.
    pub stored_at: Timestamp,
    /// Which tokens these are among all that the grant has had.
    pub revision: Revision,
}

/// Tells what was read from what replaced it.
#[derive(Clone, PartialEq, Eq)]
pub struct Revision(Vec<u8>);

impl std::fmt::Debug for Revision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Revision(…)")
    }
}

impl Vault {
    /// Takes on the renewal of upstream tokens until then, for this node alone: a provider that
    /// rotates refresh tokens takes a second use of one for theft. `false` where another has taken
    /// it on, or they are no longer those that were read; or where it was taken on and the answer
    /// lost, so that nobody renews them until then. Replacing them ends it.
    ///
    /// # Errors
    /// The store failed.
    pub async fn claim_upstream(
        &self,
        grant: GrantId,
        read: &Revision,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, VaultError> {
        let read = read.clone();
        self.0
            .store
            .write(move |sql| {
                let claimed = sql.execute(
                    "UPDATE grantlog_vault.upstream_token SET claimed_until = $4
                     WHERE grant_id = $1 AND sealed = $2
                     AND (claimed_until IS NULL OR claimed_until <= $3)",
                    &[
                        grant.0.as_bytes().into(),
                        Value::from(&read.0),
                        now.timestamp_micros().into(),
                        until.timestamp_micros().into(),
                    ],
                )?;
                Ok(claimed > 0)
            })
            .await
    }

    /// Gives back what was taken on until then, so that it can be tried again sooner.
    ///
    /// # Errors
    /// The store failed.
    pub async fn release_upstream(
        &self,
        grant: GrantId,
        until: Timestamp,
    ) -> Result<(), VaultError> {
        self.0
            .store
            .write(move |sql| {
                sql.execute(
                    "UPDATE grantlog_vault.upstream_token SET claimed_until = NULL
                     WHERE grant_id = $1 AND claimed_until = $2",
                    &[grant.0.as_bytes().into(), until.timestamp_micros().into()],
                )?;
                Ok(())
            })
            .await
    }

    /// Replaces a grant's upstream tokens, such as after they were refreshed. `false` where they
    /// are no longer those that were read: another node has replaced them, or they were deleted.
    ///
    /// # Errors
    /// [`VaultError::NoKey`] for an unknown subject, [`VaultError::Erased`] for an erased one; the
    /// store failed.
    pub async fn replace_upstream(
        &self,
        subject: SubjectId,
        grant: GrantId,
        read: &Revision,
        tokens: &UpstreamTokens,
        now: Timestamp,
    ) -> Result<bool, VaultError> {
        let scope = Scope::Subject(subject);
        self.load(scope).await?;
        let (read, plain) = (read.clone(), tokens.to_bytes());
        let sealed = self
            .loaded(scope)?
            .seal(scope, &aad(subject, grant), &[&plain])?;
        self.0
            .store
            .write(move |sql| {
                let replaced = sql.execute(
                    "UPDATE grantlog_vault.upstream_token
                     SET sealed = $4, updated_at = $5, claimed_until = NULL
                     WHERE grant_id = $1 AND subject = $2 AND sealed = $3",
                    &[
                        grant.0.as_bytes().into(),
                        subject.0.as_bytes().into(),
                        Value::from(&read.0),
                        Value::from(&sealed),
                        now.timestamp_micros().into(),
                    ],
                )?;
                Ok(replaced > 0)
            })
            .await
    }

    /// A grant's upstream tokens; `None` where there are none (any more).
    ///
    /// # Errors
    /// [`VaultError::Tampered`]; the store failed.
    pub async fn upstream(&self, grant: GrantId) -> Result<Option<StoredTokens>, VaultError> {
        self.blocking(move |vault| {
            let row = vault.0.store.read(|sql| {
                sql.row(
                    "SELECT subject, sealed, updated_at FROM grantlog_vault.upstream_token
                     WHERE grant_id = $1",
                    &[grant.0.as_bytes().into()],
                )
            })?;
            let Some(mut row) = row else {
                return Ok(None);
            };
            let (subject, sealed) = (SubjectId(row.take(0)?), row.take::<Vec<u8>>(1)?);
            let stored_at = instant(row.take(2)?)?;
            let scope = Scope::Subject(subject);
            let key = vault.load_blocking(scope)?;
            match key.open(scope, &aad(subject, grant), &sealed)? {
                Opened::Plain(plain) => Ok(Some(StoredTokens {
                    subject,
                    tokens: UpstreamTokens::from_bytes(&plain)?,
                    stored_at,
                    revision: Revision(sealed),
                })),
                Opened::Erased => Ok(None),
            }
        })
        .await
    }

    /// Deletes a grant's upstream tokens. `false` where there were none.
    ///
    /// # Errors
    /// The store failed.
    pub async fn delete_upstream(&self, grant: GrantId) -> Result<bool, VaultError> {
        self.0
            .store
            .write(move |sql| {
                let deleted = sql.execute(
                    "DELETE FROM grantlog_vault.upstream_token WHERE grant_id = $1",
                    &[grant.0.as_bytes().into()],
                )?;
                Ok(deleted > 0)
            })
            .await
    }

    /// The grants behind `after`, in their order, whose upstream tokens nobody has touched since `before`; at most `limit`.
    ///
    /// # Errors
    /// The store failed.
    pub async fn grants_with_upstream(
        &self,
        after: GrantId,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<GrantId>, VaultError> {
        self.blocking(move |vault| {
            let rows = vault.0.store.read(|sql| {
                sql.rows(
                    "SELECT grant_id FROM grantlog_vault.upstream_token
                     WHERE grant_id > $1 AND updated_at < $2 ORDER BY grant_id LIMIT $3",
                    &[
                        after.0.as_bytes().into(),
                        before.timestamp_micros().into(),
                        i64::from(limit).into(),
                    ],
                )
            })?;
            let grants = rows.into_iter().map(|mut row| Ok(GrantId(row.take(0)?)));
            grants.collect()
        })
        .await
    }
}

/// Stores what a login gave. A grant is one person's: of two who answer one authorization at the same
/// moment, only the first may leave tokens.
pub(super) fn put(
    sql: &dyn Sql,
    key: &DataKey,
    subject: SubjectId,
    grant: GrantId,
    plain: &[u8],
    now: Timestamp,
) -> Result<(), VaultError> {
    let sealed = key.seal(Scope::Subject(subject), &aad(subject, grant), &[plain])?;
    let stored = sql.execute(
        "INSERT INTO grantlog_vault.upstream_token (grant_id, subject, sealed, updated_at)
         VALUES ($1, $2, $3, $4)
         ON CONFLICT (grant_id) DO UPDATE SET
         sealed = excluded.sealed, updated_at = excluded.updated_at, claimed_until = NULL
         WHERE upstream_token.subject = excluded.subject",
        &[
            grant.0.as_bytes().into(),
            subject.0.as_bytes().into(),
            Value::from(&sealed),
            now.timestamp_micros().into(),
        ],
    )?;
    if stored == 0 {
        return Err(VaultError::AnotherSubject);
    }
    Ok(())
}

fn aad(subject: SubjectId, grant: GrantId) -> Vec<u8> {
    fields(&[b"upstream tokens", subject.0.as_bytes(), grant.0.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_earlier_programs_stored_is_read() {
        let stored = br#"{"access_token":"a","refresh_token":"r","expires_at":null,
            "id_token":"i","scope":"openid email","token_type":"Bearer"}"#;
        let tokens = UpstreamTokens::from_bytes(stored).expect("tokens");
        let refresh_token = tokens.refresh_token.expect("kept");
        assert_eq!(
            (tokens.access_token.expose(), refresh_token.expose()),
            ("a", "r")
        );
        assert_eq!(tokens.origin, None);
    }
}
