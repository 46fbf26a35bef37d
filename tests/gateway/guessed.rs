//! OAuth endpoints that clients guess at the gateway's origin.

use reqwest::Method;
use serde_json::{Value, json};

use crate::rig::Rig;

#[tokio::test]
async fn they_are_the_default_proxys() {
    let rig = Rig::new("http://127.0.0.1:9/").await;
    for path in ["oauth-authorization-server", "openid-configuration"] {
        let document = rig
            .http
            .get(rig.at(&format!("/.well-known/{path}")))
            .send()
            .await;
        let document: Value = document.expect("an answer").json().await.expect("JSON");
        assert_eq!(
            document["issuer"],
            "https://auth.example/api/v1/oauth-proxy/1"
        );
    }
    let authorize = rig
        .http
        .get(rig.at("/authorize?client_id=x&state=a%20b"))
        .send()
        .await;
    let authorize = authorize.expect("an answer");
    assert_eq!(authorize.status(), 302);
    assert_eq!(
        authorize.headers()["location"],
        "https://auth.example/api/v1/oauth-proxy/1/authorize?client_id=x&state=a%20b"
    );
    let registration = json!({
        "redirect_uris": ["http://127.0.0.1/callback"],
        "token_endpoint_auth_method": "none",
    });
    let registered = rig
        .http
        .post(rig.at("/register"))
        .json(&registration)
        .send()
        .await;
    let registered = registered.expect("an answer");
    assert_eq!(registered.status(), 201);
    let client: Value = registered.json().await.expect("JSON");
    let client_id = client["client_id"].as_str().expect("an id");
    let form = [
        ("grant_type", "authorization_code"),
        ("code", "x"),
        ("client_id", client_id),
    ];
    let token = rig
        .http
        .post(rig.at("/token"))
        .form(&form)
        .send()
        .await
        .expect("an answer");
    assert_eq!(token.status(), 400);
    let error: Value = token.json().await.expect("JSON");
    assert_eq!(error["error"], "invalid_grant");
    let posted = rig
        .http
        .request(Method::POST, rig.at("/authorize"))
        .send()
        .await;
    assert_eq!(posted.expect("an answer").status(), 405);
}
