use super::*;
use crate::demo::browser::{Browser, Landed};
use crate::demo::check::{body, http_client};
use jsonwebtoken::{DecodingKey, Validation};
use serde_json::Value;
use sha2::{Digest, Sha256};
use url::Url;

const REDIRECT_URI: &str = "http://127.0.0.1:1/callback";
const VERIFIER: &str = "0123456789012345678901234567890123456789012";

/// A running provider with its client's redirect URI registered.
async fn started() -> IdentityProvider {
    let provider = IdentityProvider::start().await.unwrap();
    provider.register_redirect_uri(REDIRECT_URI);
    provider
}

/// A good authorization request, with some parameters replaced, or left out where empty.
fn request(provider: &IdentityProvider, changed: &[(&str, &str)]) -> Url {
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
    let good = [
        ("response_type", "code"),
        ("client_id", CLIENT_ID),
        ("redirect_uri", REDIRECT_URI),
        ("scope", "openid email"),
        ("state", "s & t"),
        ("nonce", "n"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    let mut url = Url::parse(provider.issuer())
        .unwrap()
        .join("/authorize")
        .unwrap();
    for (name, value) in good {
        let value = changed
            .iter()
            .find(|(changed, _)| *changed == name)
            .map_or(value, |(_, v)| v);
        if !value.is_empty() {
            url.query_pairs_mut().append_pair(name, value);
        }
    }
    url
}

fn browser() -> Browser {
    Browser::new(Url::parse(REDIRECT_URI).unwrap()).unwrap()
}

fn parameter(url: &Url, wanted: &str) -> Option<String> {
    let found = url.query_pairs().find(|(name, _)| name == wanted);
    found.map(|(_, value)| value.into_owned())
}

/// Where `fields` on the login page lead.
async fn log_in(provider: &IdentityProvider, fields: &[(&str, &str)]) -> Landed {
    let mut browser = browser();
    let page = browser
        .open(request(provider, &[]))
        .await
        .unwrap()
        .page("login")
        .unwrap();
    browser.submit(&page, fields).await.unwrap()
}

/// A fresh code for Ada.
async fn code(provider: &IdentityProvider) -> String {
    let [ada, ..] = &PEOPLE;
    let landed = log_in(provider, &[("login", "ada"), ("password", ada.password)]).await;
    parameter(&landed.answer("a code").unwrap(), "code").unwrap()
}

async fn exchange(provider: &IdentityProvider, status: StatusCode, form: &[(&str, &str)]) -> Value {
    let response = http_client("test", None)
        .unwrap()
        .post(format!("{}/token", provider.issuer()))
        .basic_auth(CLIENT_ID, Some(provider.client_secret()))
        .form(form)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), status);
    response.json().await.unwrap()
}

async fn redeem(provider: &IdentityProvider, status: StatusCode, code: &str) -> Value {
    exchange(
        provider,
        status,
        &[
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", REDIRECT_URI),
            ("code_verifier", VERIFIER),
        ],
    )
    .await
}

async fn get(url: &str) -> Value {
    let response = http_client("test", None)
        .unwrap()
        .get(url)
        .send()
        .await
        .unwrap();
    body(response, StatusCode::OK).await.unwrap()
}

#[tokio::test]
async fn a_login_gives_an_id_token_that_its_published_key_verifies() {
    let provider = started().await;
    let discovered = get(&format!(
        "{}/.well-known/openid-configuration",
        provider.issuer()
    ))
    .await;
    assert_eq!(discovered["issuer"], provider.issuer());
    let tokens = redeem(&provider, StatusCode::OK, &code(&provider).await).await;

    let keys: JwkSet =
        serde_json::from_value(get(discovered["jwks_uri"].as_str().unwrap()).await).unwrap();
    let id_token = tokens["id_token"].as_str().unwrap();
    let key_id = jsonwebtoken::decode_header(id_token).unwrap().kid.unwrap();
    let key = DecodingKey::from_jwk(keys.find(&key_id).unwrap()).unwrap();
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&[CLIENT_ID]);
    validation.set_issuer(&[provider.issuer()]);
    let claims = jsonwebtoken::decode::<Value>(id_token, &key, &validation)
        .unwrap()
        .claims;
    assert_eq!(claims["nonce"], "n");
    assert_eq!(claims["email"], "ada@demo");
    assert_eq!(claims["email_verified"], true);

    let userinfo = http_client("test", None)
        .unwrap()
        .get(discovered["userinfo_endpoint"].as_str().unwrap())
        .bearer_auth(tokens["access_token"].as_str().unwrap())
        .send()
        .await
        .unwrap();
    let userinfo = body(userinfo, StatusCode::OK).await.unwrap();
    assert_eq!(userinfo["sub"], claims["sub"]);
}

