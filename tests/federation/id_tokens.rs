//! Every ID token that must not be believed, each with a reason of its own in the audit trail.

use domain::provider::Kind;
use grantlog::federation::{Answer, Attempt, LoginFailure};

use crate::fake_provider::{Behaviour, Defect, Endpoint, FakeProvider, Fault, Setup, User};
use crate::{ATTEMPT, federation, log_in, log_in_as, oidc};

#[tokio::test]
async fn a_defective_id_token_logs_nobody_in() {
    let (fake, settings) = oidc().await;
    for (defect, reason) in [
        (Defect::Absent, "id_token_missing"),
        (Defect::Garbage, "id_token_malformed"),
        (Defect::AlgNone, "id_token_alg_refused"),
        (Defect::Hs256WithPublicKey, "id_token_alg_refused"),
        (Defect::Hs256WithClientSecret, "id_token_alg_refused"),
        (Defect::OtherAlgorithm, "id_token_alg_refused"),
        (Defect::WrongKey, "id_token_bad_signature"),
        (Defect::UnknownKey, "id_token_unknown_key"),
        (Defect::UnknownCrit, "id_token_unknown_crit"),
        (Defect::WrongIssuer, "id_token_wrong_issuer"),
        (Defect::NoIssuer, "id_token_missing_claim"),
        (Defect::WrongAudience, "id_token_wrong_audience"),
        (Defect::NoAudience, "id_token_missing_claim"),
        (Defect::SeveralAudiencesWithoutAzp, "id_token_missing_claim"),
        (Defect::WrongAzp, "id_token_wrong_azp"),
        (Defect::NoExp, "id_token_missing_claim"),
        (Defect::NoIat, "id_token_missing_claim"),
        (Defect::Expired, "id_token_expired"),
        (Defect::FromTheFuture, "id_token_not_yet_valid"),
        (Defect::WrongNonce, "id_token_wrong_nonce"),
        (Defect::NoNonce, "id_token_missing_claim"),
        (Defect::WrongAtHash, "id_token_wrong_at_hash"),
        (Defect::NoSub, "id_token_missing_claim"),
    ] {
        fake.behave(Behaviour::IdToken(defect));
        let failure = log_in(&settings).await.expect_err("no login");
        assert_eq!(failure.as_str(), reason, "{defect:?}");
        assert_eq!(failure.answer(), Answer::AccessDenied, "{defect:?}");
    }
}

#[tokio::test]
async fn userinfo_cannot_speak_of_somebody_else() {
    let fake = FakeProvider::start_as(Setup {
        thin_id_tokens: true,
        ..Setup::default()
    })
    .await;
    let other = Fault::Member("sub", "somebody-else".into());
    fake.behave(Behaviour::At(Endpoint::Userinfo, other));
    let failure = log_in(&fake.settings(Kind::Oidc)).await;
    assert_eq!(
        failure.expect_err("no login"),
        LoginFailure::UserinfoWrongSubject
    );
}

#[tokio::test]
async fn an_old_login_is_refused_where_a_fresh_one_was_asked_for() {
    let (fake, settings) = oidc().await;
    let fresh = Attempt {
        max_age_s: Some(300),
        ..ATTEMPT
    };
    log_in_as(&federation(), &settings, &fresh)
        .await
        .expect("a fresh login");
    fake.user(User {
        authenticated_ago_s: 3600,
        ..User::default()
    });
    let failure = log_in_as(&federation(), &settings, &fresh).await;
    assert_eq!(
        failure.expect_err("no login"),
        LoginFailure::AuthenticationTooOld
    );
    log_in(&settings).await.expect("nobody asked");
}

#[tokio::test]
async fn what_an_id_token_leaves_out_is_asked_for_where_people_are_admitted_by_it() {
    let selective = Attempt {
        is_selective: true,
        ..ATTEMPT
    };
    for lack in [&["groups"], &["email_verified"]] {
        let fake = FakeProvider::start_as(Setup {
            id_tokens_lack: lack,
            ..Setup::default()
        })
        .await;
        let settings = fake.settings(Kind::Oidc);
        log_in(&settings).await.expect("a login");
        assert!(fake.requests_to(Endpoint::Userinfo).is_empty(), "{lack:?}");

        let login = log_in_as(&federation(), &settings, &selective).await;
        let login = login.expect("a login");
        assert!(login.email_verified, "{lack:?}");
        assert_eq!(login.groups, ["analysts"], "{lack:?}");

        let other = Fault::Member("email", "other@example.com".into());
        fake.behave(Behaviour::At(Endpoint::Userinfo, other));
        let login = log_in_as(&federation(), &settings, &selective).await;
        let login = login.expect("a login");
        assert_eq!(login.email.as_deref(), Some("ada@example.com"), "{lack:?}");
        assert_eq!(
            login.email_verified,
            lack == &["groups"],
            "of another address"
        );

        let somebody = Fault::Member("sub", "somebody-else".into());
        fake.behave(Behaviour::At(Endpoint::Userinfo, somebody));
        let login = log_in_as(&federation(), &settings, &selective).await;
        let failure = login.expect_err("somebody else");
        assert_eq!(failure, LoginFailure::UserinfoWrongSubject);

        fake.behave(Behaviour::At(Endpoint::Userinfo, Fault::Status(403)));
        let login = log_in_as(&federation(), &settings, &selective).await;
        assert!(login.is_ok(), "the ID token tells who it is");
    }
    let (fake, settings) = oidc().await;
    let login = log_in_as(&federation(), &settings, &selective).await;
    login.expect("a login");
    assert!(fake.requests_to(Endpoint::Userinfo).is_empty());
}
