//! Cookies that bind a step of an authorization to the browser it began in.
//!
//! Each is `__Host-`, so no other origin can plant one, belongs to one authorization, so that
//! several tabs do not disturb each other, and lives as long as that may take.

use axum::http::{HeaderMap, HeaderValue, header};
use chrono::TimeDelta;
use domain::id::GrantId;
use domain::secret::SecretHash;

use crate::secret::Secret;

/// How long a person has for each step.
pub const STEP_S: i64 = 600;

/// How long an authorization may take from the client's request on: consent, login, and a minute for
/// what is between and after them.
pub const AUTHORIZATION_MAX: TimeDelta = TimeDelta::seconds(2 * STEP_S + 60);

/// Which step a cookie binds.
#[derive(Clone, Copy)]
pub enum Step {
    /// From our consent page to the decision on it.
    Consent,
    /// From us to the provider and back.
    Login,
}

impl Step {
    fn name(self, grant: GrantId) -> String {
        let step = match self {
            Self::Consent => "consent",
            Self::Login => "login",
        };
        format!("__Host-grantlog-{step}-{grant}")
    }

    /// The `Set-Cookie` that binds this browser.
    #[must_use]
    pub fn bind(self, grant: GrantId, secret: &Secret) -> HeaderValue {
        self.set(grant, secret.expose(), STEP_S)
    }

    /// The `Set-Cookie` that ends the binding.
    #[must_use]
    pub fn release(self, grant: GrantId) -> HeaderValue {
        self.set(grant, "", 0)
    }

    /// Whether the request comes from the browser that was bound.
    #[must_use]
    pub fn is_bound(self, grant: GrantId, headers: &HeaderMap, secret: SecretHash) -> bool {
        let name = self.name(grant);
        headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .any(|(known, value)| known == name && SecretHash::of(value) == secret)
    }

    fn set(self, grant: GrantId, value: &str, max_age_s: i64) -> HeaderValue {
        let name = self.name(grant);
        HeaderValue::try_from(format!(
            "{name}={value}; Path=/; Max-Age={max_age_s}; Secure; HttpOnly; SameSite=Lax"
        ))
        .expect("name and value are visible ASCII")
    }
}
