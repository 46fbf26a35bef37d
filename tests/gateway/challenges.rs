//! Who is not let through, and how they are told.

use domain::id::ProxyId;
use domain::proxy::{self, Proxy};
use grantlog::tokens::access::Claims;
use reqwest::{Method, Response};
use serde_json::Value;

use crate::rig::{Rig, system};
use crate::upstream::Upstream;

fn challenge(response: &Response) -> String {
    let value = response.headers().get("www-authenticate");
    value.map_or(String::new(), |value| {
        value.to_str().expect("text").to_owned()
    })
}

#[track_caller]
fn check_invalid(rig: &Rig, response: &Response) {
    let metadata = rig.at("/.well-known/oauth-protected-resource/mcp");
    assert_eq!(response.status(), 401);
    assert_eq!(
        challenge(response),
        format!("Bearer error=\"invalid_token\", resource_metadata=\"{metadata}\", scope=\"read\"")
    );
}

#[tokio::test]
async fn without_credentials_every_method_is_challenged_and_no_error_is_named() {
    let upstream = Upstream::start().await;
    let rig = Rig::new(&upstream.url).await;
    let methods = [
        "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "TRACE", "PURGE",
    ];
    for path in ["/mcp", "/mcp/", "/proxy/1/mcp", "/proxy/1/mcp/"] {
        let metadata = rig.at(&format!("/.well-known/oauth-protected-resource{path}"));
        let expected = format!("Bearer resource_metadata=\"{metadata}\", scope=\"read\"");
        for method in methods {
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            let request = rig.http.request(method, rig.at(path));
            let response = request.send().await.expect("an answer");
            assert_eq!(response.status(), 401);
            assert_eq!(challenge(&response), expected);
            assert_eq!(response.headers()["x-content-type-options"], "nosniff");
            assert!(response.headers().contains_key("x-request-id"));
        }
        let document = rig.http.get(metadata).send().await.expect("an answer");
        let document: Value = document.json().await.expect("JSON");
        assert_eq!(document["resource"], rig.at(path));
    }
    let basic = rig.http.get(rig.at("/mcp")).basic_auth("a", Some("b"));
    let response = basic.send().await.expect("an answer");
    assert!(!challenge(&response).contains("error"));
    let body: Value = response.json().await.expect("JSON");
    assert!(body.get("error").is_none());
    let refusals = rig.refusals().await;
    assert_eq!(refusals["no_credentials"], 4 * methods.len() as u64);
    assert_eq!(refusals["other_scheme"], 1);
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn tokens_that_are_not_for_here_and_now_are_invalid() {
    let upstream = Upstream::start().await;
    let rig = Rig::new(&upstream.url).await;
    rig.add_proxy(2, &upstream.url, |_| {}, None).await;
    let granted = rig.grant("read").await;
    let changed = |change: fn(&mut Claims)| {
        let mut claims = granted.claims.clone();
        change(&mut claims);
        rig.mint(&claims)
    };
    let (message, _) = granted.token.rsplit_once('.').expect("a JWT");
    let payload = message.split('.').nth(1).expect("a JWT");
    let unsigned = format!("eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0.{payload}.");
    let tokens = [
        ("malformed", String::new()),
        ("malformed", "x".to_owned()),
        ("malformed", "a.b.c".to_owned()),
        ("malformed", "a".repeat(20_000)),
        ("malformed", unsigned),
        (
            "malformed",
            "gw_refresh_00000000000000000000000000000000.1.abc".to_owned(),
        ),
        ("bad_signature", format!("{message}.{}", "A".repeat(43))),
        ("expired", changed(|claims| claims.exp = claims.iat - 1)),
        ("wrong_audience", changed(|claims| claims.aud.push('2'))),
        ("wrong_issuer", changed(|claims| claims.iss.push('2'))),
        ("malformed_api_key", "gw_key_x".to_owned()),
    ];
    for (cause, token) in &tokens {
        let response = rig.call(token).await;
        check_invalid(&rig, &response);
        let body: Value = response.json().await.expect("JSON");
        assert_eq!(body["error"], "invalid_token", "{cause}");
    }
    let elsewhere = rig
        .post("/proxy/2/mcp", &granted.token)
        .send()
        .await
        .expect("an answer");
    assert_eq!(elsewhere.status(), 401);
    rig.revoke(granted.id).await;
    check_invalid(&rig, &rig.call(&granted.token).await);
    let refusals = rig.refusals().await;
    for (cause, count) in [
        ("malformed", 6),
        ("bad_signature", 1),
        ("expired", 1),
        ("wrong_audience", 1),
        ("wrong_issuer", 2),
        ("malformed_api_key", 1),
        ("revoked", 1),
    ] {
        assert_eq!(refusals[cause], count, "{cause}");
    }
    assert!(upstream.received().is_empty());
    for event in rig
        .app()
        .log
        .read_after_blocking(0, 10_000)
        .expect("the log is read")
    {
        let text = String::from_utf8_lossy(&event.entry);
        assert!(!text.contains(payload) && !text.contains(&granted.token));
    }
}

#[tokio::test]
async fn a_token_for_the_default_endpoint_is_good_there_alone() {
    let upstream = Upstream::start().await;
    let rig = Rig::new(&upstream.url).await;
    let mut granted = rig.grant("read").await;
    for path in ["/mcp", "/mcp/", "/proxy/1/mcp", "/proxy/1/mcp/x"] {
        let response = rig.post(path, &granted.token).send().await;
        assert_eq!(response.expect("an answer").status(), 200);
    }
    granted.claims.aud = rig.at("/mcp");
    let narrow = rig.mint(&granted.claims);
    for (path, status) in [
        ("/mcp", 200),
        ("/mcp/", 200),
        ("/mcp/x", 200),
        ("/proxy/1/mcp", 401),
    ] {
        let response = rig.post(path, &narrow).send().await;
        assert_eq!(response.expect("an answer").status(), status, "{path}");
    }
}

#[tokio::test]
async fn tokens_in_other_places_or_twice_are_invalid_requests() {
    let upstream = Upstream::start().await;
    let rig = Rig::new(&upstream.url).await;
    let token = rig.grant("read").await.token;
    let bearer = format!("Bearer {token}");
    let post = |path: &str| rig.http.post(rig.at(path));
    let requests = [
        post(&format!("/mcp?access_token={token}")),
        rig.post("/mcp?access_token=x", &token),
        post("/mcp")
            .header("authorization", &bearer)
            .header("authorization", &bearer),
        post("/mcp").header("authorization", format!("{bearer}, {bearer}")),
        rig.post("/mcp", &token).header("x-api-key", "gw_key_x"),
        post("/mcp").form(&[("access_token", &token)]),
        post("/mcp")
            .header("authorization", &bearer)
            .form(&[("access_token", &token)]),
    ];
    for request in requests {
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 400);
        assert!(challenge(&response).starts_with("Bearer error=\"invalid_request\", resource_"));
        let body: Value = response.json().await.expect("JSON");
        assert_eq!(body["error"], "invalid_request");
    }
    assert!(upstream.received().is_empty());
    let form = post("/mcp")
        .header("authorization", &bearer)
        .form(&[("a", "b")]);
    assert_eq!(form.send().await.expect("an answer").status(), 200);
    assert_eq!(upstream.only().body, "a=b");
}

