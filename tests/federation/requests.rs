//! What providers are asked, and what they are never told.

use domain::provider::{Kind, Settings};
use grantlog::clock;
use grantlog::federation::{Attempt, Prompt};

use crate::fake_provider::{CLIENT_SECRET, Endpoint, FakeProvider, Request};
use crate::{ATTEMPT, federation, log_in, log_in_as, oidc, provider, query};

#[tokio::test]
async fn every_attempt_brings_its_own_state_nonce_and_challenge() {
    let (fake, settings) = oidc().await;
    let other = Attempt {
        state: "other-state",
        nonce: "other-nonce",
        code_verifier: "other-verifier-of-at-least-forty-three-characters",
        ..ATTEMPT
    };
    for attempt in [&ATTEMPT, &other] {
        log_in_as(&federation(), &settings, attempt)
            .await
            .expect("a login");
    }
    let requests = fake.requests_to(Endpoint::Authorize);
    for name in ["state", "nonce", "code_challenge"] {
        let [first, second] = [0, 1].map(|index: usize| requests[index].parameter(name));
        assert!(
            !first.is_empty() && !second.is_empty() && first != second,
            "{name}"
        );
    }
    let verifiers: Vec<_> = fake.requests_to(Endpoint::Token);
    assert_eq!(
        verifiers[0].parameter("code_verifier"),
        ATTEMPT.code_verifier
    );
    assert!(fake.requests().iter().all(tells_no_more_than_it_should));
}

fn tells_no_more_than_it_should(request: &Request) -> bool {
    let url_has_secrets = request.endpoint == Some(Endpoint::Authorize)
        && request
            .parameters
            .values()
            .any(|value| value == CLIENT_SECRET || value == ATTEMPT.code_verifier);
    !request.parameters.contains_key("resource") && !url_has_secrets
}

#[tokio::test]
async fn each_kind_is_asked_in_its_own_dialect() {
    use Prompt::{Login, SelectAccount};
    for (kind, prompt, max_age_s, expected) in [
        (
            Kind::Oidc,
            None,
            None,
            &[("prompt", None), ("max_age", None)][..],
        ),
        (
            Kind::Oidc,
            Some(Login),
            Some(0),
            &[("prompt", Some("login")), ("max_age", Some("0"))],
        ),
        (
            Kind::Okta,
            Some(SelectAccount),
            None,
            &[("prompt", Some("select_account"))],
        ),
        (
            Kind::Google,
            None,
            None,
            &[
                ("access_type", Some("offline")),
                ("prompt", Some("consent")),
            ],
        ),
        (
            Kind::Google,
            Some(SelectAccount),
            None,
            &[("prompt", Some("consent select_account"))],
        ),
        (
            Kind::Google,
            None,
            Some(0),
            &[
                ("prompt", Some("consent select_account")),
                ("max_age", None),
            ],
        ),
        (
            Kind::AzureAd,
            None,
            Some(0),
            &[("prompt", Some("login")), ("max_age", None)],
        ),
        (
            Kind::Github,
            None,
            None,
            &[
                ("prompt", None),
                ("nonce", None),
                ("scope", Some("user:email")),
            ],
        ),
        (
            Kind::Oauth2,
            Some(Login),
            Some(0),
            &[
                ("prompt", None),
                ("max_age", None),
                ("nonce", None),
                ("scope", None),
            ],
        ),
        (
            Kind::Oidc,
            None,
            None,
            &[("scope", Some("openid profile email"))],
        ),
    ] {
        let fake = FakeProvider::start().await;
        let settings = fake.settings(kind);
        let attempt = Attempt {
            prompt,
            max_age_s,
            ..ATTEMPT
        };
        let url = federation()
            .authorization_url(&provider(&settings), &attempt, clock::now())
            .await
            .expect("a URL");
        assert_eq!(url.origin(), fake.url().origin());
        for (name, value) in expected {
            assert_eq!(query(&url, name).as_deref(), *value, "{kind:?} {name}");
        }
        assert_eq!(
            query(&url, "code_challenge_method").as_deref(),
            Some("S256")
        );
    }
}

#[tokio::test]
async fn parameters_of_the_endpoint_itself_stay_but_cannot_replace_ours() {
    let fake = FakeProvider::start().await;
    let settings = Settings {
        authorization_url: Some(fake.at("/authorize?audience=api&state=fixed")),
        ..fake.settings(Kind::Oauth2)
    };
    let url = federation()
        .authorization_url(&provider(&settings), &ATTEMPT, clock::now())
        .await
        .expect("a URL");
    assert_eq!(query(&url, "audience").as_deref(), Some("api"));
    let states: Vec<_> = url
        .query_pairs()
        .filter(|(name, _)| name == "state")
        .collect();
    assert_eq!(states.len(), 1);
    assert_eq!(states[0].1, ATTEMPT.state);
}

#[tokio::test]
async fn github_is_asked_for_json_by_a_named_program() {
    let fake = FakeProvider::start().await;
    log_in(&fake.settings(Kind::Github)).await.expect("a login");
    for endpoint in [Endpoint::Token, Endpoint::User, Endpoint::Emails] {
        let requests = fake.requests_to(endpoint);
        let posts = requests[0].method == "POST";
        assert_eq!(posts, endpoint == Endpoint::Token);
        let headers = &requests[0].headers;
        let header = |name: &str| headers[name].to_str().expect("text").to_owned();
        assert!(header("accept").contains("json"), "{endpoint:?}");
        assert!(
            header("user-agent").starts_with("grantlog/"),
            "{endpoint:?}"
        );
    }
}

#[tokio::test]
async fn nothing_that_is_printed_for_debugging_tells_a_secret_or_an_address() {
    let (_fake, settings) = oidc().await;
    let login = log_in(&settings).await.expect("a login");
    let printed = format!("{login:?} {:?}", login.tokens);
    for secret in [
        login.tokens.access_token.expose(),
        login.email.as_deref().expect("an address"),
        &login.sub,
    ] {
        assert!(!printed.contains(secret));
    }
}
