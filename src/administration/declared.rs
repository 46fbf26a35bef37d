//! What the configuration file declares: added or changed by name, never removed.

use domain::id::{ProviderId, ProxyId};
use domain::provider::Provider;
use domain::proxy::Proxy;
use domain::{provider, proxy};

use super::provider::add_provider_as;
use super::proxy::add_proxy_as;
use super::{Refused, change_provider, change_proxy, private_terms};
use crate::app::{App, Context, Unavailable};
use crate::config::{Config, DeclaredProvider, DeclaredProxy, ProviderRef, unknown_provider};

/// Why the declared providers and proxies were not applied.
#[derive(Debug, thiserror::Error)]
pub enum DeclareError {
    /// One of them was refused.
    #[error(transparent)]
    Declined(#[from] Declined),
    /// The stores did not do their part.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// A declared provider or proxy that was refused.
#[derive(Debug, thiserror::Error)]
#[error("[[{kind}]] {name}: {reason}")]
pub struct Declined {
    /// `provider` or `proxy`.
    pub kind: &'static str,
    /// Its declared name.
    pub name: String,
    /// The broken rule.
    pub reason: String,
}

/// Applies the declared providers and proxies; whatever is already so records nothing. What is no
/// longer declared stays: removing it would end grants, which is an operator's decision.
///
/// # Errors
/// A declaration breaks a rule; a store failed.
pub async fn declare(app: &App, config: &Config, context: &Context) -> Result<(), DeclareError> {
    for declared in &config.providers {
        let name = &declared.settings.name;
        provider(app, declared, context)
            .await
            .map_err(|refused| declined("provider", name, refused))?;
    }
    for declared in &config.proxies {
        let provider_id = provider_of(app, declared)?;
        proxy(app, declared, provider_id, context)
            .await
            .map_err(|refused| declined("proxy", &declared.name, refused))?;
    }
    Ok(())
}

fn declined(kind: &'static str, name: &str, refused: Refused) -> DeclareError {
    match refused {
        Refused::Unavailable(error) => error.into(),
        refused => DeclareError::Declined(Declined {
            kind,
            name: name.to_owned(),
            reason: refused.to_string(),
        }),
    }
}

async fn provider(
    app: &App,
    declared: &DeclaredProvider,
    context: &Context,
) -> Result<(), Refused> {
    let secret = declared.client_secret.expose();
    loop {
        let settings = declared.settings.clone();
        if let Some(id) = provider_named(app, &settings.name) {
            let state = app.fresh::<Provider>(id).await?;
            let current = state.configured().ok_or(provider::Rule::Unknown)?;
            match change_provider(app, id, current, settings, Some(secret), context).await {
                Err(Refused::Provider(provider::Rule::Outdated)) => continue,
                changed => return changed.map(drop),
            }
        }
        let id = app.directory.next_provider();
        match add_provider_as(app, id, settings, secret, context).await {
            Ok(_) => return Ok(()),
            // Another node is starting with the same file: it may have been this one.
            Err(Refused::Provider(provider::Rule::Exists)) => app.catch_up().await?,
            Err(error) => return Err(error),
        }
    }
}

/// The number of the provider that a proxy names.
fn provider_of(app: &App, declared: &DeclaredProxy) -> Result<ProviderId, Declined> {
    let name = match &declared.provider {
        ProviderRef::Id(id) => return Ok(*id),
        ProviderRef::Name(name) => name,
    };
    provider_named(app, name).ok_or_else(|| {
        let known = app.directory.providers().into_iter();
        let known = known.map(|(_, provider)| provider.settings.name.clone());
        Declined {
            kind: "proxy",
            name: declared.name.clone(),
            reason: unknown_provider(name, known),
        }
    })
}

async fn proxy(
    app: &App,
    declared: &DeclaredProxy,
    provider_id: ProviderId,
    context: &Context,
) -> Result<(), Refused> {
    let config = &declared.config;
    let private = private_terms(config);
    loop {
        let settings = config.settings(
            declared.name.clone(),
            declared.upstream_url.clone(),
            provider_id,
        );
        if let Some(id) = proxy_named(app, &declared.name) {
            let state = app.fresh::<Proxy>(id).await?;
            let current = state.configured().ok_or(proxy::Rule::Unknown)?;
            match change_proxy(app, id, current, settings, &private, context).await {
                Err(Refused::Proxy(proxy::Rule::Outdated)) => continue,
                changed => return changed.map(drop),
            }
        }
        let id = app.directory.next_proxy();
        match add_proxy_as(app, id, settings, &private, context).await {
            Ok(_) => return Ok(()),
            Err(Refused::Proxy(proxy::Rule::Exists)) => app.catch_up().await?,
            Err(error) => return Err(error),
        }
    }
}

/// Names need not be unique; the first of a name is meant.
fn provider_named(app: &App, name: &str) -> Option<ProviderId> {
    let providers = app.directory.providers();
    let mut named = providers.iter();
    named
        .find(|(_, provider)| provider.settings.name == name)
        .map(|(id, _)| *id)
}

fn proxy_named(app: &App, name: &str) -> Option<ProxyId> {
    let proxies = app.directory.proxies();
    let mut named = proxies.iter();
    named
        .find(|(_, proxy)| proxy.settings.name == name)
        .map(|(id, _)| *id)
}
