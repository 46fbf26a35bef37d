//! Anything that can have happened to a provider or a proxy.

use domain::event::Event;
use domain::{provider, proxy};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::{algorithm, events, provider_id, scope, text, url, uuid};

pub fn provider_events() -> Vec<BoxedStrategy<Event>> {
    use provider::{Configured, Kind, Removed, Settings};
    let kind = select(vec![
        Kind::Okta,
        Kind::Google,
        Kind::Github,
        Kind::AzureAd,
        Kind::Oidc,
        Kind::Oauth2,
    ]);
    let configured = (
        (text(), kind, text(), scope(), uuid()),
        vec(option::of(url()), 5),
    )
        .prop_map(
            |((name, kind, client_id, scopes, secret_version), mut urls)| {
                let mut url = || urls.pop().flatten();
                let settings = Settings {
                    name,
                    kind,
                    client_id,
                    issuer: url(),
                    authorization_url: url(),
                    token_url: url(),
                    userinfo_url: url(),
                    jwks_url: url(),
                    scopes,
                };
                Configured {
                    settings,
                    secret_version,
                }
            },
        )
        .boxed();
    vec![
        events(
            configured.clone().prop_map(Box::new),
            provider::Event::Added,
        ),
        events(configured.prop_map(Box::new), provider::Event::Changed),
        events(Just(Removed {}), provider::Event::Removed),
    ]
}

pub fn proxy_events() -> Vec<BoxedStrategy<Event>> {
    use proxy::{Configured, Removed, Settings, UpstreamAuth};
    let auth = select(vec![
        UpstreamAuth::ProviderToken,
        UpstreamAuth::None,
        UpstreamAuth::Static,
    ]);
    let configured = (
        (text(), url(), any::<bool>(), provider_id(), any::<bool>()),
        (option::of(scope()), option::of(scope()), scope()),
        any::<[u32; 4]>(),
        (algorithm(), auth, option::of(uuid())),
        option::of(vec(text(), 0..3)),
    )
        .prop_map(
            |(plain, scopes, seconds, (token_alg, upstream_auth, version), redirects)| {
                let settings = Settings {
                    name: plain.0,
                    upstream_url: plain.1,
                    enabled: plain.2,
                    provider_id: plain.3,
                    allowed_redirects: domain::redirect_uri::AllowedRedirects::new(
                        redirects.unwrap_or_default(),
                    ),
                    require_consent: plain.4,
                    scopes: scopes.0,
                    default_scopes: scopes.1,
                    required_scopes: scopes.2,
                    access_token_s: seconds[0],
                    refresh_token_s: seconds[1],
                    grant_s: seconds[2],
                    refresh_retry_s: seconds[3],
                    token_alg,
                    upstream_auth,
                };
                Configured {
                    settings,
                    private_version: version,
                }
            },
        )
        .boxed();
    vec![
        events(configured.clone().prop_map(Box::new), proxy::Event::Added),
        events(configured.prop_map(Box::new), proxy::Event::Changed),
        events(Just(Removed {}), proxy::Event::Removed),
    ]
}
