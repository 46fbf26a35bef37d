//! Providers that fail, refuse, stall or answer something else: a reason, in time, and no login.

use chrono::TimeDelta;
use domain::provider::{Kind, Settings};
use grantlog::clock;
use grantlog::federation::{Answer, LoginFailure, Misconfigured};
use serde_json::{Value, json};

use crate::fake_provider::{Behaviour, Endpoint, FakeProvider, Fault, Request, Setup};
use crate::{ATTEMPT, complete, federation, impatient, log_in, log_in_as, oidc, provider, query};

/// Makes an endpoint fail in each way and expects a reason for each.
async fn check<const N: usize>(kind: Kind, endpoint: Endpoint, faults: [(Fault, &str); N]) {
    for (fault, reason) in faults {
        let fake = FakeProvider::start().await;
        fake.behave(Behaviour::At(endpoint, fault.clone()));
        let federation = match fault {
            Fault::Stall | Fault::Trickle => impatient(),
            _ => federation(),
        };
        let failure = log_in_as(&federation, &fake.settings(kind), &ATTEMPT).await;
        let failure = failure.expect_err("no login");
        assert_eq!(failure.as_str(), reason, "{kind:?} {endpoint:?} {fault:?}");
        let answer = match reason {
            "upstream_unavailable" => Answer::TemporarilyUnavailable,
            "subject_missing" => Answer::AccessDenied,
            _ => Answer::ServerError,
        };
        assert_eq!(failure.answer(), answer, "{reason}");
        let followed = |request: &Request| request.path == "/elsewhere";
        assert!(!fake.requests().iter().any(followed), "a redirect");
    }
}

#[tokio::test]
async fn a_failing_discovery_has_its_reason() {
    let faults = [
        (Fault::Status(503), "upstream_unavailable"),
        (Fault::Stall, "upstream_unavailable"),
        (Fault::Status(404), "discovery_failed"),
        (Fault::Html, "discovery_failed"),
        (Fault::Redirect, "discovery_failed"),
        (member("token_endpoint", Value::Null), "discovery_failed"),
        (member("jwks_uri", Value::Null), "discovery_failed"),
        (endpoint("javascript:alert(1)"), "discovery_failed"),
        (endpoint("data:text/html,x"), "discovery_failed"),
        (endpoint("file:///etc/passwd"), "discovery_failed"),
        (endpoint("http://a:b@localhost/"), "discovery_failed"),
        (endpoint("http://localhost/#x"), "discovery_failed"),
        (
            member("token_endpoint", json!("file:///etc/passwd")),
            "discovery_failed",
        ),
        (
            member("jwks_uri", json!("http://a@localhost/")),
            "discovery_failed",
        ),
        (
            member("issuer", json!("https://other.example")),
            "discovery_wrong_issuer",
        ),
    ];
    check(Kind::Oidc, Endpoint::Discovery, faults).await;
}

#[tokio::test]
async fn a_failing_token_endpoint_has_its_reason() {
    let faults = [
        (Fault::Status(500), "upstream_unavailable"),
        (Fault::Status(429), "upstream_unavailable"),
        (Fault::Stall, "upstream_unavailable"),
        (Fault::Trickle, "upstream_unavailable"),
        (Fault::Huge, "upstream_unavailable"),
        (Fault::Status(401), "token_endpoint_invalid_client"),
        (Fault::Redirect, "token_endpoint_error"),
        (Fault::Html, "token_endpoint_error"),
        (member("access_token", Value::Null), "token_endpoint_error"),
        (member("token_type", json!("DPoP")), "token_endpoint_error"),
    ];
    check(Kind::Oidc, Endpoint::Token, faults).await;
}

#[tokio::test]
async fn a_failing_key_set_has_its_reason() {
    let faults = [
        (Fault::Status(500), "upstream_unavailable"),
        (Fault::Html, "jwks_failed"),
        (member("keys", json!([])), "jwks_failed"),
    ];
    check(Kind::Oidc, Endpoint::Keys, faults).await;
}

