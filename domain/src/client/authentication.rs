//! Client authentication (RFC 6749 §2.3, RFC 7591 §2): whether what was presented is what the
//! client registered.
//!
//! Invariant: at the token endpoint a client that chose a method is held to it; one that did not,
//! and everybody elsewhere, may send the secret either way; a public client sends none. Every
//! denial is `invalid_client` outside.

use std::sync::Arc;

use super::metadata::AuthMethod;
use super::{Client, Registration};
use crate::Timestamp;
use crate::id::ProxyId;
use crate::secret::SecretHash;

/// What a client presented beside its id.
#[derive(Clone, Copy, Debug)]
pub enum Credentials {
    /// Nothing.
    None,
    /// A secret in the `Authorization` header.
    Basic(SecretHash),
    /// A secret in the body.
    Post(SecretHash),
}

/// Where a client authenticates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Held to `token_endpoint_auth_method` (RFC 7591 §2).
    Token,
    /// Revocation or introspection, of which that member does not speak: many clients register
    /// one way for tokens and log out the other.
    Other,
}

/// Why a client is not who it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// There is no such client, or no more.
    #[error("unknown client")]
    Unknown,
    /// It registered at another proxy, which is another issuer.
    #[error("client of another proxy")]
    OtherProxy,
    /// It sent its secret the other way than it registered.
    #[error("expected the authentication method that the client registered")]
    Method,
    /// A public client sent a secret.
    #[error("expected no secret from a public client")]
    SecretUnexpected,
    /// A confidential client sent none.
    #[error("expected the client's secret")]
    SecretMissing,
    /// The secret is another one.
    #[error("wrong client secret")]
    SecretMismatch,
    /// The secret is past its end.
    #[error("client secret expired")]
    SecretExpired,
}

impl Denial {
    /// The stable word for it in the record.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown_client",
            Self::OtherProxy => "client_of_another_proxy",
            Self::Method => "client_authentication_method",
            Self::SecretUnexpected => "client_secret_unexpected",
            Self::SecretMissing => "client_secret_missing",
            Self::SecretMismatch => "client_secret_mismatch",
            Self::SecretExpired => "client_secret_expired",
        }
    }
}

impl Client {
    /// The registration of a client that is who it says.
    ///
    /// # Errors
    /// The client is unknown here, or what it presented is not what it registered.
    pub fn authenticate(
        &self,
        proxy_id: ProxyId,
        credentials: Credentials,
        endpoint: Endpoint,
        now: Timestamp,
    ) -> Result<&Arc<Registration>, Denial> {
        let registration = self.registration().ok_or(Denial::Unknown)?;
        if registration.proxy_id != proxy_id {
            return Err(Denial::OtherProxy);
        }
        let method = registration.metadata.token_endpoint_auth_method;
        let presented = match (credentials, method) {
            (Credentials::None, Some(AuthMethod::None)) => return Ok(registration),
            (Credentials::Basic(_) | Credentials::Post(_), Some(AuthMethod::None)) => {
                return Err(Denial::SecretUnexpected);
            }
            (
                Credentials::None,
                Some(AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost) | None,
            ) => return Err(Denial::SecretMissing),
            (Credentials::Basic(_), Some(AuthMethod::ClientSecretPost))
            | (Credentials::Post(_), Some(AuthMethod::ClientSecretBasic))
                if endpoint == Endpoint::Token =>
            {
                return Err(Denial::Method);
            }
            (
                Credentials::Basic(secret) | Credentials::Post(secret),
                Some(AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost) | None,
            ) => secret,
        };
        match &registration.secret {
            Some(secret) if secret.hash != presented => Err(Denial::SecretMismatch),
            Some(secret) if secret.expires_at.is_some_and(|end| now >= end) => {
                Err(Denial::SecretExpired)
            }
            Some(_) => Ok(registration),
            None => Err(Denial::SecretMismatch),
        }
    }
}
