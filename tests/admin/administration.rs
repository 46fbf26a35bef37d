//! Providers, proxies and clients: added, changed by merging, removed; and what is never told.

use serde_json::{Value, json};
use support::Server;

use crate::rig::{Rig, UPSTREAM_KEY, idle_provider, problem};

async fn proxy_document(server: &Server) -> Value {
    let provider = server.add_provider(&idle_provider("idp")).await;
    json!({
        "name": "files",
        "upstream_url": "http://127.0.0.1:9/mcp",
        "config": {"oauth_proxy_provider_id": provider},
    })
}

#[tokio::test]
async fn a_list_goes_on_where_it_was_though_the_last_row_shown_is_gone() {
    let server = Server::start().await;
    for _ in 0..4 {
        server.add_provider(&idle_provider("idp")).await;
    }
    for (sort, shown, next) in [("asc", 1, 2), ("desc", 4, 3)] {
        let path = format!("/api/v1/providers?limit=1&sort={sort}");
        let page = server.get(&path).await.expect(200).json();
        assert_eq!(page["data"][0]["id"], shown);
        let cursor = page["next"].as_str().expect("there is more").to_owned();
        let gone = format!("/api/v1/providers/{shown}");
        server.delete(&gone).await.expect(204);
        let page = server.get(&format!("{path}&cursor={cursor}")).await;
        assert_eq!(page.expect(200).json()["data"][0]["id"], next);
    }
}

#[tokio::test]
async fn a_provider_is_added_changed_and_removed() {
    let server = Server::start().await;
    let added = server
        .post("/api/v1/providers", &idle_provider("idp"))
        .await;
    let added = added.expect(201).json();
    assert_eq!(added["id"], 1);
    assert_eq!(added["callback_url"], server.callback_url(1));
    assert_eq!(added["type"], "oidc");
    let path = "/api/v1/providers/1";
    assert_eq!(server.get(path).await.expect(200).json(), added);

    let change = json!({"name": "renamed", "scopes": "openid", "client_secret": "another"});
    for _ in 0..2 {
        let changed = server.patch(path, &change).await.expect(200).json();
        assert_eq!(changed["name"], "renamed");
        assert_eq!(changed["issuer"], added["issuer"]);
    }
    let removed = server.patch(path, &json!({"issuer": null})).await;
    problem(removed, 400, "provider_incomplete");
    server.delete(path).await.expect(204);
    problem(server.get(path).await, 404, "unknown_provider");
    problem(server.delete(path).await, 404, "unknown_provider");
    let next = server.add_provider(&idle_provider("idp")).await;
    assert_eq!(next, 2, "a number is never given out again");

    let types = server.event_types("stream=provider-1").await;
    let expected = ["provider.added", "provider.changed", "provider.removed"];
    assert_eq!(types, expected, "the same change twice is one event");
}

