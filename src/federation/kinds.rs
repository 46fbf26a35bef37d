//! What is particular to each kind of provider: where its issuer is, what it is asked for.
//!
//! Everything here follows from the settings alone. Where an issuer is not configured it is
//! worked out from the endpoints that are, but a guess counts only if the document found there
//! names the very same endpoints.

use domain::provider::{Kind, Settings};
use url::Url;

/// The settings of a provider do not say enough to log people in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Misconfigured {
    /// Neither an issuer nor endpoints to work it out from.
    #[error("expected issuer, or authorization_url and token_url")]
    Issuer,
    /// An OAuth 2 server whose endpoints are not all given.
    #[error("expected authorization_url, token_url and userinfo_url for type oauth2")]
    Endpoints,
    /// An endpoint is not fetched by http or https, or would show what is secret in lists and events.
    #[error("expected http or https URLs without a user name, password or fragment")]
    Url,
    /// Entra ID without a tenant; `common` would admit every tenant there is, so it must be said.
    #[error("expected issuer https://login.microsoftonline.com/<tenant>/v2.0 for type azure_ad")]
    AzureTenant,
    /// Entra ID's first generation of endpoints, whose tokens have another form.
    #[error("expected the endpoints /<tenant>/oauth2/v2.0/authorize and …/token for type azure_ad")]
    AzureVersion,
}

/// Checks settings without asking the provider anything.
///
/// # Errors
/// If no login could succeed with them, whatever the provider answers.
pub fn validate(settings: &Settings) -> Result<(), Misconfigured> {
    let urls = [
        &settings.issuer,
        &settings.authorization_url,
        &settings.token_url,
        &settings.userinfo_url,
        &settings.jwks_url,
    ];
    if !urls.into_iter().flatten().all(is_usable) {
        return Err(Misconfigured::Url);
    }
    match settings.kind {
        Kind::Github => Ok(()),
        Kind::Oauth2 => {
            let all = settings.authorization_url.is_some()
                && settings.token_url.is_some()
                && settings.userinfo_url.is_some();
            all.then_some(()).ok_or(Misconfigured::Endpoints)
        }
        Kind::Oidc | Kind::Okta | Kind::Google | Kind::AzureAd => issuers(settings).map(|_| ()),
    }
}

/// Where a provider is: a refresh token that it gave is nobody else's to see, whatever its settings become.
#[must_use]
pub fn origin(settings: &Settings) -> String {
    // GitHub's issuer is no more than a name.
    let issuer = settings.issuer.as_ref();
    let issuer = issuer.filter(|_| settings.kind != Kind::Github);
    let found_by = issuer.or(settings.authorization_url.as_ref());
    match settings.token_url.as_ref().or(found_by) {
        Some(url) => url.origin().ascii_serialization(),
        None if settings.kind == Kind::Github => "https://github.com".to_owned(),
        // Nobody else is known without a URL.
        None => "https://accounts.google.com".to_owned(),
    }
}

/// Whether a URL can be an endpoint, whoever names it: browsers are sent there, and we go there.
pub(super) fn is_usable(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none()
}

/// Where a discovery document may be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) issuer: Url,
    pub(super) from: Origin,
}

/// How a candidate came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The operator named it.
    Configured,
    /// The provider's documentation says it is there.
    Rule,
    /// It may be there.
    Guess,
}

/// Where to look for an OpenID provider's discovery document, in this order.
pub(super) fn issuers(settings: &Settings) -> Result<Vec<Candidate>, Misconfigured> {
    if let Some(issuer) = &settings.issuer {
        return Ok(vec![Candidate {
            issuer: issuer.clone(),
            from: Origin::Configured,
        }]);
    }
    let ruled = match settings.kind {
        Kind::Google => google_issuer(settings.authorization_url.as_ref()),
        Kind::AzureAd => azure_issuer(settings.authorization_url.as_ref())?,
        Kind::Okta => settings.authorization_url.as_ref().and_then(okta_issuer),
        Kind::Oidc | Kind::Github | Kind::Oauth2 => None,
    };
    if let Some(issuer) = ruled {
        return Ok(vec![Candidate {
            issuer,
            from: Origin::Rule,
        }]);
    }
    match (&settings.authorization_url, &settings.token_url) {
        (Some(authorization_url), Some(_)) => Ok(ancestors(authorization_url)),
        _ => Err(Misconfigured::Issuer),
    }
}

fn google_issuer(authorization_url: Option<&Url>) -> Option<Url> {
    let google = Url::parse("https://accounts.google.com").ok();
    match authorization_url {
        None => google,
        Some(url) if url.host_str() == Some("accounts.google.com") => google,
        Some(_) => None,
    }
}

