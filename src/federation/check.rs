//! Whether people could log in at a provider, found out before they try.

use domain::Timestamp;
use domain::provider::Kind;
use url::{Host, Url};

use super::discovery::{Identity, Upstream};
use super::failure::LoginFailure;
use super::kinds;
use super::token::TokenFailure;
use super::transport::Unreachable;
use super::{Federation, Provider};

/// Something that keeps people from logging in, or ought to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is the matter.
    pub what: String,
    /// What to do about it.
    pub fix: &'static str,
}

impl Federation {
    /// Asks a provider everything that can be asked without a person: its document, its keys, and
    /// with a made-up code whether it accepts our credentials. Empty if all is well.
    pub async fn check(&self, provider: &Provider<'_>, now: Timestamp) -> Vec<Problem> {
        let unfinished = Problem {
            what: "the provider did not answer in time".to_owned(),
            fix: REACH,
        };
        tokio::time::timeout(self.deadline, self.examine(provider, now))
            .await
            .unwrap_or_else(|_| vec![unfinished])
    }

    async fn examine(&self, provider: &Provider<'_>, now: Timestamp) -> Vec<Problem> {
        let upstream = match self.resolve(provider.settings, now).await {
            Ok(upstream) => upstream,
            Err(failure) => return vec![self.unresolved(provider, failure).await],
        };
        let mut problems = Vec::new();
        problems.extend(clear_text(&upstream));
        problems.extend(unverified(provider, &upstream));
        problems.extend(self.check_keys(&upstream).await);
        problems.extend(self.check_credentials(provider, &upstream, now).await);
        problems
    }

    async fn unresolved(&self, provider: &Provider<'_>, failure: LoginFailure) -> Problem {
        let issuers = kinds::issuers(provider.settings).unwrap_or_default();
        if let (LoginFailure::UpstreamUnavailable, [candidate, ..]) = (failure, issuers.as_slice())
            && let Err(error) = self.fetch_document(candidate).await
        {
            return failed("the discovery document", &error);
        }
        let fix = match failure {
            LoginFailure::Misconfigured(_) => "complete the provider's settings",
            LoginFailure::DiscoveryWrongIssuer => {
                "set issuer exactly as the provider's discovery document writes it"
            }
            LoginFailure::DiscoveryFailed => {
                "set issuer to the URL below which /.well-known/openid-configuration is found"
            }
            _ => REACH,
        };
        Problem {
            what: failure.to_string(),
            fix,
        }
    }

    async fn check_keys(&self, upstream: &Upstream) -> Option<Problem> {
        let Identity::IdToken { jwks_uri, .. } = &upstream.identity else {
            return None;
        };
        match self.fetch_keys(jwks_uri).await {
            Err(error) => Some(failed("the key set", &error)),
            Ok(keys) if keys.is_empty() => Some(Problem {
                what: "the key set holds no key that signs".to_owned(),
                fix: "set jwks_url to the provider's key set",
            }),
            Ok(_) => None,
        }
    }

    async fn check_credentials(
        &self,
        provider: &Provider<'_>,
        upstream: &Upstream,
        now: Timestamp,
    ) -> Option<Problem> {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", "grantlog-doctor"),
            ("redirect_uri", provider.callback_url),
            (
                "code_verifier",
                "grantlog-doctor-checks-its-credentials-only",
            ),
        ];
        match self.tokens(provider, upstream, &form, now).await {
            Err(TokenFailure::Unavailable(error)) => Some(failed("the token endpoint", &error)),
            Err(TokenFailure::InvalidClient | TokenFailure::UnauthorizedClient) => Some(Problem {
                what: "the token endpoint refused our client credentials".to_owned(),
                fix: "set client_id and client_secret as registered at the provider",
            }),
            Err(TokenFailure::Other(status)) => Some(Problem {
                what: format!("the token endpoint answered {status}, and not as one"),
                fix: "set token_url to the provider's token endpoint",
            }),
            // No code was ever given out, so refusing it is the right answer.
            Err(
                TokenFailure::InvalidGrant
                | TokenFailure::InvalidRequest(_)
                | TokenFailure::Refused,
            )
            | Ok(_) => None,
        }
    }
}

const REACH: &str = "check the URL, DNS, the firewall and the machine's root certificates";

/// What cannot be reached is ours to mend, or the network's; what answers and fails is not.
fn failed(what: &str, error: &Unreachable) -> Problem {
    match error.has_answered {
        true => Problem {
            what: format!("{what} is broken: {}", error.why),
            fix: "wait, or ask whoever runs the provider",
        },
        false => Problem {
            what: format!("{what} cannot be reached: {}", error.why),
            fix: REACH,
        },
    }
}

fn clear_text(upstream: &Upstream) -> Option<Problem> {
    let token = &upstream.token_endpoint;
    (token.scheme() == "http" && !is_loopback(token)).then(|| Problem {
        what: "the client secret and tokens travel unencrypted".to_owned(),
        fix: "use https for every endpoint of the provider",
    })
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// An OpenID provider that is used without OpenID Connect.
fn unverified(provider: &Provider<'_>, upstream: &Upstream) -> Option<Problem> {
    match upstream.identity {
        Identity::Userinfo(_) if provider.settings.kind != Kind::Oauth2 => Some(Problem {
            what: "no discovery document: people are known by the userinfo endpoint alone"
                .to_owned(),
            fix: "set issuer, so that ID tokens are verified",
        }),
        _ => None,
    }
}
