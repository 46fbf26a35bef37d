//! Operators who change the same things at the same moment.

use futures_util::future::join_all;
use serde_json::{Value, json};
use support::Server;

use crate::rig::idle_provider;

const ROUNDS: u32 = 8;

/// Sends each at the same time; all are accepted.
async fn patch_at_once(server: &Server, path: &str, patches: &[Value]) {
    let sent = patches.iter().map(|patch| server.patch(path, patch));
    for answer in join_all(sent).await {
        answer.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_several_change_at_once_is_all_changed() {
    let server = Server::start().await;
    let provider = server.add_provider(&idle_provider("idp")).await;
    let config = json!({"oauth_proxy_provider_id": provider});
    let proxy = server.add_proxy("http://127.0.0.1:9/mcp", config).await;
    let proxy = format!("/api/v1/proxies/{}", proxy.id);
    let provider = format!("/api/v1/providers/{provider}");
    let operator = json!({"name": "Ada", "role": "admin"});
    let operator = server.post("/api/v1/operators", &operator).await;
    let id = operator.expect(201).json()["id"].clone();
    let operator = format!("/api/v1/operators/{}", id.as_str().expect("an id"));
    for round in 1..=ROUNDS {
        let (name, off) = (format!("round {round}"), round % 2 == 0);
        let patches = [
            json!({"name": name}),
            json!({"config": {"oauth_proxy_enabled": off}}),
            json!({"config": {"oauth_proxy_access_token_seconds": round}}),
        ];
        patch_at_once(&server, &proxy, &patches).await;
        let now = server.get(&proxy).await.expect(200).json();
        assert_eq!(now["name"], name);
        assert_eq!(now["config"]["oauth_proxy_enabled"], off);
        assert_eq!(now["config"]["oauth_proxy_access_token_seconds"], round);

        let patches = [
            json!({"name": name}),
            json!({"client_id": name}),
            json!({"scopes": name}),
        ];
        patch_at_once(&server, &provider, &patches).await;
        let now = server.get(&provider).await.expect(200).json();
        assert_eq!(
            [&now["name"], &now["client_id"], &now["scopes"]],
            [&json!(name); 3]
        );

        let secrets: Vec<_> = (0..4)
            .map(|n| json!({"client_secret": format!("{name} {n}")}))
            .collect();
        patch_at_once(&server, &provider, &secrets).await;
        let keys = (0..4).map(|n| json!({"config": {"oauth_proxy_upstream_headers": {"X-Key": format!("{name} {n}")}}}));
        patch_at_once(&server, &proxy, &keys.collect::<Vec<_>>()).await;
        server.get("/api/v1/proxies").await.expect(200);

        let role = if off { "auditor" } else { "responder" };
        patch_at_once(
            &server,
            &operator,
            &[json!({"name": name}), json!({"role": role})],
        )
        .await;
        let page = server.list("/api/v1/operators").await;
        let now = page.iter().find(|row| row["id"] == id);
        let now = now.expect("the operator");
        assert_eq!([&now["name"], &now["role"]], [&json!(name), &json!(role)]);
    }
}

/// Whichever of the two comes first: somebody administers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_admins_who_remove_each_other_leave_one() {
    let mut server = Server::start().await;
    let mut here = new_admin(&server).await;
    server.admin_token = here.1;
    let first = grantlog::administration::BOOTSTRAP;
    server
        .delete(&format!("/api/v1/operators/{first}"))
        .await
        .expect(204);
    for round in 0..ROUNDS {
        let there = new_admin(&server).await;
        let down = json!({"role": "auditor"});
        let (one, other) = if round % 2 == 0 {
            tokio::join!(server.delete(&here.0), server.delete(&there.0))
        } else {
            tokio::join!(server.delete(&here.0), server.patch(&there.0, &down))
        };
        let is_done = [one.status, other.status].map(|status| status < 300);
        assert!(is_done[0] != is_done[1], "{one:?} {other:?}");
        if is_done[0] {
            server.admin_token = there.1;
            here.0 = there.0;
        }
        server.get("/api/v1/operators").await.expect(200);
    }
}

/// Their address and token.
async fn new_admin(server: &Server) -> (String, String) {
    let admin = json!({"name": "Ada", "role": "admin"});
    let added = server
        .post("/api/v1/operators", &admin)
        .await
        .expect(201)
        .json();
    let text = |member: &str| added[member].as_str().expect("text").to_owned();
    (format!("/api/v1/operators/{}", text("id")), text("token"))
}

/// Either the proxy is there with its provider, or the provider is gone and no proxy uses it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_is_not_removed_while_a_proxy_begins_to_use_it() {
    let server = Server::start().await;
    for round in 0..ROUNDS {
        let provider = server.add_provider(&idle_provider("idp")).await;
        let proxy = json!({
            "name": "files", "upstream_url": "http://127.0.0.1:9/mcp",
            "config": {"oauth_proxy_provider_id": provider},
        });
        let path = format!("/api/v1/providers/{provider}");
        let (added, removed) = if round % 2 == 0 {
            tokio::join!(server.post("/api/v1/proxies", &proxy), server.delete(&path))
        } else {
            let (removed, added) =
                tokio::join!(server.delete(&path), server.post("/api/v1/proxies", &proxy));
            (added, removed)
        };
        let outcome = (added.status, removed.status);
        assert!([(201, 409), (400, 204)].contains(&outcome), "{outcome:?}");
    }
}