/// `…/oauth2/<server>/v1/authorize` is a custom authorization server, `/oauth2/v1/authorize` the
/// organization's own, whose issuer has no path.
fn okta_issuer(authorization_url: &Url) -> Option<Url> {
    let path = authorization_url.path().strip_suffix("/v1/authorize")?;
    let mut issuer = authorization_url.clone();
    issuer.set_query(None);
    issuer.set_path(if path == "/oauth2" { "" } else { path });
    Some(issuer)
}

/// Nothing if the endpoints are not Microsoft's.
fn azure_issuer(authorization_url: Option<&Url>) -> Result<Option<Url>, Misconfigured> {
    let url = authorization_url.ok_or(Misconfigured::AzureTenant)?;
    let microsoft = [
        "login.microsoftonline.com",
        "login.microsoftonline.us",
        "login.partner.microsoftonline.cn",
    ];
    if !url.host_str().is_some_and(|host| microsoft.contains(&host)) {
        return Ok(None);
    }
    let segments: Vec<&str> = url.path_segments().into_iter().flatten().collect();
    let [tenant, "oauth2", "v2.0", "authorize"] = segments.as_slice() else {
        return Err(Misconfigured::AzureVersion);
    };
    let mut issuer = url.clone();
    issuer.set_query(None);
    issuer.set_path(&format!("/{tenant}/v2.0"));
    Ok(Some(issuer))
}

/// Every folder above an endpoint, the nearest first.
fn ancestors(endpoint: &Url) -> Vec<Candidate> {
    let mut path = endpoint.path().trim_end_matches('/');
    let mut candidates = Vec::new();
    while let Some((parent, _)) = path.rsplit_once('/') {
        let mut issuer = endpoint.clone();
        issuer.set_query(None);
        issuer.set_path(parent);
        candidates.push(Candidate {
            issuer,
            from: Origin::Guess,
        });
        path = parent;
    }
    candidates.truncate(5);
    candidates
}

/// What the provider is asked for: the configured scopes, and what we cannot do without.
pub(super) fn scope(settings: &Settings) -> String {
    let scopes = settings.scopes_or_default();
    let with_openid = |scope: String| match scope.split(' ').any(|token| token == "openid") {
        true => scope,
        false => format!("openid {scope}"),
    };
    match settings.kind {
        Kind::Oauth2 => scopes.to_string(),
        // Without this scope nobody's verified address can be read.
        Kind::Github
            if scopes
                .tokens()
                .any(|token| matches!(token, "user" | "user:email")) =>
        {
            scopes.to_string()
        }
        Kind::Github => format!("{scopes} user:email"),
        Kind::Oidc | Kind::Okta => with_openid(scopes.to_string()),
        // Google says offline by a parameter and refuses the scope.
        Kind::Google => {
            let scope = scopes.retain(|token| token != "offline_access");
            if scope.is_empty() {
                settings.kind.default_scopes().to_string()
            } else {
                with_openid(scope.to_string())
            }
        }
        Kind::AzureAd => {
            let scope: Vec<_> = scopes
                .tokens()
                .map(|token| azure_scope(token, &settings.client_id))
                .collect();
            with_openid(scope.join(" "))
        }
    }
}

/// A bare name means Microsoft Graph to Entra ID, which knows none of its own scopes by a name
/// without a dot; such a name can only be one that our own registration exposes.
fn azure_scope(token: &str, client_id: &str) -> String {
    let standard = matches!(token, "openid" | "profile" | "email" | "offline_access");
    if standard || token.contains(['/', '.', ':']) {
        token.to_owned()
    } else {
        format!("api://{client_id}/{token}")
    }
}

/// What a provider is called that does not sign its name: as configured, else its origin.
pub(super) fn assumed_issuer(settings: &Settings, endpoint: &Url) -> String {
    match &settings.issuer {
        Some(issuer) => without_root_slash(issuer),
        None => endpoint.origin().ascii_serialization(),
    }
}

