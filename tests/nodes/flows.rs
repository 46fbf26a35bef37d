//! No sticky sessions: each step of each flow may go to another node.

use reqwest::Method;
use serde_json::{Value, json};
use support::interop::McpServer;
use support::postgres::Database;
use support::{Browser, Client, Nodes, Pkce, Tokens, plain_http};

use crate::fake_provider::FakeProvider;
use crate::rig::{NODES, Rig, Word};

/// The whole way, each step on the node after the last one's; from every node on.
#[tokio::test]
async fn every_step_may_go_to_another_node() {
    let database = Database::create();
    let nodes = Nodes::start(NODES, &database.url()).await;
    walk(&nodes).await;
}

pub async fn walk(nodes: &Nodes) {
    let provider = FakeProvider::start().await;
    let upstream = McpServer::start().await;
    for first in 0..nodes.count() {
        let node = |step: usize| (first + step) % nodes.count();
        let at = |step: usize| &nodes[node(step)];
        let id = at(0).add_provider(&provider.document("openid email")).await;
        let config = json!({"oauth_proxy_provider_id": id, "oauth_proxy_scopes": "read write"});
        let proxy = at(1).add_proxy(&upstream.url, config).await;
        let client = Client {
            proxy: proxy.clone(),
            ..proxy
                .at(at(2))
                .register(support::confidential_client())
                .await
        };
        // Consent page, its decision, the provider's callback.
        nodes.server.lead_next_to(&[node(0), node(1), node(2)]);
        let (mut browser, pkce) = (Browser::new(), Pkce::rfc7636());
        let code = client.authorize_code(&mut browser, &pkce).await;
        let redeemed = client.at(at(0)).redeem(&code, &pkce).await.expect(200);
        let old = Tokens::of(&redeemed);
        let refreshed = client.at(at(1)).refresh(&old.refresh).await.expect(200);
        let new = Tokens::of(&refreshed);
        for step in 2..5 {
            for token in [&old.access, &new.access, &new.refresh] {
                let said = client.at(at(step)).introspect(token).await.expect(200);
                assert_eq!(said.json()["active"], true, "{said:?}");
            }
            let tools = proxy.at(at(step)).list_tools(&new.access).await.expect(200);
            assert!(tools.body.contains("seen_headers"), "{tools:?}");
        }
        client.at(at(0)).revoke(&new.access).await.expect(200);
        for step in 1..4 {
            for token in [&old.access, &new.access, &new.refresh] {
                let said = client.at(at(step)).introspect(token).await.expect(200);
                assert_eq!(said.json(), json!({"active": false}), "{said:?}");
            }
            let refused = client.at(at(step)).refresh(&new.refresh).await;
            refused.expect_error(400, "invalid_grant");
        }
    }
}

/// RFC 7592: a client is read, changed and removed at whichever node it reaches.
#[tokio::test]
async fn a_registration_is_managed_on_any_node() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let manage = async |node: usize, method: Method, token: &str, body: Option<&Value>| {
        let at = client.at(&rig.nodes[node]).proxy.issuer;
        let request = plain_http().request(method, format!("{at}/register/{}", client.id));
        let request = request.bearer_auth(token);
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        support::Answer::read(request.send().await.expect("an answer")).await
    };
    let token_of = |registration: &Value| {
        let token = registration["registration_access_token"].as_str();
        token.expect("a token").to_owned()
    };
    let mut token = token_of(&client.registration);
    for node in 0..NODES {
        let read = manage(node, Method::GET, &token, None).await.expect(200);
        assert_eq!(read.json()["client_id"], client.id);
        let mut changed = support::public_client();
        changed["client_name"] = json!(format!("changed at {node}"));
        let put = manage(node, Method::PUT, &token, Some(&changed)).await;
        let (old, next) = (token, token_of(&put.expect(200).json()));
        for other in 0..NODES {
            let read = manage(other, Method::GET, &next, None).await.expect(200);
            assert_eq!(read.json()["client_name"], changed["client_name"]);
            manage(other, Method::GET, &old, None).await.expect(401);
        }
        token = next;
    }
    let tokens = rig.log_in(&client).await;
    manage(1, Method::DELETE, &token, None).await.expect(204);
    for node in 0..NODES {
        manage(node, Method::GET, &token, None).await.expect(401);
        let refused = client.at(&rig.nodes[node]).refresh(&tokens.refresh).await;
        refused.expect_error(401, "invalid_client");
        rig.until_word(node, &tokens.access, Word::Refused).await;
    }
}

/// What operators do on one node holds on all of them at once.
#[tokio::test]
async fn operators_administer_on_any_node() {
    let rig = Rig::start().await;
    for node in 0..NODES {
        let [here, next, last] = [0, 1, 2].map(|n| &rig.nodes[(node + n) % NODES]);
        let added = here
            .post(
                "/api/v1/operators",
                &json!({"name": "n", "role": "auditor"}),
            )
            .await
            .expect(201)
            .json();
        let (id, token) = (&added["id"], added["token"].as_str().expect("a token"));
        let as_them = async |server: &support::Server, path: &str| {
            let request = plain_http().get(format!("{}{path}", server.url));
            let answer = request.bearer_auth(token).send().await.expect("an answer");
            answer.status().as_u16()
        };
        for server in [next, last] {
            assert_eq!(as_them(server, "/api/v1/status").await, 200);
        }
        let operator = format!("/api/v1/operators/{}", id.as_str().expect("an id"));
        let off = json!({"config": {"oauth_proxy_enabled": false}});
        let on = json!({"config": {"oauth_proxy_enabled": true}});
        for (at, change) in [(here, &off), (next, &on)] {
            at.patch("/api/v1/proxies/1", change).await.expect(200);
        }
        // A proxy's number is known to all from the answer that tells it on.
        let config = json!({"oauth_proxy_provider_id": 1});
        let proxy = next.add_proxy("http://127.0.0.1:9/mcp", config).await;
        for server in [here, last] {
            proxy.at(server).metadata().await;
            proxy.at(server).list_tools("").await.expect(401);
            let path = format!("/api/v1/proxies/{}", proxy.id);
            server.get(&path).await.expect(200);
            let listed = server.get("/api/v1/proxies?limit=1000").await.expect(200);
            let listed = listed.json()["data"].as_array().expect("rows").clone();
            assert!(listed.iter().any(|row| row["id"] == proxy.id), "{listed:?}");
        }
        last.delete(&operator).await.expect(204);
        for server in [here, next, last] {
            assert_eq!(as_them(server, "/api/v1/status").await, 401);
        }
    }
}
