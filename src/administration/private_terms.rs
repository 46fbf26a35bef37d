//! What a proxy keeps in the vault, and whom it admits.

use std::collections::BTreeMap;

use domain::id::ProxyId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::proxy::owner;
use crate::app::{App, Unavailable};
use crate::federation::Login;

/// What a proxy keeps in the vault.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrivateTerms {
    /// Headers for the MCP server (`oauth_proxy_upstream_headers`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub upstream_headers: BTreeMap<String, String>,
    /// Whom the proxy admits (`oauth_proxy_allowed_subjects`); empty: everybody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_subjects: Vec<String>,
}

impl PrivateTerms {
    /// What a proxy keeps under a version.
    ///
    /// # Errors
    /// The vault failed.
    pub async fn read(app: &App, id: ProxyId, version: Option<Uuid>) -> Result<Self, Unavailable> {
        let Some(version) = version else {
            return Ok(Self::default());
        };
        let text = app.secret(&owner(id), version).await?;
        serde_json::from_str(&text).map_err(|_| Unavailable::Garbled)
    }

    /// Whether the proxy admits a person: by e-mail domain (an entry like a host name), e-mail address (one
    /// with `@`) or group (any other). An address counts only if the provider vouches for it.
    #[must_use]
    pub fn admits(&self, login: &Login) -> bool {
        let allowed = &self.allowed_subjects;
        allowed.is_empty() || allowed.iter().any(|allowed| means(allowed, login))
    }
}

/// Whether an entry means a person. What it can be goes by its form alone: whoever names groups at the provider must
/// not be able to stand in for a domain or an address.
fn means(allowed: &str, login: &Login) -> bool {
    let email = login.email.as_deref().filter(|_| login.email_verified);
    if allowed.contains('@') {
        email.is_some_and(|email| email.eq_ignore_ascii_case(allowed))
    } else if is_domain(allowed) {
        let domain = email.and_then(|email| email.rsplit_once('@'));
        domain.is_some_and(|(_, domain)| domain.eq_ignore_ascii_case(allowed))
    } else {
        login.groups.iter().any(|group| group == allowed)
    }
}

/// Whether it is like a host name of several labels, of any script.
fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        let mut characters = label.chars();
        !label.is_empty() && characters.all(|c| c.is_alphanumeric() || c == '-')
    };
    text.contains('.') && text.split('.').all(is_label)
}
