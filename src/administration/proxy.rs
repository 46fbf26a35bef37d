//! Proxies and what they keep in the vault.

use domain::id::{ProviderId, ProxyId};
use domain::provider::Provider;
use domain::proxy::{Command, Configured, Proxy, Rule, Settings};
use http::{HeaderName, HeaderValue, header};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{PrivateTerms, Refused};
use crate::app::{App, Context, ExecuteError, Executed, Unavailable};
use crate::causes::chain;
use crate::config::ProxyConfig;
use crate::vault::VaultError;

/// A header that cannot be sent to an MCP server. Its value is not told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("oauth_proxy_upstream_headers: {name} {problem}")]
pub struct InvalidHeader {
    /// Its name.
    pub name: String,
    /// What is wrong.
    pub problem: &'static str,
}

/// What of a proxy's terms is kept in the vault.
#[must_use]
pub fn private_terms(config: &ProxyConfig) -> PrivateTerms {
    let headers = config.upstream_headers.iter().flatten();
    PrivateTerms {
        upstream_headers: headers
            .map(|(name, value)| (name.clone(), value.expose().to_owned()))
            .collect(),
        allowed_subjects: config.allowed_subjects.clone().unwrap_or_default(),
    }
}

/// Adds a proxy under the next free number.
///
/// # Errors
/// The terms break a rule; a store failed.
pub async fn add_proxy(
    app: &App,
    settings: Settings,
    private: &PrivateTerms,
    context: &Context,
) -> Result<(ProxyId, Configured), Refused> {
    let mut id = app.directory.next_proxy();
    loop {
        match add_proxy_as(app, id, settings.clone(), private, context).await {
            Ok(added) => return Ok((id, added)),
            // another node was faster
            Err(Refused::Proxy(Rule::Exists)) => id = ProxyId(id.0 + 1),
            Err(error) => return Err(error),
        }
    }
}

/// Adds a proxy under a number.
///
/// # Errors
/// [`Rule::Exists`]; the terms break a rule; a store failed.
pub(super) async fn add_proxy_as(
    app: &App,
    id: ProxyId,
    settings: Settings,
    private: &PrivateTerms,
    context: &Context,
) -> Result<Configured, Refused> {
    check_headers(private)?;
    let private_version = put_private(app, id, private, context).await?;
    let added = with_provider(
        app,
        id,
        settings.provider_id,
        context,
        |provider_is_known| Command::Add {
            settings: Box::new(settings.clone()),
            private_version,
            provider_is_known,
        },
    );
    match added.await {
        Ok(executed) => {
            prepare_to_sign(app, context).await;
            Ok(executed.state.configured().cloned().ok_or(Rule::Unknown)?)
        }
        Err(error) => {
            if matches!(error, ExecuteError::Refused(_)) {
                forget_private(app, id, private_version).await;
            }
            Err(error.into())
        }
    }
}

/// Replaces a proxy's terms as a whole; the new ones were made of `from`. Replaced private ones stay until the proxy goes: another
/// change may be about to name them.
///
/// # Errors
/// There is no such proxy; [`Rule::Outdated`]; the terms break a rule; a store failed.
pub async fn change_proxy(
    app: &App,
    id: ProxyId,
    from: &Configured,
    settings: Settings,
    private: &PrivateTerms,
    context: &Context,
) -> Result<Configured, Refused> {
    check_headers(private)?;
    let current = from.private_version;
    let private_version = if is_stored(app, id, current, private).await {
        current
    } else {
        put_private(app, id, private, context).await?
    };
    let changed = with_provider(
        app,
        id,
        settings.provider_id,
        context,
        |provider_is_known| Command::Change {
            from: Box::new(from.clone()),
            settings: Box::new(settings.clone()),
            private_version,
            provider_is_known,
        },
    );
    match changed.await {
        Ok(executed) => {
            prepare_to_sign(app, context).await;
            Ok(executed.state.configured().cloned().ok_or(Rule::Unknown)?)
        }
        Err(error) => {
            if matches!(error, ExecuteError::Refused(_)) && private_version != current {
                forget_private(app, id, private_version).await;
            }
            Err(error.into())
        }
    }
}

/// Draws the key of a new algorithm. The proxy is durable by now, whatever comes of this: it is tried again when a token is to be
/// signed.
async fn prepare_to_sign(app: &App, context: &Context) {
    if let Err(error) = app.ensure_signing_keys(context).await {
        tracing::warn!(
            error = chain(&error),
            "a signing key could not be made ahead"
        );
    }
}

