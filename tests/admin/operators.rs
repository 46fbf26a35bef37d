//! Operators and API keys: shown once, listed without secrets, ended at once.

use reqwest::Method;
use serde_json::json;
use support::Server;

use crate::rig::{Rig, idle_provider, problem, send};

const STATUS: &str = "/api/v1/status";

#[tokio::test]
async fn an_operator_is_let_in_and_out() {
    let server = Server::start().await;
    let document = json!({"name": "Ada", "role": "auditor"});
    let added = server
        .post("/api/v1/operators", &document)
        .await
        .expect(201)
        .json();
    let (id, token) = (
        added["id"].as_str().unwrap(),
        added["token"].as_str().unwrap(),
    );
    assert!(token.starts_with("gw_admin_"));
    send(&server, token, Method::GET, STATUS, None)
        .await
        .expect(200);

    let listed = server
        .get("/api/v1/operators?sort=asc")
        .await
        .expect(200)
        .json();
    let names: Vec<_> = listed["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["name"])
        .collect();
    assert_eq!(names, ["bootstrap", "Ada"]);
    let path = format!("/api/v1/operators/{id}");
    server.delete(&path).await.expect(204);
    let answer = send(&server, token, Method::GET, STATUS, None).await;
    problem(answer, 401, "token_invalid");
    problem(server.delete(&path).await, 404, "unknown_operator");
    let types = server.event_types(&format!("stream=operator-{id}")).await;
    assert_eq!(types, ["operator.added", "operator.removed"]);

    for (document, name) in [
        (json!({"name": "Ada", "role": "root"}), "role"),
        (json!({"name": " ", "role": "admin"}), "name"),
        (json!({"role": "admin"}), "name"),
        (json!({"name": "Ada", "rolle": "admin"}), "rolle"),
    ] {
        let answer = server
            .post("/api/v1/operators", &document)
            .await
            .expect(400);
        assert_eq!(answer.json()["name"], name);
    }
}

#[tokio::test]
async fn another_role_counts_from_the_next_request_on() {
    let server = Server::start().await;
    let document = json!({"name": "Ada", "role": "auditor"});
    let ada = server
        .post("/api/v1/operators", &document)
        .await
        .expect(201)
        .json();
    let (id, token) = (ada["id"].as_str().unwrap(), ada["token"].as_str().unwrap());
    let configure = || send(&server, token, Method::POST, "/api/v1/operators", None);
    problem(configure().await, 403, "role_insufficient");

    let path = format!("/api/v1/operators/{id}");
    let admin = json!({"role": "admin"});
    let changed = server.patch(&path, &admin).await.expect(200).json();
    assert_eq!(changed, json!({"id": id, "name": "Ada", "role": "admin"}));
    assert_ne!(configure().await.status, 403);
    server.patch(&path, &admin).await.expect(200);
    let types = server.event_types(&format!("stream=operator-{id}")).await;
    assert_eq!(types, ["operator.added", "operator.changed"]);

    for (patch, name) in [
        (json!({"role": "root"}), "role"),
        (json!({"role": null}), "role"),
        (json!({"name": ""}), "name"),
        (json!({"rolle": "admin"}), "rolle"),
    ] {
        let answer = server.patch(&path, &patch).await.expect(400);
        assert_eq!(answer.json()["name"], name);
    }
    let unknown = format!("/api/v1/operators/op_{}", "1".repeat(32));
    let answer = server.patch(&unknown, &admin).await;
    problem(answer, 404, "unknown_operator");
}

#[tokio::test]
async fn the_last_admin_stays() {
    let server = Server::start().await;
    let first = format!("/api/v1/operators/op_{}", "0".repeat(32));
    crate::rig::operator(&server, "responder").await;
    problem(server.delete(&first).await, 409, "last_admin");
    let auditor = json!({"role": "auditor"});
    problem(server.patch(&first, &auditor).await, 409, "last_admin");
    let document = json!({"name": "Ada", "role": "admin"});
    let ada = server
        .post("/api/v1/operators", &document)
        .await
        .expect(201)
        .json();
    server.delete(&first).await.expect(204);
    problem(server.get(STATUS).await, 401, "token_invalid");
    let path = format!("/api/v1/operators/{}", ada["id"].as_str().unwrap());
    let token = ada["token"].as_str().unwrap();
    let answer = send(&server, token, Method::DELETE, &path, None).await;
    problem(answer, 409, "last_admin");
}

/// A provider that says nothing of scopes has those of its kind, for scripts as for people.
#[tokio::test]
async fn an_api_key_may_have_the_scopes_that_its_proxy_offers() {
    let server = Server::start().await;
    let mut provider = idle_provider("idp");
    provider["scopes"] = json!("");
    server
        .post("/api/v1/providers", &provider)
        .await
        .expect(201);
    let proxy = json!({"name": "docs", "upstream_url": "http://127.0.0.1:9/mcp",
        "config": {"oauth_proxy_enabled": true, "oauth_proxy_provider_id": 1}});
    server.post("/api/v1/proxies", &proxy).await.expect(201);
    let key = json!({"name": "script", "proxy_id": 1, "scopes": "openid email"});
    server.post("/api/v1/api-keys", &key).await.expect(201);
}

#[tokio::test]
async fn an_api_key_is_issued_for_a_proxy_and_ended() {
    let rig = Rig::start().await;
    let server = &rig.server;
    let document = json!({"name": "script", "proxy_id": 1, "scopes": "read",
        "expires_at": "2999-01-01T00:00:00Z"});
    let issued = server
        .post("/api/v1/api-keys", &document)
        .await
        .expect(201)
        .json();
    assert!(issued["key"].as_str().unwrap().starts_with("gw_key_"));
    let listed = server.get("/api/v1/api-keys").await.expect(200).json();
    let row = &listed["data"][0];
    assert_eq!(
        (&row["id"], &row["scopes"]),
        (&issued["id"], &json!("read"))
    );
    assert!(row.get("key").is_none());
    let path = format!("/api/v1/api-keys/{}", issued["id"].as_str().unwrap());
    for _ in 0..2 {
        server.delete(&path).await.expect(204);
    }
    let types = server.event_types("type=api_key.*").await;
    assert_eq!(types, ["api_key.issued", "api_key.revoked"]);
    for (document, name) in [
        (json!({"name": "s", "proxy_id": 9}), "proxy_id"),
        (json!({"name": "s", "proxy_id": "1"}), "proxy_id"),
        (
            json!({"name": "s", "proxy_id": 1, "scopes": "read bogus"}),
            "scopes",
        ),
        (
            json!({"name": "s", "proxy_id": 1, "expires_at": "2001-01-01T00:00:00Z"}),
            "expires_at",
        ),
        (
            json!({"name": "s", "proxy_id": 1, "expires_at": "soon"}),
            "expires_at",
        ),
        (json!({"name": "", "proxy_id": 1}), "name"),
    ] {
        let answer = server.post("/api/v1/api-keys", &document).await.expect(400);
        assert_eq!(answer.json()["name"], name);
    }
}

#[tokio::test]
async fn the_configured_token_replaces_the_one_before() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data").display().to_string();
    let another = "gw_admin_another_one_with_at_least_32_characters";
    let setup = || Server::setup().env("GRANTLOG_STORE__DATA_DIR", &data);
    let mut server = setup().start().await;
    server.get(STATUS).await.expect(200);
    server.stop().await;
    let server = setup()
        .env("GRANTLOG_ADMIN__BOOTSTRAP_TOKEN", another)
        .start()
        .await;
    problem(server.get(STATUS).await, 401, "token_invalid");
    send(&server, another, Method::GET, STATUS, None)
        .await
        .expect(200);
    let events = format!("/api/v1/events?stream=operator-op_{}", "0".repeat(32));
    let events = send(&server, another, Method::GET, &events, None)
        .await
        .expect(200)
        .json();
    assert_eq!(events["data"][0]["type"], "operator.token_replaced");
    assert_eq!(events["data"][0]["actor"]["kind"], "system");
}
