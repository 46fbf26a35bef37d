//! Grantlog as a relying party, against a provider that does what it is told.

#[expect(dead_code, reason = "nobody waits at the provider's gate here")]
#[path = "../support/fake_provider.rs"]
mod fake_provider;

mod faults;
mod id_tokens;
mod kinds;
mod refresh;
mod requests;
mod tokens;
mod told;

use std::time::Duration;

use domain::id::ProviderId;
use domain::provider::{Kind, Settings};
use fake_provider::{CLIENT_SECRET, FakeProvider, browse};
use grantlog::clock;
use grantlog::federation::{Attempt, Callback, Federation, Login, LoginFailure, Provider};
use url::Url;

const CALLBACK_URL: &str = "http://127.0.0.1:8080/api/v1/oauth/callback/1";

const ATTEMPT: Attempt<'_> = Attempt {
    state: "our-state",
    nonce: "our-nonce",
    code_verifier: "our-verifier-of-at-least-forty-three-characters",
    prompt: None,
    max_age_s: None,
    is_selective: false,
};

fn federation() -> Federation {
    Federation::new().expect("TLS")
}

/// For providers that stall: nobody needs to wait for what a patient one waits for.
fn impatient() -> Federation {
    Federation::with_deadline(Duration::from_millis(1500)).expect("TLS")
}

fn provider(settings: &Settings) -> Provider<'_> {
    Provider {
        id: ProviderId(1),
        settings,
        client_secret: CLIENT_SECRET,
        callback_url: CALLBACK_URL,
    }
}

/// A whole login: to the provider, back, and through every check.
async fn log_in(settings: &Settings) -> Result<Login, LoginFailure> {
    log_in_as(&federation(), settings, &ATTEMPT).await
}

async fn log_in_as(
    federation: &Federation,
    settings: &Settings,
    attempt: &Attempt<'_>,
) -> Result<Login, LoginFailure> {
    let now = clock::now();
    let provider = provider(settings);
    let url = federation
        .authorization_url(&provider, attempt, now)
        .await?;
    let back = browse(&url).await;
    assert!(back.as_str().starts_with(CALLBACK_URL));
    assert_eq!(query(&back, "state").as_deref(), Some(attempt.state));
    complete(federation, settings, &back, attempt).await
}

async fn complete(
    federation: &Federation,
    settings: &Settings,
    back: &Url,
    attempt: &Attempt<'_>,
) -> Result<Login, LoginFailure> {
    let (code, iss, error) = (
        query(back, "code"),
        query(back, "iss"),
        query(back, "error"),
    );
    let callback = Callback {
        code: code.as_deref(),
        iss: iss.as_deref(),
        error: error.as_deref(),
    };
    federation
        .complete(&provider(settings), &callback, attempt, clock::now())
        .await
}

fn query(url: &Url, name: &str) -> Option<String> {
    let mut pairs = url.query_pairs();
    pairs
        .find(|(found, _)| found == name)
        .map(|(_, value)| value.into_owned())
}

/// The fake provider as a plain OpenID provider, known by its issuer.
async fn oidc() -> (FakeProvider, Settings) {
    let fake = FakeProvider::start().await;
    let settings = fake.settings(Kind::Oidc);
    (fake, settings)
}