#[tokio::test]
async fn documents_name_what_is_wrong_with_them() {
    let server = Server::start().await;
    let mut proxy = proxy_document(&server).await;
    for (member, value, code, name) in [
        ("tipe", json!("okta"), "unknown_member", "tipe"),
        ("type", json!("saml"), "invalid_member", "type"),
        ("type", json!(null), "missing_member", "type"),
        ("name", json!(""), "invalid_member", "name"),
        ("client_secret", json!(7), "invalid_member", "client_secret"),
        (
            "client_secret",
            json!(" "),
            "invalid_member",
            "client_secret",
        ),
        (
            "client_secret",
            json!(null),
            "missing_member",
            "client_secret",
        ),
        ("scopes", json!("a\"b"), "invalid_member", "scopes"),
        ("issuer", json!("not a URL"), "invalid_member", "issuer"),
    ] {
        let mut document = idle_provider("idp");
        document[member] = value;
        let answer = server.post("/api/v1/providers", &document).await;
        let problem = problem(answer, 400, code);
        assert_eq!(problem["name"], name, "{problem}");
    }
    let mut document = idle_provider("idp");
    document["tipe"] = json!("okta");
    let answer = server.post("/api/v1/providers", &document).await;
    let detail = problem(answer, 400, "unknown_member")["detail"].clone();
    assert_eq!(detail, "unknown member `tipe`, did you mean `type`?");

    for (member, value, code) in [
        ("oauth_proxy_enabeld", json!(true), "unknown_member"),
        ("oauth_proxy_mode", json!("passthrough"), "invalid_member"),
        ("oauth_proxy_provider_id", json!(99), "invalid_member"),
        ("oauth_proxy_provider_id", json!(null), "missing_member"),
        ("oauth_proxy_grant_seconds", json!(0), "invalid_member"),
        ("oauth_proxy_grant_seconds", json!("long"), "invalid_member"),
        (
            "oauth_proxy_allowed_redirects",
            json!(["https://*.example"]),
            "invalid_member",
        ),
        (
            "oauth_proxy_upstream_headers",
            json!({"Host": "x"}),
            "invalid_member",
        ),
        ("oauth_proxy_token_alg", json!("none"), "invalid_member"),
    ] {
        let mut document = proxy.clone();
        document["config"][member] = value;
        let answer = server.post("/api/v1/proxies", &document).await;
        let problem = problem(answer, 400, code);
        assert_eq!(problem["name"], member, "{problem}");
    }
    proxy["config"]["oauth_proxy_mode"] = json!("passthrough");
    let answer = server.post("/api/v1/proxies", &proxy).await;
    let problem = problem(answer, 400, "invalid_member");
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.contains("MCP specification forbids"), "{detail}");
    let none: [String; 0] = [];
    assert_eq!(server.event_types("type=proxy.*").await, none);
}

#[tokio::test]
async fn a_proxy_is_changed_by_merging_and_keeps_its_secrets() {
    let server = Server::start().await;
    let mut document = proxy_document(&server).await;
    document["config"]["oauth_proxy_upstream_auth"] = json!("static");
    document["config"]["oauth_proxy_upstream_headers"] = json!({"X-Key": "one", "X-Other": "two"});
    document["config"]["oauth_proxy_allowed_subjects"] = json!(["example.com"]);
    let added = server
        .post("/api/v1/proxies", &document)
        .await
        .expect(201)
        .json();
    assert_eq!(
        added["mcp_url"],
        format!("{}/proxy/1/mcp", server.gateway_url)
    );
    assert_eq!(
        added["issuer"],
        format!("{}/api/v1/oauth-proxy/1", server.url)
    );
    let config = &added["config"];
    assert_eq!(config["oauth_proxy_require_consent"], true);
    assert_eq!(
        config["oauth_proxy_allowed_subjects"],
        json!(["example.com"])
    );
    assert!(config.get("oauth_proxy_upstream_headers").is_none());

    let path = "/api/v1/proxies/1";
    let version = async || {
        let events = server.events("stream=proxy-1").await;
        events.last().expect("an event")["data"]["private_version"].clone()
    };
    let before = version().await;
    let change = json!({"config": {"oauth_proxy_enabled": false}});
    let changed = server.patch(path, &change).await.expect(200).json();
    assert_eq!(changed["config"]["oauth_proxy_enabled"], false);
    assert_eq!(version().await, before, "what is private did not change");
    server.patch(path, &change).await.expect(200);
    let headers = json!({"config": {"oauth_proxy_upstream_headers": {"X-Other": null}}});
    server.patch(path, &headers).await.expect(200);
    let after = version().await;
    assert_ne!(after, before);
    server.patch(path, &headers).await.expect(200);
    assert_eq!(version().await, after);
    let types = server.event_types("stream=proxy-1").await;
    assert_eq!(types, ["proxy.added", "proxy.changed", "proxy.changed"]);

    let used = server.delete("/api/v1/providers/1").await;
    problem(used, 409, "provider_in_use");
    server.delete(path).await.expect(204);
    server.delete("/api/v1/providers/1").await.expect(204);
}

/// How many versions of a secret the vault holds.
fn secrets(server: &Server, owner: &str) -> u32 {
    let vault = server.folder().join("data").join("vault.db");
    let vault = rusqlite::Connection::open(vault).expect("the vault opens");
    let count = "SELECT count(*) FROM secret WHERE owner = ?";
    let count = vault.query_row(count, [owner], |row| row.get(0));
    count.expect("a number")
}

