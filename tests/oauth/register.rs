//! Registration and its management (RFC 7591, RFC 7592).

use serde_json::{Value, json};
use support::{Answer, plain_http};

use crate::rig::{Rig, refused};

fn with(member: &str, value: Value) -> Value {
    let mut metadata = support::public_client();
    metadata[member] = value;
    metadata
}

#[tokio::test]
async fn what_may_be_registered_is_echoed_without_nulls() {
    let rig = Rig::start().await;
    let mut unsaid = support::public_client();
    let members = unsaid.as_object_mut().expect("an object");
    members.remove("token_endpoint_auth_method");
    members.remove("grant_types");
    for (metadata, method) in [
        (support::public_client(), "none"),
        (support::confidential_client(), "client_secret_post"),
        (unsaid, "client_secret_basic"),
        (with("x-unknown", json!({"deep": [1]})), "none"),
        (with("application_type", json!("web")), "none"),
    ] {
        let answer = rig.proxy.try_register(&metadata).await.expect(201);
        assert_eq!(answer.header("cache-control"), "no-store");
        let body = answer.json();
        assert!(!answer.body.contains("null"), "{body}");
        assert_eq!(body["token_endpoint_auth_method"], method);
        assert!(
            body["client_id"]
                .as_str()
                .expect("an id")
                .starts_with("gateway_")
        );
        let secret = body.get("client_secret").and_then(Value::as_str);
        assert_eq!(
            secret.is_some_and(|s| s.starts_with("gw_secret_")),
            method != "none"
        );
        if metadata.get("grant_types").is_none() {
            assert_eq!(body["grant_types"], json!(["authorization_code"]));
        }
    }
}

#[tokio::test]
async fn redirect_uris_that_are_refused() {
    let rig = Rig::start().await;
    for uri in [
        "https://app.example/cb", // not on the list: loopback only
        "http://localhost/cb#x",
        "/cb",
        "http://localhost.evil.com/",
        "http://127.0.0.1.evil.com/",
        "http://0.0.0.0/",
        "https:///cb",
        " http://localhost/cb",
        "javascript:alert(1)",
        "JAVASCRIPT:alert(1)",
        "data:text/html,x",
        "http://user@localhost/cb",
        "http://localhost/*",
        "evil://x",
        "\thttp://localhost/",
    ] {
        let answer = rig
            .proxy
            .try_register(&with("redirect_uris", json!([uri])))
            .await;
        refused(answer, 400, "invalid_redirect_uri");
    }
    for uris in [
        json!([]),
        json!("x"),
        json!(vec!["http://localhost/"; 21]),
        Value::Null,
    ] {
        let answer = rig.proxy.try_register(&with("redirect_uris", uris)).await;
        refused(answer, 400, "invalid_redirect_uri");
    }
    assert!(rig.server.events("type=client.registered").await.is_empty());
}

#[tokio::test]
async fn metadata_that_is_refused() {
    let rig = Rig::start().await;
    for (member, value) in [
        ("response_types", json!(["token"])),
        ("token_endpoint_auth_method", json!("tls_client_auth")),
        ("client_uri", json!("javascript:alert(1)")),
        ("logo_uri", json!("http://127.0.0.1/logo.png")),
        ("jwks_uri", json!("http://169.254.169.254/")),
        ("grant_types", json!(["implicit"])),
    ] {
        let answer = rig.proxy.try_register(&with(member, value)).await;
        refused(answer, 400, "invalid_client_metadata");
    }
    let post = async |body: String, mime: &str| {
        let url = format!("{}/register", rig.proxy.issuer);
        let sent = plain_http()
            .post(url)
            .header("content-type", mime)
            .body(body);
        Answer::read(sent.send().await.expect("an answer")).await
    };
    for body in [
        "",
        "[]",
        "{",
        r#"{"redirect_uris":[],"redirect_uris":[]}"#,
        "a=b",
    ] {
        refused(
            post(body.to_owned(), "application/json").await,
            400,
            "invalid_client_metadata",
        );
    }
    let form = post("a=b".to_owned(), "application/x-www-form-urlencoded").await;
    assert_eq!(
        form.json()["error_description"],
        "expected application/json"
    );
    refused(form, 400, "invalid_client_metadata");
    refused(
        post("[".repeat(10_000), "application/json").await,
        400,
        "invalid_client_metadata",
    );
    refused(
        post(" ".repeat(70_000), "application/json").await,
        413,
        "invalid_request",
    );
}

