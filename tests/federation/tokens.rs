//! Token responses, as servers write them.

use chrono::TimeDelta;
use domain::provider::Kind;
use grantlog::clock;
use grantlog::federation::RefreshFailure;
use grantlog::vault::UpstreamTokens;
use serde_json::{Value, json};

use crate::fake_provider::{Behaviour, Endpoint, FakeProvider, Fault};
use crate::{federation, log_in, provider};

async fn refresh(fake: &FakeProvider, fault: Fault) -> Result<UpstreamTokens, RefreshFailure> {
    fake.behave(Behaviour::At(Endpoint::Token, fault));
    let settings = fake.settings(Kind::Oauth2);
    federation()
        .refresh(&provider(&settings), "token", clock::now())
        .await
}

#[tokio::test]
async fn a_code_is_sent_twice_only_where_the_client_was_refused() {
    let error = |status, error| Fault::Json(status, json!({ "error": error }));
    for (fault, times) in [
        (Fault::Status(401), 2),
        (error(400, "invalid_client"), 2),
        (error(400, "invalid_request"), 2),
        (error(400, "invalid_grant"), 1),
        (error(400, "invalid_scope"), 1),
        (error(403, "unauthorized_client"), 1),
        (Fault::Status(400), 1),
        (Fault::Status(404), 1),
        (Fault::Html, 1),
        (Fault::Json(200, json!({})), 1),
    ] {
        let fake = FakeProvider::start().await;
        fake.behave(Behaviour::At(Endpoint::Token, fault.clone()));
        let login = log_in(&fake.settings(Kind::Oauth2)).await;
        assert!(login.is_err());
        assert_eq!(fake.requests_to(Endpoint::Token).len(), times, "{fault:?}");
    }
}

#[tokio::test]
async fn a_token_response_may_be_a_form() {
    let fake = FakeProvider::start().await;
    let form = "access_token=a+b%2F&scope=repo%2Cgist&token_type=bearer&expires_in=60";
    let tokens = refresh(&fake, Fault::Form(form)).await.expect("tokens");
    assert_eq!(tokens.access_token.expose(), "a b/");
    assert!(tokens.expires_at < Some(clock::now() + TimeDelta::seconds(61)));
    let refused = refresh(&fake, Fault::Form("error=bad_refresh_token")).await;
    assert_eq!(refused.expect_err("none"), RefreshFailure::Rejected);
}

#[tokio::test]
async fn a_token_ends_when_it_is_said_to_however_that_is_written() {
    let fake = FakeProvider::start().await;
    for (expires_in, seconds) in [
        (json!(3600), Some(3600)),
        (json!(3600.0), Some(3600)),
        (json!(3599.9), Some(3599)),
        (json!("3600"), Some(3600)),
        (json!("3600.0"), Some(3600)),
        (json!(0), Some(0)),
        (json!(1e300), Some(10 * 365 * 24 * 3600)),
        (json!(-1), None),
        (json!("soon"), None),
        (json!("inf"), None),
        (json!("nan"), None),
        (Value::Null, None),
    ] {
        let now = clock::now();
        let answer = json!({ "access_token": "a", "expires_in": expires_in });
        let tokens = refresh(&fake, Fault::Json(200, answer)).await;
        let end = tokens.expect("tokens").expires_at;
        let left = end.map(|end| (end - now).num_seconds());
        assert_eq!(left, seconds, "{expires_in}");
    }
}

#[tokio::test]
async fn a_token_that_no_header_can_carry_is_none() {
    for token in ["a\r\nx: y", "a\tb", "a\u{7f}", "ä", "a\0"] {
        let fake = FakeProvider::start().await;
        fake.behave(Behaviour::At(
            Endpoint::Token,
            Fault::Member("access_token", json!(token)),
        ));
        let failure = log_in(&fake.settings(Kind::Oauth2)).await;
        let failure = failure.expect_err("no login");
        assert_eq!(failure.as_str(), "token_endpoint_error", "{token:?}");
    }
}
