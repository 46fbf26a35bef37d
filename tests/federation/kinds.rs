//! Logins that succeed: every kind of provider, every way to configure it.

use chrono::TimeDelta;
use domain::provider::{Kind, Settings};
use grantlog::clock;
use grantlog::federation::LoginFailure;
use jsonwebtoken::Algorithm;
use serde_json::json;

use crate::fake_provider::{
    Behaviour, CLIENT_ID, Defect, Endpoint, FakeProvider, Fault, Setup, User,
};
use crate::{ATTEMPT, federation, log_in, log_in_as, oidc};

const TENANT: &str = "11111111-2222-3333-4444-555555555555";

#[tokio::test]
async fn people_log_in_at_every_kind_of_provider() {
    for (kind, setup, sub) in [
        (Kind::Oidc, Setup::default(), "ada-at-fake"),
        (
            Kind::Okta,
            Setup {
                issuer_path: "/oauth2/default",
                ..Setup::default()
            },
            "ada-at-fake",
        ),
        (Kind::Google, Setup::default(), "ada-at-fake"),
        (
            Kind::AzureAd,
            Setup {
                issuer_path: "/organizations/v2.0",
                tenant: Some(TENANT),
                ..Setup::default()
            },
            "ada-at-fake",
        ),
        (Kind::Github, Setup::default(), "1815"),
        (Kind::Oauth2, Setup::default(), "ada-at-fake"),
    ] {
        let fake = FakeProvider::start_as(setup).await;
        let login = log_in(&fake.settings(kind)).await.expect("a login");
        let issuer = fake.issuer().replace("{tenantid}", TENANT);
        assert_eq!(login.issuer, issuer, "{kind:?}");
        assert_eq!(login.sub, sub, "{kind:?}");
        assert_eq!(login.email.as_deref(), Some("ada@example.com"), "{kind:?}");
        assert!(login.email_verified, "{kind:?}");
        assert_eq!(login.name.as_deref(), Some("Ada Lovelace"), "{kind:?}");
        assert!(login.tokens.refresh_token.is_some(), "{kind:?}");
        assert!(login.tokens.expires_at > Some(clock::now()), "{kind:?}");
    }
}

#[tokio::test]
async fn an_unverified_address_is_said_to_be_so() {
    for kind in [Kind::Oidc, Kind::Google, Kind::Github, Kind::Oauth2] {
        let fake = FakeProvider::start().await;
        fake.user(User {
            email_verified: false,
            ..User::default()
        });
        let login = log_in(&fake.settings(kind)).await.expect("a login");
        assert!(login.email.is_some() && !login.email_verified, "{kind:?}");
    }
}

#[tokio::test]
async fn every_asymmetric_algorithm_in_use_is_understood() {
    for algorithm in [
        Algorithm::RS256,
        Algorithm::PS256,
        Algorithm::ES256,
        Algorithm::EdDSA,
    ] {
        let fake = FakeProvider::start_as(Setup {
            algorithm,
            ..Setup::default()
        })
        .await;
        let login = log_in(&fake.settings(Kind::Oidc)).await;
        assert_eq!(login.expect("a login").sub, "ada-at-fake", "{algorithm:?}");
    }
}

#[tokio::test]
async fn a_thin_id_token_is_completed_from_userinfo() {
    let fake = FakeProvider::start_as(Setup {
        thin_id_tokens: true,
        ..Setup::default()
    })
    .await;
    let settings = fake.settings(Kind::Oidc);
    let login = log_in(&settings).await.expect("a login");
    assert_eq!(login.email.as_deref(), Some("ada@example.com"));
    assert!(login.email_verified);
    assert_eq!(login.groups, ["analysts"]);

    let bare = Settings {
        scopes: "openid".parse().expect("a scope"),
        ..settings
    };
    let login = log_in(&bare).await.expect("a login");
    assert_eq!(login.email, None);
    assert_eq!(fake.requests_to(Endpoint::Userinfo).len(), 1);
}

#[tokio::test]
async fn endpoints_without_an_issuer_lead_to_it() {
    let fake = FakeProvider::start_as(Setup {
        issuer_path: "/oauth2/default",
        ..Setup::default()
    })
    .await;
    for kind in [Kind::Okta, Kind::Oidc, Kind::Google, Kind::AzureAd] {
        let settings = Settings {
            issuer: None,
            authorization_url: Some(fake.at("/oauth2/default/v1/authorize")),
            token_url: Some(fake.at("/oauth2/default/v1/token")),
            ..fake.settings(kind)
        };
        let login = log_in(&settings).await.expect("a login");
        assert_eq!(login.issuer, fake.issuer(), "{kind:?}");
    }
}

#[tokio::test]
async fn a_document_that_names_other_endpoints_is_not_guessed_to_be_the_right_one() {
    let fake = FakeProvider::start().await;
    let settings = Settings {
        issuer: None,
        authorization_url: Some(fake.at("/elsewhere/authorize")),
        token_url: Some(fake.at("/elsewhere/token")),
        ..fake.settings(Kind::Oidc)
    };
    let failure = log_in(&settings).await.expect_err("no login");
    assert_eq!(failure, LoginFailure::DiscoveryFailed);
}