/// Takes a proxy away, and what it kept in the vault. Its grants are revoked apart.
///
/// # Errors
/// There is no such proxy; a store failed.
pub async fn remove_proxy(app: &App, id: ProxyId, context: &Context) -> Result<(), Refused> {
    app.execute::<Proxy>(id, Command::Remove, context).await?;
    forgotten(id, app.vault.delete_secrets(&owner(id)).await);
    Ok(())
}

/// Executes a command that rests on its provider: only as long as that is as it was found.
async fn with_provider(
    app: &App,
    id: ProxyId,
    provider: ProviderId,
    context: &Context,
    command: impl Fn(bool) -> Command,
) -> Result<Executed<Proxy>, ExecuteError<Rule>> {
    loop {
        let (state, premise) = app.fresh_premise::<Provider>(provider).await?;
        let command = command(state.configured().is_some());
        match app
            .execute_on::<Proxy>(vec![premise], id, command, context)
            .await
        {
            Err(ExecuteError::Unavailable(Unavailable::Overtaken)) => {}
            executed => return executed,
        }
    }
}

async fn put_private(
    app: &App,
    id: ProxyId,
    private: &PrivateTerms,
    context: &Context,
) -> Result<Option<Uuid>, Unavailable> {
    if *private == PrivateTerms::default() {
        return Ok(None);
    }
    let json = serde_json::to_vec(private).expect("texts serialize to memory");
    let json = Zeroizing::new(json);
    let version = app.vault.put_secret(&owner(id), &json, context.now).await?;
    Ok(Some(version))
}

async fn is_stored(app: &App, id: ProxyId, version: Option<Uuid>, private: &PrivateTerms) -> bool {
    let Some(version) = version else {
        return *private == PrivateTerms::default();
    };
    let stored = app.vault.secret(&owner(id), version).await;
    // what cannot be read is replaced
    stored.is_ok_and(|stored| {
        serde_json::from_slice::<PrivateTerms>(&stored).is_ok_and(|stored| stored == *private)
    })
}

/// Failing that, a secret that nothing names remains sealed.
async fn forget_private(app: &App, id: ProxyId, version: Option<Uuid>) {
    let Some(version) = version else { return };
    let deleted = app.vault.delete_secret(&owner(id), version).await;
    forgotten(id, deleted.map(drop));
}

fn forgotten(id: ProxyId, deleted: Result<(), VaultError>) {
    if let Err(error) = deleted {
        tracing::warn!(error = chain(&error), proxy = %id, "private terms that are used no more remain");
    }
}

pub(super) fn owner(id: ProxyId) -> String {
    format!("proxy-{id}")
}

/// Headers that belong to the connection or are written by the gateway itself.
const RESERVED: [HeaderName; 8] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::HOST,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::PROXY_AUTHORIZATION,
];

fn check_headers(private: &PrivateTerms) -> Result<(), InvalidHeader> {
    for (name, value) in &private.upstream_headers {
        let invalid = |problem| InvalidHeader {
            name: name.chars().take(64).collect(),
            problem,
        };
        let parsed: HeaderName = name
            .parse()
            .map_err(|_| invalid("is not the name of a header"))?;
        if RESERVED.contains(&parsed) {
            return Err(invalid("belongs to the connection"));
        }
        if HeaderValue::from_str(value).is_err() {
            return Err(invalid("has a value that no header carries"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, value: &str) -> PrivateTerms {
        PrivateTerms {
            upstream_headers: [(name.to_owned(), value.to_owned())].into(),
            ..PrivateTerms::default()
        }
    }

    #[test]
    fn headers_can_be_sent_and_errors_do_not_tell_their_values() {
        assert_eq!(check_headers(&with("X-Api-Key", "s3cret")), Ok(()));
        for (name, value) in [
            ("Host", "a"),
            ("transfer-encoding", "a"),
            ("a b", "a"),
            ("x", "a\nb"),
        ] {
            let error = check_headers(&with(name, value)).expect_err("refused");
            assert_eq!(error.name, name);
        }
        let error = check_headers(&with("x-key", "s3cret\n")).expect_err("refused");
        assert!(!format!("{error} {error:?}").contains("s3cret"));
    }
}