#[tokio::test]
async fn a_registration_is_managed_with_its_token_alone() {
    let rig = Rig::start().await;
    let registered = rig
        .proxy
        .try_register(&support::confidential_client())
        .await
        .expect(201)
        .json();
    let url = registered["registration_client_uri"]
        .as_str()
        .expect("a URL");
    let token = registered["registration_access_token"]
        .as_str()
        .expect("a token");
    let http = plain_http();
    let read = async |token: &str| {
        Answer::read(
            http.get(url)
                .bearer_auth(token)
                .send()
                .await
                .expect("an answer"),
        )
        .await
    };
    assert_eq!(
        read(token).await.expect(200).json()["client_id"],
        registered["client_id"]
    );
    let wrong = read("wrong").await;
    assert_eq!(
        wrong.header("www-authenticate"),
        "Bearer error=\"invalid_token\""
    );
    refused(wrong, 401, "invalid_token");
    // Nothing was wrong with what was not presented (RFC 6750 §3.1).
    let none = http.get(url).send().await.expect("an answer");
    let none = Answer::read(none).await.expect(401);
    assert_eq!(none.header("www-authenticate"), "Bearer");
    let other = rig
        .proxy
        .try_register(&support::public_client())
        .await
        .expect(201)
        .json();
    read(
        other["registration_access_token"]
            .as_str()
            .expect("a token"),
    )
    .await
    .expect(401);

    let changed = with("client_name", json!("Renamed"));
    let put = http
        .put(url)
        .bearer_auth(token)
        .json(&changed)
        .send()
        .await
        .expect("an answer");
    let put = Answer::read(put).await.expect(200).json();
    assert_eq!(put["client_name"], "Renamed");
    let next = put["registration_access_token"].as_str().expect("a token");
    read(token).await.expect(401);
    read(next).await.expect(200);
    let gone = http
        .delete(url)
        .bearer_auth(next)
        .send()
        .await
        .expect("an answer");
    assert_eq!(gone.status(), 204);
    read(next).await.expect(401);
}

/// RFC 7592 §2.2: what an update says of the client must be so; who may ask comes before all of it.
#[tokio::test]
async fn an_update_is_for_the_client_it_names() {
    let rig = Rig::start().await;
    let client = rig.proxy.register(support::confidential_client()).await;
    let member = |name: &str| client.registration[name].as_str().expect("text");
    let url = member("registration_client_uri");
    let put = async |token: &str, document: &Value| {
        let sent = plain_http().put(url).bearer_auth(token).json(document);
        Answer::read(sent.send().await.expect("an answer")).await
    };
    let token = member("registration_access_token");
    for (name, value) in [
        ("client_id", json!("gateway_other")),
        ("client_id", json!(1)),
        ("client_secret", json!("of my choice")),
    ] {
        let document = with(name, value);
        refused(put(token, &document).await, 400, "invalid_client_metadata");
    }
    refused(put("wrong", &json!([])).await, 401, "invalid_token");
    let mut whole = support::confidential_client();
    whole["client_id"] = json!(client.id);
    whole["client_secret"] = json!(client.secret);
    put(token, &whole).await.expect(200);
}

#[tokio::test]
async fn other_methods_and_other_proxies() {
    let rig = Rig::start().await;
    let url = format!("{}/register", rig.proxy.issuer);
    let got = plain_http().get(&url).send().await.expect("an answer");
    assert_eq!(got.status(), 405);
    assert!(got.headers().contains_key("allow"));
    for proxy in ["2", "0", "01", "x", "-1", "4294967296"] {
        let url = format!("{}/api/v1/oauth-proxy/{proxy}/register", rig.server.url);
        let sent = plain_http()
            .post(url)
            .json(&support::public_client())
            .send()
            .await;
        let answer = Answer::read(sent.expect("an answer")).await;
        refused(answer, 404, "proxy_not_found");
    }
}

#[tokio::test]
async fn browsers_of_any_origin_may_register() {
    let rig = Rig::start().await;
    let url = format!("{}/register", rig.proxy.issuer);
    let preflight = plain_http()
        .request(reqwest::Method::OPTIONS, &url)
        .header("origin", "http://localhost:6274")
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "content-type, authorization, mcp-protocol-version",
        );
    let preflight = preflight.send().await.expect("an answer");
    assert!(preflight.status().is_success());
    assert_eq!(preflight.headers()["access-control-allow-origin"], "*");
    assert!(
        !preflight
            .headers()
            .contains_key("access-control-allow-credentials")
    );
    let refused = plain_http()
        .post(&url)
        .header("origin", "http://localhost:6274")
        .body("[]");
    let refused = refused.send().await.expect("an answer");
    assert_eq!(refused.headers()["access-control-allow-origin"], "*");
}