#[tokio::test]
async fn without_any_document_the_userinfo_beside_the_token_endpoint_tells() {
    let fake = FakeProvider::start_as(Setup {
        discovery: false,
        ..Setup::default()
    })
    .await;
    let quick_reference = |kind| Settings {
        issuer: None,
        authorization_url: Some(fake.at("/oauth/authorize")),
        token_url: Some(fake.at("/oauth/token")),
        scopes: "read write".parse().expect("a scope"),
        ..fake.settings(kind)
    };
    let login = log_in(&quick_reference(Kind::Okta)).await.expect("a login");
    assert_eq!(login.sub, "ada-at-fake");
    assert_eq!(login.issuer, fake.issuer());
    assert_eq!(
        fake.requests_to(Endpoint::Userinfo)[0].path,
        "/oauth/userinfo"
    );

    let failure = log_in(&quick_reference(Kind::Oidc)).await;
    assert_eq!(
        failure.expect_err("no login"),
        LoginFailure::DiscoveryFailed
    );
}

#[tokio::test]
async fn a_key_set_without_a_document_verifies_issuers_at_home() {
    let fake = FakeProvider::start_as(Setup {
        discovery: false,
        ..Setup::default()
    })
    .await;
    for kind in [Kind::Okta, Kind::Oidc] {
        let settings = Settings {
            issuer: None,
            authorization_url: Some(fake.at("/oauth/authorize")),
            token_url: Some(fake.at("/oauth/token")),
            jwks_url: Some(fake.at("/keys")),
            ..fake.settings(kind)
        };
        fake.behave(Behaviour::WellBehaved);
        let login = log_in(&settings).await.expect("a login");
        assert_eq!(login.issuer, fake.issuer());
        fake.behave(Behaviour::IdToken(Defect::WrongIssuer));
        let failure = log_in(&settings).await.expect_err("no login");
        assert_eq!(failure, LoginFailure::IdTokenWrongIssuer);
    }
}

#[tokio::test]
async fn settings_that_leave_nothing_to_discover_ask_for_nothing() {
    let fake = FakeProvider::start_as(Setup {
        discovery: false,
        ..Setup::default()
    })
    .await;
    let settings = Settings {
        authorization_url: Some(fake.at("/authorize")),
        token_url: Some(fake.at("/token")),
        jwks_url: Some(fake.at("/keys")),
        ..fake.settings(Kind::Oidc)
    };
    let login = log_in(&settings).await.expect("a login");
    assert_eq!(login.issuer, fake.issuer());
    assert!(fake.requests_to(Endpoint::Discovery).is_empty());
}

#[tokio::test]
async fn client_credentials_go_the_way_the_provider_wants_them() {
    for (methods, discovery) in [
        (&["client_secret_basic"][..], true),
        (&["client_secret_post"], true),
        (&["client_secret_basic"], false),
        (&["client_secret_post"], false),
    ] {
        let fake = FakeProvider::start_as(Setup {
            auth_methods: methods,
            discovery,
            ..Setup::default()
        })
        .await;
        let kind = if discovery { Kind::Oidc } else { Kind::Oauth2 };
        let login = log_in(&fake.settings(kind)).await;
        assert!(login.is_ok(), "{methods:?} {discovery}");
    }
}

#[tokio::test]
async fn a_tenant_cannot_speak_for_another() {
    let fake = FakeProvider::start_as(Setup {
        issuer_path: "/organizations/v2.0",
        tenant: Some(TENANT),
        ..Setup::default()
    })
    .await;
    fake.behave(Behaviour::IdToken(Defect::WrongTenant));
    let failure = log_in(&fake.settings(Kind::AzureAd)).await;
    assert_eq!(
        failure.expect_err("no login"),
        LoginFailure::IdTokenWrongIssuer
    );
    fake.behave(Behaviour::WellBehaved);
    let failure = log_in(&fake.settings(Kind::Oidc)).await;
    assert_eq!(
        failure.expect_err("no template"),
        LoginFailure::DiscoveryWrongIssuer
    );
}

#[tokio::test]
async fn documents_and_keys_are_fetched_once_and_again_for_an_unknown_key() {
    let (fake, settings) = oidc().await;
    let federation = federation();
    for _ in 0..3 {
        log_in_as(&federation, &settings, &ATTEMPT)
            .await
            .expect("a login");
    }
    assert_eq!(fake.requests_to(Endpoint::Discovery).len(), 1);
    assert_eq!(fake.requests_to(Endpoint::Keys).len(), 1);

    fake.rotate_keys();
    let failure = log_in_as(&federation, &settings, &ATTEMPT).await;
    assert_eq!(
        failure.expect_err("asked too recently"),
        LoginFailure::IdTokenUnknownKey
    );
    assert_eq!(fake.requests_to(Endpoint::Keys).len(), 1);

    let later = clock::now() + TimeDelta::seconds(40);
    let url = federation
        .authorization_url(&crate::provider(&settings), &ATTEMPT, later)
        .await
        .expect("a URL");
    let back = crate::browse(&url).await;
    let code = crate::query(&back, "code");
    let callback = grantlog::federation::Callback {
        code: code.as_deref(),
        ..Default::default()
    };
    federation
        .complete(&crate::provider(&settings), &callback, &ATTEMPT, later)
        .await
        .expect("a login by the new key");
    assert_eq!(fake.requests_to(Endpoint::Keys).len(), 2);
}

