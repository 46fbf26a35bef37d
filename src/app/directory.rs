//! The proxies and providers there are, in memory: what every request begins with.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use domain::event::Event;
use domain::id::{ProviderId, ProxyId};
use domain::scope::Scope;
use domain::{provider, proxy};

/// The proxies and providers there are.
#[derive(Default)]
pub struct Directory(RwLock<Configuration>);

#[derive(Default)]
struct Configuration {
    proxies: BTreeMap<ProxyId, Arc<proxy::Configured>>,
    providers: BTreeMap<ProviderId, Arc<provider::Configured>>,
    /// The highest numbers ever given out, removed ones included.
    last_proxy: u32,
    last_provider: u32,
    /// How far each stream is known: what is told late changes nothing.
    versions: HashMap<String, u64>,
}

/// A proxy with its provider: the terms of an authorization.
#[derive(Clone, Debug)]
pub struct ProxyTerms {
    /// The proxy's number.
    pub id: ProxyId,
    /// The proxy's configuration.
    pub proxy: Arc<proxy::Configured>,
    /// The configuration of the provider people log in with.
    pub provider: Arc<provider::Configured>,
}

impl ProxyTerms {
    /// What clients may ask for.
    #[must_use]
    pub fn scopes(&self) -> Scope {
        let provider = self.provider.settings.scopes_or_default();
        self.proxy.settings.scopes(&provider).clone()
    }

    /// What clients get that ask for nothing.
    #[must_use]
    pub fn default_scopes(&self) -> Scope {
        let provider = self.provider.settings.scopes_or_default();
        self.proxy.settings.default_scopes(&provider).clone()
    }
}

impl Directory {
    /// The terms of a proxy that is there, switched on, and has a provider.
    #[must_use]
    pub fn enabled(&self, id: ProxyId) -> Option<ProxyTerms> {
        let known = self.read();
        let proxy = known.proxies.get(&id)?;
        let provider = known.providers.get(&proxy.settings.provider_id)?;
        proxy.settings.enabled.then(|| ProxyTerms {
            id,
            proxy: proxy.clone(),
            provider: provider.clone(),
        })
    }

    /// The lowest-numbered proxy that is switched on.
    #[must_use]
    pub fn first_enabled(&self) -> Option<ProxyId> {
        let known = self.read();
        let mut proxies = known.proxies.iter();
        proxies
            .find(|(_, proxy)| proxy.settings.enabled)
            .map(|(id, _)| *id)
    }

    /// A proxy, on or off.
    #[must_use]
    pub fn proxy(&self, id: ProxyId) -> Option<Arc<proxy::Configured>> {
        self.read().proxies.get(&id).cloned()
    }

    /// All proxies by number.
    #[must_use]
    pub fn proxies(&self) -> Vec<(ProxyId, Arc<proxy::Configured>)> {
        let known = self.read();
        known
            .proxies
            .iter()
            .map(|(id, p)| (*id, p.clone()))
            .collect()
    }

    /// A provider.
    #[must_use]
    pub fn provider(&self, id: ProviderId) -> Option<Arc<provider::Configured>> {
        self.read().providers.get(&id).cloned()
    }

    /// All providers by number.
    #[must_use]
    pub fn providers(&self) -> Vec<(ProviderId, Arc<provider::Configured>)> {
        let known = self.read();
        known
            .providers
            .iter()
            .map(|(id, p)| (*id, p.clone()))
            .collect()
    }

    /// The number after the highest proxy's; another node may take it first.
    #[must_use]
    pub fn next_proxy(&self) -> ProxyId {
        ProxyId(self.read().last_proxy + 1)
    }

    /// The number after the highest provider's; another node may take it first.
    #[must_use]
    pub fn next_provider(&self) -> ProviderId {
        ProviderId(self.read().last_provider + 1)
    }

    /// Takes over what the read models know.
    pub(super) fn load(
        &self,
        reader: &projections::Reader,
    ) -> Result<(), projections::ReadModelError> {
        let mut known = self.write();
        for proxy in reader.proxies()? {
            let id = proxy.proxy_id;
            known.last_proxy = known.last_proxy.max(id.0);
            known.versions.insert(format!("proxy-{id}"), proxy.version);
            if let Some(configured) = proxy.configured {
                known.proxies.insert(id, Arc::new(configured));
            }
        }
        for provider in reader.providers()? {
            let id = provider.provider_id;
            known.last_provider = known.last_provider.max(id.0);
            known
                .versions
                .insert(format!("provider-{id}"), provider.version);
            if let Some(configured) = provider.configured {
                known.providers.insert(id, Arc::new(configured));
            }
        }
        Ok(())
    }

    pub(super) fn apply(&self, stream: &str, version: u64, event: &Event) {
        match event {
            Event::Proxy(event) => {
                let Some(Ok(id)) = stream.strip_prefix("proxy-").map(str::parse::<ProxyId>) else {
                    return;
                };
                let mut known = self.write();
                if !known.is_news(stream, version) {
                    return;
                }
                known.last_proxy = known.last_proxy.max(id.0);
                match event {
                    proxy::Event::Added(configured) | proxy::Event::Changed(configured) => {
                        known
                            .proxies
                            .insert(id, Arc::new(configured.as_ref().clone()));
                    }
                    proxy::Event::Removed(_) => {
                        known.proxies.remove(&id);
                    }
                }
            }
            Event::Provider(event) => {
                let Some(Ok(id)) = stream
                    .strip_prefix("provider-")
                    .map(str::parse::<ProviderId>)
                else {
                    return;
                };
                let mut known = self.write();
                if !known.is_news(stream, version) {
                    return;
                }
                known.last_provider = known.last_provider.max(id.0);
                match event {
                    provider::Event::Added(configured) | provider::Event::Changed(configured) => {
                        known
                            .providers
                            .insert(id, Arc::new(configured.as_ref().clone()));
                    }
                    provider::Event::Removed(_) => {
                        known.providers.remove(&id);
                    }
                }
            }
            Event::Client(_)
            | Event::Grant(_)
            | Event::Subject(_)
            | Event::Operator(_)
            | Event::ApiKey(_)
            | Event::Audit(_)
            | Event::Key(_) => {}
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Configuration> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Configuration> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Configuration {
    fn is_news(&mut self, stream: &str, version: u64) -> bool {
        match self.versions.get_mut(stream) {
            Some(known) if *known >= version => false,
            Some(known) => {
                *known = version;
                true
            }
            None => {
                self.versions.insert(stream.to_owned(), version);
                true
            }
        }
    }
}
