//! Who may what: every operation of the document, with every role and without one.

use reqwest::Method;
use serde_json::{Value, json};
use support::Server;

use crate::rig::{operator, problem, send};

/// Every operation that needs an operator, with a path that names nothing.
async fn operations(server: &Server) -> Vec<(Method, String)> {
    let document = send(server, "", Method::GET, "/api/v1/openapi.json", None).await;
    let document = document.expect(200).json();
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("methods") {
            if operation.get("security").is_some() {
                let method: Method = method.to_uppercase().parse().expect("a method");
                let path = path.replace("{id}", "0").replace("{position}", "x");
                operations.push((method, path));
            }
        }
    }
    assert!(operations.len() >= 29, "{operations:?}");
    operations
}

/// What a role may, besides reading.
fn revokes(method: &Method, path: &str) -> bool {
    path == "/api/v1/revocations"
        || (*method == Method::DELETE
            && (path.starts_with("/api/v1/clients") || path.starts_with("/api/v1/api-keys")))
}

#[tokio::test]
async fn every_operation_asks_for_a_token_and_a_role() {
    let server = Server::start().await;
    let [auditor, responder] = [
        operator(&server, "auditor").await,
        operator(&server, "responder").await,
    ];
    for (method, path) in operations(&server).await {
        let body = json!({});
        let body = (method != Method::GET).then_some(&body);
        let answer = send(&server, "", method.clone(), &path, body).await;
        assert_eq!(
            answer.header("www-authenticate"),
            "Bearer realm=\"grantlog\""
        );
        problem(answer, 401, "token_missing");
        if path.ends_with("/stream") {
            continue;
        }
        for (token, revokes_too) in [(&auditor, false), (&responder, true)] {
            let may = method == Method::GET || (revokes_too && revokes(&method, &path));
            let answer = send(&server, token, method.clone(), &path, body).await;
            if may {
                assert!(![401, 403].contains(&answer.status), "{method} {path}");
            } else {
                problem(answer, 403, "role_insufficient");
            }
        }
    }
    let refused = server.events("type=request.refused").await;
    let causes: Vec<_> = refused
        .iter()
        .map(|event| &event["data"]["cause"])
        .collect();
    for cause in ["token_missing", "role_insufficient"] {
        assert!(causes.contains(&&json!(cause)), "{cause}: {refused:#?}");
    }
    let denied = refused
        .iter()
        .find(|event| event["data"]["cause"] == "role_insufficient")
        .expect("a denial");
    assert_eq!(denied["actor"]["kind"], "operator");
    assert_eq!(denied["data"]["endpoint"], "administration");
}

#[tokio::test]
async fn a_token_that_is_no_operators_is_refused_and_too_many_are_not_listened_to() {
    let server = Server::start().await;
    let status = "/api/v1/status";
    let almost = operator(&server, "auditor").await.replace('.', ".A");
    let unknown = format!("gw_admin_{}.{}", "0".repeat(32), "A".repeat(43));
    for token in ["nonsense", &almost[..85], &unknown] {
        let answer = send(&server, token, Method::GET, status, None).await;
        let challenge = "Bearer realm=\"grantlog\", error=\"invalid_token\"";
        assert_eq!(answer.header("www-authenticate"), challenge);
        problem(answer, 401, "token_invalid");
    }
    // A minute may end in between; twice the bound fits into one of two minutes.
    let mut last = 0;
    for _ in 0..60 {
        last = send(&server, "wrong", Method::GET, status, None)
            .await
            .status;
    }
    assert_eq!(last, 429);
}

#[tokio::test]
async fn requests_that_are_no_such_get_problems() {
    let server = Server::start().await;
    let providers = "/api/v1/providers";
    let post = |mime: &'static str, body: Value| {
        let request = reqwest::Client::builder()
            .no_proxy()
            .build()
            .expect("a client");
        let body = match body {
            Value::String(text) => text,
            body => body.to_string(),
        };
        request
            .post(format!("{}{providers}", server.url))
            .bearer_auth(&server.admin_token)
            .header("content-type", mime)
            .body(body)
    };
    for (request, status, code) in [
        (post("text/plain", json!({})), 415, "media_type"),
        (post("application/json", json!("{")), 400, "malformed_json"),
        (post("application/json", json!([])), 400, "malformed_json"),
        (
            post("application/json", json!("{\"name\":1,\"name\":2}")),
            400,
            "malformed_json",
        ),
        (
            post("application/json", json!({"name": "x".repeat(70_000)})),
            413,
            "body_too_large",
        ),
    ] {
        let answer = support::Answer::read(request.send().await.expect("an answer")).await;
        problem(answer, status, code);
    }
    let answer = server.admin(Method::PUT, providers, Some(&json!({}))).await;
    problem(answer, 405, "method_not_allowed");
}