#[tokio::test]
async fn a_doctor_finds_what_is_wrong_before_anybody_logs_in() {
    let (fake, settings) = oidc().await;
    let check = async |settings: &Settings, secret| {
        let provider = grantlog::federation::Provider {
            client_secret: secret,
            ..crate::provider(settings)
        };
        federation().check(&provider, clock::now()).await
    };
    let secret = crate::CLIENT_SECRET;
    assert_eq!(check(&settings, secret).await, []);
    let problems = check(&settings, "wrong").await;
    assert!(problems[0].fix.contains("client_secret"), "{problems:?}");

    let stranger = Settings {
        client_id: format!("not-{CLIENT_ID}"),
        ..settings.clone()
    };
    assert_eq!(check(&stranger, secret).await.len(), 1);

    fake.behave(Behaviour::At(Endpoint::Keys, Fault::Html));
    let problems = check(&settings, secret).await;
    assert!(problems[0].fix.contains("jwks_url"), "{problems:?}");

    fake.behave(Behaviour::At(Endpoint::Discovery, Fault::Status(404)));
    let problems = check(&settings, secret).await;
    assert!(problems[0].fix.contains("issuer"), "{problems:?}");
}

#[tokio::test]
async fn a_doctor_tells_what_is_broken_from_what_cannot_be_reached() {
    for (endpoint, status, fix) in [
        (Endpoint::Token, 404, "token_url"),
        (Endpoint::Token, 500, "whoever runs the provider"),
        (Endpoint::Keys, 500, "whoever runs the provider"),
        (Endpoint::Discovery, 500, "whoever runs the provider"),
    ] {
        let (fake, settings) = oidc().await;
        fake.behave(Behaviour::At(endpoint, Fault::Status(status)));
        let problems = federation()
            .check(&crate::provider(&settings), clock::now())
            .await;
        let [problem] = problems.as_slice() else {
            panic!("{endpoint:?}: {problems:?}");
        };
        assert!(problem.what.contains(&status.to_string()), "{problem:?}");
        assert!(problem.fix.contains(fix), "{problem:?}");
    }
    let (fake, settings) = oidc().await;
    drop(fake);
    tokio::task::yield_now().await;
    let problems = federation()
        .check(&crate::provider(&settings), clock::now())
        .await;
    assert!(problems[0].fix.contains("firewall"), "{problems:?}");
}

#[tokio::test]
async fn a_malformed_member_that_may_be_absent_spoils_no_document() {
    for (name, value) in [
        ("userinfo_endpoint", json!("")),
        ("userinfo_endpoint", json!(7)),
        (
            "authorization_response_iss_parameter_supported",
            json!("true"),
        ),
        ("token_endpoint_auth_methods_supported", json!("none")),
        ("id_token_signing_alg_values_supported", json!([null])),
    ] {
        let (fake, settings) = oidc().await;
        let fault = Fault::Member(name, value.clone());
        fake.behave(Behaviour::At(Endpoint::Discovery, fault));
        let login = log_in(&settings).await;
        login.unwrap_or_else(|failure| panic!("{name} {value}: {failure}"));
    }
}

/// What the log keeps for ever has a size.
#[tokio::test]
async fn what_a_provider_tells_of_a_person_is_cut_to_size() {
    let fake = FakeProvider::start().await;
    let long = "ä".repeat(1000);
    let mut groups = vec!["analysts".to_owned(); 3000];
    groups.insert(0, "g".repeat(2000));
    fake.user(User {
        email: Some(format!("{long}@example.com")),
        name: long.clone(),
        groups,
        ..User::default()
    });
    for kind in [Kind::Oidc, Kind::Github, Kind::Oauth2] {
        let login = log_in(&fake.settings(kind)).await.expect("a login");
        assert_eq!((login.email, login.email_verified), (None, false));
        assert_eq!(login.name.expect("a name").chars().count(), 256);
        assert!(login.groups.len() <= 2048, "{kind:?}");
        assert!(login.groups.iter().all(|group| group == "analysts"));
    }
    fake.user(User {
        sub: "s".repeat(256),
        ..User::default()
    });
    for kind in [Kind::Oidc, Kind::Oauth2] {
        let failure = log_in(&fake.settings(kind)).await.expect_err("no login");
        assert_eq!(failure, LoginFailure::SubjectMissing, "{kind:?}");
    }
    let id = Fault::Member("id", json!("i".repeat(256)));
    fake.behave(Behaviour::At(Endpoint::User, id));
    let failure = log_in(&fake.settings(Kind::Github)).await;
    assert_eq!(failure.expect_err("no login"), LoginFailure::SubjectMissing);
}