#[tokio::test]
async fn a_failing_userinfo_has_its_reason() {
    let faults = [
        (Fault::Status(500), "upstream_unavailable"),
        (Fault::Status(403), "userinfo_failed"),
        (Fault::Html, "userinfo_failed"),
        (member("sub", Value::Null), "subject_missing"),
    ];
    check(Kind::Oauth2, Endpoint::Userinfo, faults).await;
}

#[tokio::test]
async fn a_failing_github_has_its_reason() {
    let faults = [
        (Fault::Status(500), "upstream_unavailable"),
        (Fault::Status(401), "userinfo_failed"),
        (Fault::Html, "userinfo_failed"),
        (member("id", Value::Null), "subject_missing"),
    ];
    check(Kind::Github, Endpoint::User, faults).await;
    let faults = [(Fault::Status(500), "upstream_unavailable")];
    check(Kind::Github, Endpoint::Emails, faults).await;
}

fn endpoint(authorization_endpoint: &str) -> Fault {
    member("authorization_endpoint", json!(authorization_endpoint))
}

fn member(name: &'static str, value: Value) -> Fault {
    Fault::Member(name, value)
}

#[tokio::test]
async fn addresses_that_may_not_be_read_are_just_not_there() {
    let fake = FakeProvider::start().await;
    fake.behave(Behaviour::At(Endpoint::Emails, Fault::Status(403)));
    let login = log_in(&fake.settings(Kind::Github)).await.expect("a login");
    assert_eq!((login.email, login.email_verified), (None, false));
}

#[tokio::test]
async fn a_refusing_token_endpoint_says_whom_it_refuses() {
    for (kind, error, reason) in [
        (Kind::Oidc, "invalid_grant", "token_endpoint_invalid_grant"),
        (
            Kind::Oidc,
            "invalid_client",
            "token_endpoint_invalid_client",
        ),
        (
            Kind::Oidc,
            "temporarily_unavailable",
            "upstream_unavailable",
        ),
        (Kind::Oidc, "invalid_target", "token_endpoint_error"),
        (
            Kind::Github,
            "bad_verification_code",
            "token_endpoint_invalid_grant",
        ),
        (
            Kind::Github,
            "incorrect_client_credentials",
            "token_endpoint_invalid_client",
        ),
    ] {
        let fake = FakeProvider::start().await;
        fake.behave(Behaviour::TokenError(error));
        let failure = log_in(&fake.settings(kind)).await.expect_err("no login");
        assert_eq!(failure.as_str(), reason, "{kind:?} {error}");
    }
}

#[tokio::test]
async fn an_error_in_the_answer_spends_no_code() {
    for (error, reason, answer) in [
        ("access_denied", "upstream_denied", Answer::AccessDenied),
        (
            "temporarily_unavailable",
            "upstream_unavailable",
            Answer::TemporarilyUnavailable,
        ),
        ("server_error", "upstream_error", Answer::ServerError),
        ("login_required", "upstream_error", Answer::ServerError),
    ] {
        let (fake, settings) = oidc().await;
        fake.behave(Behaviour::AuthorizationError(error));
        let failure = log_in(&settings).await.expect_err("no login");
        assert_eq!((failure.as_str(), failure.answer()), (reason, answer));
        assert!(fake.requests_to(Endpoint::Token).is_empty());
    }
    let (fake, settings) = oidc().await;
    let back = "http://127.0.0.1/?state=our-state".parse().expect("a URL");
    let failure = complete(&federation(), &settings, &back, &ATTEMPT).await;
    assert_eq!(
        failure.expect_err("no login"),
        LoginFailure::CallbackMalformed
    );
    assert!(fake.requests_to(Endpoint::Token).is_empty());
}

