//! Secrets of the vault in memory. A version of one never changes, so it is read once.

use std::sync::Arc;

use domain::id::ProviderId;
use domain::provider;
use quick_cache::sync::Cache;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{App, Unavailable};

/// How many are kept.
const KEPT_MAX: usize = 1024;

/// The recently used ones, by version.
pub(super) struct Secrets(Cache<Uuid, Arc<Zeroizing<String>>>);

impl Default for Secrets {
    fn default() -> Self {
        Self(Cache::new(KEPT_MAX))
    }
}

impl App {
    /// Our client secret at a provider; empty if it gave us none.
    ///
    /// # Errors
    /// The vault failed.
    pub async fn provider_secret(
        &self,
        id: ProviderId,
        provider: &provider::Configured,
    ) -> Result<Arc<Zeroizing<String>>, Unavailable> {
        self.secret(&format!("provider-{id}"), provider.secret_version)
            .await
    }

    /// A secret as text.
    ///
    /// # Errors
    /// The vault failed.
    pub async fn secret(
        &self,
        owner: &str,
        version: Uuid,
    ) -> Result<Arc<Zeroizing<String>>, Unavailable> {
        if let Some(secret) = self.secrets.0.get(&version) {
            return Ok(secret);
        }
        let bytes = self.vault.secret(owner, version).await?;
        let text = str::from_utf8(&bytes).map_err(|_| Unavailable::Garbled)?;
        let secret = Arc::new(Zeroizing::new(text.to_owned()));
        self.secrets.0.insert(version, secret.clone());
        Ok(secret)
    }
}