#[tokio::test]
async fn no_secret_survives_its_owner() {
    let server = Server::start().await;
    let document = proxy_document(&server).await;
    server.post("/api/v1/proxies", &document).await.expect(201);
    let (provider, proxy) = ("/api/v1/providers/1", "/api/v1/proxies/1");
    for n in 0..4 {
        let change = json!({"client_secret": format!("secret {n}")});
        server.patch(provider, &change).await.expect(200);
        let headers = json!({"X-Key": format!("key {n}")});
        let change = json!({"config": {"oauth_proxy_upstream_headers": headers}});
        server.patch(proxy, &change).await.expect(200);
    }
    for owner in ["proxy-1", "provider-1"] {
        assert!(secrets(&server, owner) > 1, "of {owner}");
    }
    for (path, owner) in [(proxy, "proxy-1"), (provider, "provider-1")] {
        server.delete(path).await.expect(204);
        assert_eq!(secrets(&server, owner), 0, "of {owner}");
    }
}

#[tokio::test]
async fn removing_a_client_or_a_proxy_ends_its_grants() {
    let rig = Rig::start().await;
    let (one, other) = (rig.log_in().await, rig.log_in().await);
    let path = format!("/api/v1/clients/{}", one.client.id);
    let client = rig.server.get(&path).await.expect(200).json();
    assert_eq!(
        (&client["status"], &client["grants"]),
        (&json!("registered"), &json!(1))
    );
    rig.server.delete(&path).await.expect(204);
    one.client
        .refresh(&one.tokens.refresh)
        .await
        .expect_error(401, "invalid_client");
    other
        .client
        .refresh(&other.tokens.refresh)
        .await
        .expect(200);
    problem(rig.server.delete(&path).await, 404, "unknown_client");
    problem(
        rig.server.get("/api/v1/clients/gateway_x").await,
        404,
        "unknown_client",
    );

    rig.server.delete("/api/v1/proxies/1").await.expect(204);
    let revoked = rig.server.events("type=grant.revoked").await;
    let reasons: Vec<_> = revoked
        .iter()
        .map(|event| &event["data"]["reason"])
        .collect();
    assert_eq!(reasons, ["client_removed", "proxy_removed"]);
    assert!(
        revoked
            .iter()
            .all(|event| event["actor"]["kind"] == "operator")
    );
}

#[tokio::test]
async fn no_secret_is_in_any_answer() {
    let rig = Rig::start().await;
    let logged_in = rig.log_in().await;
    let server = &rig.server;
    let auditor = rig.operator("auditor").await;
    let key = json!({"name": "script", "proxy_id": 1});
    let key = server
        .post("/api/v1/api-keys", &key)
        .await
        .expect(201)
        .json();
    let key = key["key"].as_str().expect("a key").to_owned();
    let secrets = [
        crate::fake_provider::CLIENT_SECRET,
        UPSTREAM_KEY,
        &logged_in.tokens.access,
        &logged_in.tokens.refresh,
        &server.admin_token,
        &auditor,
        &key,
    ];
    let grant = format!("/api/v1/grants/{}", logged_in.grant);
    let timeline = format!("{grant}/timeline");
    for path in [
        "/api/v1/providers",
        "/api/v1/providers/1",
        "/api/v1/proxies",
        "/api/v1/proxies/1",
        "/api/v1/clients",
        "/api/v1/operators",
        "/api/v1/api-keys",
        "/api/v1/keys",
        "/api/v1/logins",
        "/api/v1/events?limit=1000",
        "/api/v1/grants",
        "/api/v1/status",
        "/api/v1/event-types",
        &grant,
        &timeline,
    ] {
        let answer = server.get(path).await.expect(200);
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        for secret in secrets {
            assert!(!answer.body.contains(secret), "{path} tells a secret");
        }
    }
    let log = server.log();
    assert!(!secrets.iter().any(|secret| log.contains(secret)), "{log}");
}
