//! Providers and their client secrets.

use domain::id::{ProviderId, ProxyId};
use domain::provider::{Command, Configured, Provider, Rule, Settings};
use domain::proxy::Proxy;
use domain::secret::SecretHash;
use uuid::Uuid;

use super::Refused;
use crate::app::{App, Context, ExecuteError, Unavailable};
use crate::causes::chain;
use crate::federation;
use crate::log::Premise;
use crate::vault::VaultError;

/// Adds a provider under the next free number.
///
/// # Errors
/// The settings break a rule; a store failed.
pub async fn add_provider(
    app: &App,
    settings: Settings,
    client_secret: &str,
    context: &Context,
) -> Result<(ProviderId, Configured), Refused> {
    let mut id = app.directory.next_provider();
    loop {
        match add_provider_as(app, id, settings.clone(), client_secret, context).await {
            Ok(added) => return Ok((id, added)),
            // another node was faster
            Err(Refused::Provider(Rule::Exists)) => id = ProviderId(id.0 + 1),
            Err(error) => return Err(error),
        }
    }
}

/// Adds a provider under a number.
///
/// # Errors
/// [`Rule::Exists`]; the settings break a rule; a store failed.
pub(super) async fn add_provider_as(
    app: &App,
    id: ProviderId,
    settings: Settings,
    client_secret: &str,
    context: &Context,
) -> Result<Configured, Refused> {
    federation::validate(&settings)?;
    let secret_version = put_secret(app, id, client_secret, context).await?;
    let command = Command::Add {
        settings,
        secret_version,
    };
    match app.execute::<Provider>(id, command, context).await {
        Ok(executed) => Ok(executed.state.configured().cloned().ok_or(Rule::Unknown)?),
        Err(error) => {
            if matches!(error, ExecuteError::Refused(_)) {
                forget_secret(app, id, secret_version).await;
            }
            Err(error.into())
        }
    }
}

/// Replaces a provider's settings, and its client secret if there is another one; the new ones were made of `from`. The replaced
/// secret stays until the provider goes: another change may be about to name it.
///
/// # Errors
/// There is no such provider; [`Rule::Outdated`]; the settings break a rule; a store failed.
pub async fn change_provider(
    app: &App,
    id: ProviderId,
    from: &Configured,
    settings: Settings,
    client_secret: Option<&str>,
    context: &Context,
) -> Result<Configured, Refused> {
    federation::validate(&settings)?;
    let current = from.secret_version;
    let secret_version = match client_secret {
        Some(secret) if !is_stored(app, id, current, secret).await => {
            put_secret(app, id, secret, context).await?
        }
        Some(_) | None => current,
    };
    let command = Command::Change {
        from: Box::new(from.clone()),
        settings,
        secret_version,
    };
    match app.execute::<Provider>(id, command, context).await {
        Ok(executed) => Ok(executed.state.configured().cloned().ok_or(Rule::Unknown)?),
        Err(error) => {
            if matches!(error, ExecuteError::Refused(_)) && secret_version != current {
                forget_secret(app, id, secret_version).await;
            }
            Err(error.into())
        }
    }
}

/// Takes a provider away, and its client secrets. Its grants are revoked apart.
///
/// # Errors
/// There is no such provider, or proxies use it; a store failed.
pub async fn remove_provider(app: &App, id: ProviderId, context: &Context) -> Result<(), Refused> {
    loop {
        let (in_use, premises) = use_by_proxies(app, id).await?;
        let command = Command::Remove { in_use };
        match app
            .execute_on::<Provider>(premises, id, command, context)
            .await
        {
            Err(ExecuteError::Unavailable(Unavailable::Overtaken)) => {}
            removed => {
                removed?;
                forgotten(id, app.vault.delete_secrets(&owner(id)).await);
                return Ok(());
            }
        }
    }
}

/// Whether a proxy uses a provider; with the premises that none is changed and none is added, which would get the next number.
async fn use_by_proxies(app: &App, id: ProviderId) -> Result<(bool, Vec<Premise>), Unavailable> {
    let mut in_use = false;
    let mut premises = Vec::new();
    for number in 1.. {
        let (proxy, premise) = app.fresh_premise::<Proxy>(ProxyId(number)).await?;
        let provider = proxy.configured().map(|proxy| proxy.settings.provider_id);
        in_use |= provider == Some(id);
        let is_next = premise.length == 0;
        premises.push(premise);
        if is_next {
            break;
        }
    }
    Ok((in_use, premises))
}

async fn put_secret(
    app: &App,
    id: ProviderId,
    secret: &str,
    context: &Context,
) -> Result<Uuid, Unavailable> {
    let owner = owner(id);
    Ok(app
        .vault
        .put_secret(&owner, secret.as_bytes(), context.now)
        .await?)
}

async fn is_stored(app: &App, id: ProviderId, version: Uuid, secret: &str) -> bool {
    let stored = app.vault.secret(&owner(id), version).await;
    // a secret that cannot be read is replaced
    stored.is_ok_and(|stored| {
        std::str::from_utf8(&stored)
            .is_ok_and(|stored| SecretHash::of(stored) == SecretHash::of(secret))
    })
}

/// Failing that, a secret that nothing names remains sealed.
async fn forget_secret(app: &App, id: ProviderId, version: Uuid) {
    let deleted = app.vault.delete_secret(&owner(id), version).await;
    forgotten(id, deleted.map(drop));
}

fn forgotten(id: ProviderId, deleted: Result<(), VaultError>) {
    if let Err(error) = deleted {
        tracing::warn!(error = chain(&error), provider = %id, "a client secret that is used no more remains");
    }
}

fn owner(id: ProviderId) -> String {
    format!("provider-{id}")
}