#[tokio::test]
async fn a_scope_that_is_too_small_is_told_everything_it_needs() {
    let upstream = Upstream::start().await;
    let rig = Rig::with(&upstream.url, |settings| {
        settings.required_scopes = "read write".parse().expect("a scope");
    })
    .await;
    let metadata = rig.at("/.well-known/oauth-protected-resource/mcp");
    let small = rig.grant("extra offline_access read").await;
    let response = rig.call(&small.token).await;
    assert_eq!(response.status(), 403);
    assert_eq!(
        challenge(&response),
        format!(
            "Bearer error=\"insufficient_scope\", resource_metadata=\"{metadata}\", \
             scope=\"extra read write\""
        )
    );
    let body: Value = response.json().await.expect("JSON");
    assert_eq!(body["error"], "insufficient_scope");
    assert_eq!(rig.count("grant.access_token_first_used"), 0);
    let enough = rig.grant("write read").await;
    assert_eq!(rig.call(&enough.token).await.status(), 200);
    let nobody = rig
        .http
        .get(rig.at("/mcp"))
        .send()
        .await
        .expect("an answer");
    assert!(challenge(&nobody).ends_with("scope=\"read write\""));
}

#[tokio::test]
async fn a_proxy_that_is_not_there_or_is_off_is_not_found_whatever_the_method() {
    let upstream = Upstream::start().await;
    let rig = Rig::new(&upstream.url).await;
    rig.add_proxy(2, &upstream.url, |settings| settings.enabled = false, None)
        .await;
    let token = rig.grant("read").await.token;
    for path in [
        "/proxy/2/mcp",
        "/proxy/3/mcp",
        "/proxy/01/mcp",
        "/proxy/x/mcp/y",
        "/proxy/0/mcp",
    ] {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            let request = rig.http.request(method, rig.at(path)).bearer_auth(&token);
            let response = request.send().await.expect("an answer");
            assert_eq!(response.status(), 404);
            let body: Value = response.json().await.expect("JSON");
            assert_eq!(body["error"], "proxy_not_found");
        }
    }
    let from = (*rig.app().directory.proxy(ProxyId(1)).expect("proxy 1")).clone();
    let mut off = from.clone();
    off.settings.enabled = false;
    let command = proxy::Command::Change {
        from: Box::new(from),
        settings: Box::new(off.settings),
        private_version: None,
        provider_is_known: true,
    };
    let changed = rig
        .app()
        .execute::<Proxy>(ProxyId(1), command, &system())
        .await;
    assert!(changed.is_ok());
    assert_eq!(rig.call(&token).await.status(), 404);
    assert_eq!(
        rig.http
            .get(rig.at("/x"))
            .send()
            .await
            .expect("an answer")
            .status(),
        404
    );
    assert!(upstream.received().is_empty());
}
