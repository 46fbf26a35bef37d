//! Every endpoint that changes something leaves its event, and the events fold to what lists show.

use serde_json::json;
use support::{Browser, Pkce, Tokens, plain_http};

use crate::fake_provider::Behaviour;
use crate::rig::Rig;

/// What the endpoints make happen.
const EVERY_TYPE: [&str; 31] = [
    "api_key.issued",
    "api_key.revoked",
    "audit.read",
    "client.first_authorized",
    "client.registered",
    "client.removed",
    "client.updated",
    "grant.access_token_first_used",
    "grant.code_issued",
    "grant.code_redeemed",
    "grant.code_replayed",
    "grant.consent_denied",
    "grant.login_failed",
    "grant.login_succeeded",
    "grant.refresh_token_retried",
    "grant.refresh_token_reused",
    "grant.refresh_token_rotated",
    "grant.revoked",
    "operator.added",
    "operator.changed",
    "operator.removed",
    "provider.added",
    "provider.changed",
    "provider.removed",
    "proxy.added",
    "proxy.changed",
    "proxy.removed",
    "request.refused",
    "signing_key.created",
    "signing_key.retired",
    "subject.first_seen",
];

#[tokio::test]
async fn every_endpoint_leaves_its_event() {
    let rig = Rig::with(json!({})).await;
    let (server, proxy) = (&rig.server, &rig.proxy);
    let registered = proxy
        .try_register(&support::public_client())
        .await
        .expect(201)
        .json();
    let manage = registered["registration_client_uri"]
        .as_str()
        .expect("a URL");
    let token = registered["registration_access_token"]
        .as_str()
        .expect("a token");
    let put = plain_http()
        .put(manage)
        .bearer_auth(token)
        .json(&support::public_client());
    let put: serde_json::Value = put.send().await.expect("sent").json().await.expect("JSON");
    let next = put["registration_access_token"].as_str().expect("a token");
    plain_http()
        .delete(manage)
        .bearer_auth(next)
        .send()
        .await
        .expect("sent");

    grant(&rig).await;
    administer(server).await;

    let types = server.event_types("since=-1h").await;
    for name in EVERY_TYPE {
        assert!(
            types.iter().any(|known| known == name),
            "no {name} in {types:?}"
        );
    }
    let data = rig.server.folder().join("data");
    let data = data.to_str().expect("a path of text");
    let checked = server.command(&["replay", "--check", "--data", data]).await;
    assert!(checked.status.success(), "{checked:?}");
}

async fn grant(rig: &Rig) {
    let client = rig.client().await;
    let pkce = Pkce::rfc7636();
    let code = rig.code(&client).await;
    let first = Tokens::of(&client.redeem(&code, &pkce).await.expect(200));
    let second = Tokens::of(&client.refresh(&first.refresh).await.expect(200));
    client.refresh(&first.refresh).await.expect(200);
    assert!(rig.admits(&second.access).await);
    client.refresh(&first.refresh).await.expect(400);
    let replayed = rig.code(&client).await;
    client.redeem(&replayed, &pkce).await.expect(200);
    client.redeem(&replayed, &pkce).await.expect(400);
    let ended = rig.log_in(&client).await;
    client.revoke(&ended.refresh).await.expect(200);
    rig.provider
        .behave(Behaviour::AuthorizationError("access_denied"));
    let params = client.authorization(&pkce);
    client
        .authorize(&mut Browser::new(), &params, support::ALICE)
        .await;
    let mut browser = Browser::new();
    let page = browser
        .open(&client.authorize_url(&params), "http://x.invalid/")
        .await;
    let form = page.form().expect("the consent page has a form");
    let mut fields = form.inputs.clone();
    fields.push(("decision".to_owned(), "deny".to_owned()));
    browser
        .submit(&page, &form, &fields, "http://127.0.0.1:33418/callback")
        .await;
    client.redeem("gw_code_x", &pkce).await.expect(400);
}

async fn administer(server: &support::Server) {
    let operator = json!({"name": "Iris", "role": "auditor"});
    let operator = server
        .post("/api/v1/operators", &operator)
        .await
        .expect(201)
        .json();
    let id = operator["id"].as_str().expect("an id");
    let another_role = json!({"role": "responder"});
    server
        .patch(&format!("/api/v1/operators/{id}"), &another_role)
        .await
        .expect(200);
    server
        .delete(&format!("/api/v1/operators/{id}"))
        .await
        .expect(204);
    let key = json!({"name": "script", "proxy_id": 1});
    let key = server
        .post("/api/v1/api-keys", &key)
        .await
        .expect(201)
        .json();
    let id = key["id"].as_str().expect("an id");
    server
        .delete(&format!("/api/v1/api-keys/{id}"))
        .await
        .expect(204);
    server
        .post("/api/v1/keys/rotate", &json!({"alg": "HS256"}))
        .await
        .expect(201);
    let change = json!({"name": "renamed"});
    server
        .patch("/api/v1/providers/1", &change)
        .await
        .expect(200);
    server.patch("/api/v1/proxies/1", &change).await.expect(200);
    server.list("/api/v1/logins").await;
    server.delete("/api/v1/proxies/1").await.expect(204);
    server.delete("/api/v1/providers/1").await.expect(204);
}

/// With and without a server the investigating commands tell the same.
#[tokio::test]
async fn a_store_opened_offline_tells_what_its_server_told() {
    let mut rig = Rig::start().await;
    let client = rig.client().await;
    let tokens = rig.log_in(&client).await;
    client.refresh(&tokens.refresh).await.expect(200);
    let grant = tokens.claims()["grant"].as_str().expect("an id").to_owned();
    let commands = [
        vec!["logins", "--json"],
        vec!["events", "list", "--type", "grant.*", "--json"],
        vec!["grant", "list", "--json"],
        vec!["grant", "show", &grant, "--json"],
        vec!["grant", "story", &grant, "--json"],
        vec!["events", "get", "3", "--json"],
    ];
    let data = rig.server.folder().join("data");
    let data = data.to_str().expect("a path of text").to_owned();
    rig.server.list("/api/v1/events").await;
    let url = rig.server.url.clone();
    let mut told = Vec::new();
    for command in &commands {
        let asked = [&command[..], &["--url", &url]].concat();
        told.push(document(rig.server.command(&asked).await));
    }
    rig.server.stop().await;
    for (command, told) in commands.iter().zip(told) {
        let asked = [&command[..], &["--data", &data]].concat();
        assert_eq!(
            document(rig.server.command(&asked).await),
            told,
            "{command:?}"
        );
    }
    let unknown = rig
        .server
        .command(&["grant", "show", "0", "--data", &data])
        .await;
    assert_eq!(unknown.status.code(), Some(3), "{unknown:?}");
    let wrong = ["logins", "--ip", "nonsense", "--data", &data];
    let wrong = rig.server.command(&wrong).await;
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
}

fn document(output: std::process::Output) -> serde_json::Value {
    assert!(output.status.success(), "{output:?}");
    let mut document: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("a document");
    // Reading is itself recorded, so the head moves on.
    if let Some(members) = document.as_object_mut() {
        members.remove("watermark");
    }
    document
}
