//! What the upstream provider gave for a grant, under the subject's data key.

use std::borrow::Cow;

use domain::Timestamp;
use domain::id::{GrantId, SubjectId};
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::aead::fields;
use super::data_keys::{DataKey, Opened};
use super::scope::Scope;
use super::{Tampered, Vault, VaultError};
use crate::tokens::Secret;

/// A token response of the upstream provider (RFC 6749 §5.1).
#[derive(Clone, Debug)]
pub struct UpstreamTokens {
    /// Presented to the MCP server on the user's behalf.
    pub access_token: Secret,
    /// Gets the next access token.
    pub refresh_token: Option<Secret>,
    /// When the access token expires, if the provider said so.
    pub expires_at: Option<Timestamp>,
    /// The ID token, as a hint for logging out or in again.
    pub id_token: Option<Secret>,
    /// What the provider granted, in its own words.
    pub scope: Option<String>,
    /// How the access token is presented, such as `Bearer`.
    pub token_type: String,
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
    #[serde(borrow, default)]
    id_token: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    scope: Option<Cow<'a, str>>,
    #[serde(borrow)]
    token_type: Cow<'a, str>,
}

impl From<crate::federation::UpstreamTokens> for UpstreamTokens {
    fn from(tokens: crate::federation::UpstreamTokens) -> Self {
        let secret = |text: zeroize::Zeroizing<String>| Secret::new(text.as_str());
        Self {
            access_token: secret(tokens.access_token),
            refresh_token: tokens.refresh_token.map(secret),
            expires_at: tokens.expires_at,
            id_token: tokens.id_token.map(secret),
            scope: tokens.scope,
            token_type: "Bearer".to_owned(),
        }
    }
}

impl UpstreamTokens {
    pub(super) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let stored = Stored {
            access_token: self.access_token.expose().into(),
            refresh_token: self.refresh_token.as_ref().map(|s| s.expose().into()),
            expires_at: self.expires_at,
            id_token: self.id_token.as_ref().map(|s| s.expose().into()),
            scope: self.scope.as_deref().map(Cow::from),
            token_type: self.token_type.as_str().into(),
        };
        Zeroizing::new(serde_json::to_vec(&stored).expect("strings and instants are JSON"))
    }

    fn from_bytes(plain: &[u8]) -> Result<Self, Tampered> {
        let stored: Stored<'_> = serde_json::from_slice(plain).map_err(|_| Tampered)?;
        Ok(Self {
            access_token: Secret::new(stored.access_token),
            refresh_token: stored.refresh_token.map(Secret::new),
            expires_at: stored.expires_at,
            id_token: stored.id_token.map(Secret::new),
            scope: stored.scope.map(Cow::into_owned),
            token_type: stored.token_type.into_owned(),
        })
    }
}

impl Vault {
    /// Replaces a grant's upstream tokens, such as after they were refreshed.
    ///
    /// # Errors
    /// [`VaultError::NoKey`] for an unknown subject, [`VaultError::Erased`] for an erased one; the
    /// store failed.
    pub async fn put_upstream(
        &self,
        subject: SubjectId,
        grant: GrantId,
        tokens: &UpstreamTokens,
        now: Timestamp,
    ) -> Result<(), VaultError> {
        let scope = Scope::Subject(subject);
        self.load(scope).await?;
        let key = self.loaded(scope)?;
        let plain = tokens.to_bytes();
        self.0
            .store
            .write(move |connection| put(connection, &key, subject, grant, &plain, now))
            .await
    }

    /// A grant's upstream tokens; `None` where there are none (any more).
    ///
    /// # Errors
    /// [`VaultError::Tampered`]; the store failed.
    pub async fn upstream(&self, grant: GrantId) -> Result<Option<UpstreamTokens>, VaultError> {
        self.blocking(move |vault| {
            let row = vault
                .0
                .store
                .reader()
                .prepare_cached("SELECT subject, sealed FROM upstream_token WHERE grant_id = ?1")?
                .query_row([grant.0.as_bytes()], |row| {
                    Ok((row.get::<_, [u8; 16]>(0)?, row.get::<_, Vec<u8>>(1)?))
                })
                .optional()?;
            let Some((subject, sealed)) = row else {
                return Ok(None);
            };
            let subject = SubjectId(Uuid::from_bytes(subject));
            let scope = Scope::Subject(subject);
            let key = vault.load_blocking(scope)?;
            match key.open(scope, &aad(subject, grant), &sealed)? {
                Opened::Plain(plain) => Ok(Some(UpstreamTokens::from_bytes(&plain)?)),
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
            .write(move |connection| {
                Ok(connection
                    .prepare_cached("DELETE FROM upstream_token WHERE grant_id = ?1")?
                    .execute([grant.0.as_bytes()])?
                    > 0)
            })
            .await
    }
}

pub(super) fn put(
    connection: &Connection,
    key: &DataKey,
    subject: SubjectId,
    grant: GrantId,
    plain: &[u8],
    now: Timestamp,
) -> Result<(), VaultError> {
    let sealed = key.seal(Scope::Subject(subject), &aad(subject, grant), &[plain])?;
    connection
        .prepare_cached(
            "INSERT INTO upstream_token (grant_id, subject, sealed, updated_at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (grant_id) DO UPDATE SET subject = ?2, sealed = ?3, updated_at = ?4",
        )?
        .execute(params![
            grant.0.as_bytes(),
            subject.0.as_bytes(),
            sealed,
            now.timestamp_micros()
        ])?;
    Ok(())
}

fn aad(subject: SubjectId, grant: GrantId) -> Vec<u8> {
    fields(&[b"upstream tokens", subject.0.as_bytes(), grant.0.as_bytes()])
}
