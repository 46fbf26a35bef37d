//! Renewing a person's tokens, which is also how a provider says that they are gone.

use domain::provider::Kind;
use grantlog::clock;
use grantlog::federation::{Federation, RefreshFailure};
use serde_json::json;

use crate::fake_provider::{Behaviour, Endpoint, FakeProvider, Fault, Setup};
use crate::{federation, impatient, log_in, provider};

#[tokio::test]
async fn a_refresh_tells_a_person_gone_from_a_provider_down() {
    for kind in [Kind::Oidc, Kind::Github, Kind::Oauth2] {
        let fake = FakeProvider::start().await;
        let settings = fake.settings(kind);
        let federation = federation();
        let login = log_in(&settings).await.expect("a login");
        let first = login.tokens.refresh_token.expect("a refresh token");
        let impatient = impatient();
        let refresh = async |federation: &Federation, token: &str| {
            federation
                .refresh(&provider(&settings), token, clock::now())
                .await
        };
        let renewed = refresh(&federation, first.expose()).await.expect("tokens");
        let (before, after) = (&login.tokens.access_token, &renewed.access_token);
        assert_ne!(after.expose(), before.expose());
        let second = renewed.refresh_token.expect("a refresh token");
        assert_ne!(second.expose(), first.expose());
        for (behaviour, failure) in [
            (
                Behaviour::TokenError("invalid_grant"),
                RefreshFailure::Rejected,
            ),
            (
                Behaviour::TokenError("invalid_client"),
                RefreshFailure::Unavailable,
            ),
            (
                Behaviour::At(Endpoint::Token, Fault::Status(500)),
                RefreshFailure::Unavailable,
            ),
            (
                Behaviour::At(Endpoint::Token, Fault::Html),
                RefreshFailure::Unavailable,
            ),
            (
                Behaviour::At(Endpoint::Token, Fault::Stall),
                RefreshFailure::Unavailable,
            ),
        ] {
            fake.behave(behaviour.clone());
            let federation = match behaviour {
                Behaviour::At(_, Fault::Stall) => &impatient,
                _ => &federation,
            };
            let outcome = refresh(federation, "fake-refresh-unknown").await;
            assert_eq!(
                outcome.expect_err("none"),
                failure,
                "{kind:?} {behaviour:?}"
            );
        }
        fake.behave(Behaviour::WellBehaved);
        refresh(&federation, second.expose())
            .await
            .expect("nothing was spent meanwhile");
    }
}

#[tokio::test]
async fn a_refresh_token_that_stays_is_given_back() {
    let fake = FakeProvider::start_as(Setup {
        rotates_refresh_tokens: false,
        ..Setup::default()
    })
    .await;
    let settings = fake.settings(Kind::Oidc);
    let login = log_in(&settings).await.expect("a login");
    let token = login.tokens.refresh_token.expect("a refresh token");
    let renewed = federation()
        .refresh(&provider(&settings), token.expose(), clock::now())
        .await
        .expect("tokens");
    let kept = renewed.refresh_token.expect("a refresh token");
    assert_eq!(kept.expose(), token.expose());
}

#[tokio::test]
async fn a_refusal_in_other_words_is_told_from_no_answer() {
    use RefreshFailure::{Refused, Unavailable};
    let error = |status, error| Fault::Json(status, json!({ "error": error }));
    for (fault, failure) in [
        (error(403, "unauthorized_client"), Refused),
        (error(401, "invalid_request"), Refused),
        (error(400, "invalid_scope"), Refused),
        (Fault::Status(400), Unavailable),
        (error(400, "invalid_request"), Unavailable),
        (error(400, "unauthorized_client"), Unavailable),
        (Fault::Json(400, json!({ "message": "no" })), Refused),
        (Fault::Json(403, json!({ "message": "no" })), Unavailable),
        (error(200, "invalid_refresh_token"), Refused),
        (Fault::Json(200, json!({ "ok": false })), Refused),
        (Fault::Json(200, json!({ "error": { "code": 7 } })), Refused),
        (error(401, "invalid_client"), Unavailable),
        (error(401, "unauthorized_client"), Unavailable),
        (Fault::Status(401), Unavailable),
        (Fault::Status(403), Unavailable),
        (error(404, "Not Found"), Unavailable),
        (Fault::Status(408), Unavailable),
        (Fault::Status(425), Unavailable),
        (Fault::Status(429), Unavailable),
        (error(400, "temporarily_unavailable"), Unavailable),
    ] {
        let fake = FakeProvider::start().await;
        fake.behave(Behaviour::At(Endpoint::Token, fault.clone()));
        let settings = fake.settings(Kind::Oidc);
        let refreshed = federation()
            .refresh(&provider(&settings), "token", clock::now())
            .await;
        assert_eq!(refreshed.expect_err("none"), failure, "{fault:?}");
    }
}