/// A parsed URL shows a slash after a bare host whether or not one was written.
pub(super) fn without_root_slash(url: &Url) -> String {
    match (url.path(), url.query()) {
        ("/", None) => url.as_str().trim_end_matches('/').to_owned(),
        _ => url.as_str().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(kind: &str, more: serde_json::Value) -> Settings {
        let mut json = serde_json::json!({ "name": "p", "type": kind, "client_id": "id" });
        let members = more.as_object().expect("an object").clone();
        json.as_object_mut().expect("an object").extend(members);
        serde_json::from_value(json).expect("settings")
    }

    fn found(kind: &str, authorization_url: &str) -> Vec<String> {
        let settings = settings(
            kind,
            serde_json::json!({ "authorization_url": authorization_url, "token_url": "https://x/token" }),
        );
        issuers(&settings)
            .expect("candidates")
            .iter()
            .map(|candidate| without_root_slash(&candidate.issuer))
            .collect()
    }

    #[test]
    fn a_provider_is_where_its_tokens_come_from() {
        use serde_json::json;

        let issuer = "https://op.example/realms/a";
        for (kind, urls, expected) in [
            ("google", json!({}), "https://accounts.google.com"),
            ("github", json!({}), "https://github.com"),
            (
                "github",
                json!({ "issuer": issuer, "authorization_url": "https://ghe.example/login" }),
                "https://ghe.example",
            ),
            ("oidc", json!({ "issuer": issuer }), "https://op.example"),
            (
                "oidc",
                json!({ "issuer": issuer, "token_url": "https://tokens.example:8443/token" }),
                "https://tokens.example:8443",
            ),
        ] {
            assert_eq!(origin(&settings(kind, urls)), expected);
        }
    }

    #[test]
    fn issuers_are_worked_out_from_endpoints() {
        for (kind, authorization_url, expected) in [
            (
                "okta",
                "https://dev-1.okta.com/oauth2/default/v1/authorize",
                &["https://dev-1.okta.com/oauth2/default"][..],
            ),
            (
                "okta",
                "https://dev-1.okta.com/oauth2/v1/authorize",
                &["https://dev-1.okta.com"],
            ),
            (
                "google",
                "https://accounts.google.com/o/oauth2/v2/auth",
                &["https://accounts.google.com"],
            ),
            (
                "azure_ad",
                "https://login.microsoftonline.com/contoso.com/oauth2/v2.0/authorize",
                &["https://login.microsoftonline.com/contoso.com/v2.0"],
            ),
            (
                "oidc",
                "https://kc.example/realms/a/protocol/openid-connect/auth",
                &[
                    "https://kc.example/realms/a/protocol/openid-connect",
                    "https://kc.example/realms/a/protocol",
                    "https://kc.example/realms/a",
                    "https://kc.example/realms",
                    "https://kc.example",
                ],
            ),
            (
                "okta",
                "https://provider.com/oauth/authorize?x=1",
                &["https://provider.com/oauth", "https://provider.com"],
            ),
        ] {
            assert_eq!(found(kind, authorization_url), expected, "{kind}");
        }
    }

    #[test]
    fn settings_that_cannot_work_are_named() {
        let auth = "https://login.microsoftonline.com/t/oauth2/authorize";
        for (kind, more, expected) in [
            ("oidc", serde_json::json!({}), Misconfigured::Issuer),
            ("okta", serde_json::json!({}), Misconfigured::Issuer),
            (
                "azure_ad",
                serde_json::json!({}),
                Misconfigured::AzureTenant,
            ),
            (
                "azure_ad",
                serde_json::json!({ "authorization_url": auth, "token_url": "https://x/t" }),
                Misconfigured::AzureVersion,
            ),
            (
                "oauth2",
                serde_json::json!({ "authorization_url": "https://x/a", "token_url": "https://x/t" }),
                Misconfigured::Endpoints,
            ),
            (
                "oidc",
                serde_json::json!({ "issuer": "ldap://x" }),
                Misconfigured::Url,
            ),
            (
                "oidc",
                serde_json::json!({ "issuer": "https://user:pass@x" }),
                Misconfigured::Url,
            ),
            (
                "github",
                serde_json::json!({ "token_url": "https://:pass@x/token" }),
                Misconfigured::Url,
            ),
        ] {
            assert_eq!(validate(&settings(kind, more)), Err(expected), "{kind}");
        }
        for kind in ["google", "github"] {
            assert_eq!(validate(&settings(kind, serde_json::json!({}))), Ok(()));
        }
    }

    #[test]
    fn scopes_fit_the_provider() {
        for (kind, configured, expected) in [
            ("oidc", "", "openid profile email"),
            ("oidc", "read write", "openid read write"),
            ("okta", "email openid", "email openid"),
            ("google", "offline_access email", "openid email"),
            ("google", "offline_access", "openid profile email"),
            ("github", "", "user:email"),
            ("github", "repo", "repo user:email"),
            ("github", "user repo", "user repo"),
            ("oauth2", "read", "read"),
            ("oauth2", "", ""),
            ("azure_ad", "", "openid profile email"),
            (
                "azure_ad",
                "read User.Read offline_access api://other/write",
                "openid api://id/read User.Read offline_access api://other/write",
            ),
        ] {
            let settings = settings(kind, serde_json::json!({ "scopes": configured }));
            assert_eq!(scope(&settings), expected, "{kind} {configured}");
        }
    }
}