#[tokio::test]
async fn an_answer_of_another_issuer_spends_no_code() {
    let other = Some("https://other.example".to_owned());
    for (announces_iss, iss, admitted) in [
        (false, None, true),
        (false, other.clone(), false),
        (true, None, false),
        (true, other, false),
    ] {
        let fake = FakeProvider::start_as(Setup {
            announces_iss,
            ..Setup::default()
        })
        .await;
        fake.behave(Behaviour::AnswerIssuer(iss.clone()));
        let outcome = log_in(&fake.settings(Kind::Oidc)).await;
        assert_eq!(outcome.is_ok(), admitted, "{announces_iss} {iss:?}");
        if let Err(failure) = outcome {
            assert_eq!(failure, LoginFailure::IssuerMismatch);
            assert_eq!(failure.answer(), Answer::Page);
            assert!(fake.requests_to(Endpoint::Token).is_empty());
        }
        fake.behave(Behaviour::WellBehaved);
        log_in(&fake.settings(Kind::Oidc)).await.expect("a login");
    }
}

#[tokio::test]
async fn a_code_is_bound_to_its_attempt() {
    let (fake, settings) = oidc().await;
    let federation = federation();
    let url = federation
        .authorization_url(&provider(&settings), &ATTEMPT, clock::now())
        .await
        .expect("a URL");
    let back = crate::browse(&url).await;
    let other = grantlog::federation::Attempt {
        code_verifier: "the-verifier-of-another-attempt-by-somebody-else",
        ..ATTEMPT
    };
    let failure = complete(&federation, &settings, &back, &other).await;
    assert_eq!(
        failure.expect_err("another verifier"),
        LoginFailure::TokenEndpointInvalidGrant
    );
    assert!(query(&back, "code").is_some());
    let back = crate::browse(&url).await;
    let other = grantlog::federation::Attempt {
        nonce: "another",
        ..ATTEMPT
    };
    let failure = complete(&federation, &settings, &back, &other).await;
    assert_eq!(
        failure.expect_err("another nonce"),
        LoginFailure::IdTokenWrongNonce
    );
    drop(fake);
}

#[tokio::test]
async fn incomplete_settings_are_named() {
    let (_fake, settings) = oidc().await;
    let bare = Settings {
        issuer: None,
        ..settings
    };
    let failure = log_in(&bare).await.expect_err("no login");
    assert_eq!(failure, LoginFailure::Misconfigured(Misconfigured::Issuer));
    assert_eq!(failure.as_str(), "provider_misconfigured");
}

#[tokio::test]
async fn a_provider_that_is_not_there_is_unavailable() {
    let (fake, settings) = oidc().await;
    drop(fake);
    tokio::task::yield_now().await;
    let failure = log_in(&settings).await.expect_err("no login");
    assert_eq!(failure, LoginFailure::UpstreamUnavailable);
}

/// A provider may be broken, or be made to look so by an unknown key, for a while.
#[tokio::test]
async fn what_was_good_stays_in_use_while_a_provider_is_broken() {
    let (fake, settings) = oidc().await;
    let federation = federation();
    let log_in_at = async |now| {
        let provider = provider(&settings);
        let url = federation
            .authorization_url(&provider, &ATTEMPT, now)
            .await?;
        let code = query(&crate::browse(&url).await, "code");
        let callback = grantlog::federation::Callback {
            code: code.as_deref(),
            ..Default::default()
        };
        federation
            .complete(&provider, &callback, &ATTEMPT, now)
            .await
    };
    let start = clock::now();
    log_in_at(start).await.expect("a login");
    for (status, second) in [(404, 55), (503, 95)] {
        let now = start + TimeDelta::seconds(second);
        fake.behave(Behaviour::At(Endpoint::Keys, Fault::Status(status)));
        fake.rotate_keys();
        let failure = log_in_at(now).await.expect_err("an unknown key");
        assert_eq!(failure, LoginFailure::IdTokenUnknownKey);
        fake.restore_keys();
        log_in_at(now).await.expect("a login by a known key");
    }
    for (status, minute) in [(404, 61), (503, 62)] {
        let now = start + TimeDelta::minutes(minute);
        fake.behave(Behaviour::At(Endpoint::Discovery, Fault::Status(status)));
        let url = federation
            .authorization_url(&provider(&settings), &ATTEMPT, now)
            .await;
        url.expect("a URL");
    }
}