#[tokio::test]
async fn the_answer_carries_state_and_issuer() {
    let provider = started().await;
    let [_, grace, _] = &PEOPLE;
    let fields = [("login", grace.login), ("password", grace.password)];
    let answer = log_in(&provider, &fields).await.answer("a code").unwrap();
    assert_eq!(parameter(&answer, "state").as_deref(), Some("s & t"));
    assert_eq!(
        parameter(&answer, "iss").as_deref(),
        Some(provider.issuer())
    );
}

#[tokio::test]
async fn a_wrong_password_asks_again_and_cancelling_denies() {
    let provider = started().await;
    let Landed::Page(page) = log_in(&provider, &[("login", "ada"), ("password", "x")]).await else {
        panic!("expected the login page");
    };
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    assert!(page.html.contains("Unknown login or wrong password"));
    let answer = log_in(&provider, &[("decision", "deny")])
        .await
        .answer("a no")
        .unwrap();
    assert_eq!(
        parameter(&answer, "error").as_deref(),
        Some("access_denied")
    );
    assert_eq!(parameter(&answer, "code"), None);
}

#[tokio::test]
async fn codes_and_refresh_tokens_work_once() {
    let provider = started().await;
    let code = code(&provider).await;
    let tokens = redeem(&provider, StatusCode::OK, &code).await;
    let again = redeem(&provider, StatusCode::BAD_REQUEST, &code).await;
    assert_eq!(again["error"], "invalid_grant");

    let refresh = [
        ("grant_type", "refresh_token"),
        ("refresh_token", tokens["refresh_token"].as_str().unwrap()),
    ];
    let next = exchange(&provider, StatusCode::OK, &refresh).await;
    assert_ne!(next["access_token"], tokens["access_token"]);
    let again = exchange(&provider, StatusCode::BAD_REQUEST, &refresh).await;
    assert_eq!(again["error"], "invalid_grant");
}

#[tokio::test]
async fn a_code_needs_its_verifier_redirect_uri_and_client() {
    let provider = started().await;
    for (name, wrong) in [
        (
            "code_verifier",
            "another-verifier-another-verifier-another-v",
        ),
        ("redirect_uri", "http://127.0.0.1:2/callback"),
    ] {
        let code = code(&provider).await;
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("redirect_uri", REDIRECT_URI),
            ("code_verifier", VERIFIER),
        ]
        .map(|(field, value)| (field, if field == name { wrong } else { value }));
        let answer = exchange(&provider, StatusCode::BAD_REQUEST, &form).await;
        assert_eq!(answer["error"], "invalid_grant", "{name}");
    }
    let response = http_client("test", None)
        .unwrap()
        .post(format!("{}/token", provider.issuer()))
        .form(&[
            ("grant_type", "refresh_token"),
            ("client_id", CLIENT_ID),
            ("client_secret", "x"),
        ])
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert!(response.headers().contains_key(header::WWW_AUTHENTICATE));
}

#[tokio::test]
async fn an_untrusted_redirect_uri_is_never_followed() {
    let provider = started().await;
    for changed in [
        ("client_id", "somebody"),
        ("client_id", ""),
        ("redirect_uri", "http://127.0.0.1:1/callback/"),
        ("redirect_uri", ""),
    ] {
        let Landed::Page(page) = browser()
            .open(request(&provider, &[changed]))
            .await
            .unwrap()
        else {
            panic!("{changed:?} was redirected");
        };
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{changed:?}");
    }
}

#[tokio::test]
async fn a_faulty_request_is_refused_at_the_redirect_uri() {
    let provider = started().await;
    for (changed, error) in [
        (("response_type", "token"), "unsupported_response_type"),
        (("scope", "email"), "invalid_scope"),
        (("code_challenge", ""), "invalid_request"),
        (("code_challenge_method", "plain"), "invalid_request"),
    ] {
        let landed = browser()
            .open(request(&provider, &[changed]))
            .await
            .unwrap();
        let answer = landed.answer("an error").unwrap();
        assert_eq!(
            parameter(&answer, "error").as_deref(),
            Some(error),
            "{changed:?}"
        );
        assert_eq!(parameter(&answer, "state").as_deref(), Some("s & t"));
    }
}
