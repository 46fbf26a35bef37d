//! The record: lists and their filters, formats and pages, and the story of a grant.

use serde_json::{Value, json};
use support::{Answer, Pkce, Server};

use crate::rig::{Rig, problem};

async fn accepting(server: &Server, path: &str, mime: &str) -> Answer {
    let client = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client");
    let request = client
        .get(format!("{}{path}", server.url))
        .bearer_auth(&server.admin_token)
        .header("accept", mime);
    Answer::read(request.send().await.expect("an answer"))
        .await
        .expect(200)
}

fn rows(answer: &Value) -> &Vec<Value> {
    answer["data"].as_array().expect("a list has data")
}

#[tokio::test]
async fn a_login_is_found_by_everything_known_of_it() {
    let rig = Rig::start().await;
    let login = rig.log_in().await;
    let (client, grant, subject) = (&login.client.id, &login.grant, &login.subject);
    for filter in [
        format!("subject={subject}"),
        format!("client_id={client}&outcome=success"),
        "email=ADA@example.com".to_owned(),
        "ip=127.0.0.0/8&since=-1h".to_owned(),
        "proxy_id=1&provider_id=1".to_owned(),
    ] {
        let found = rig
            .server
            .get(&format!("/api/v1/logins?{filter}"))
            .await
            .expect(200)
            .json();
        assert_eq!(rows(&found).len(), 1, "{filter}");
        let row = &rows(&found)[0];
        assert_eq!(row["grant_id"], grant.as_str());
        assert_eq!(row["email"], "ada@example.com");
        assert_eq!(row["client_name"], "Test client");
        let filter = filter.replace("&outcome=success", "");
        let found = rig.server.get(&format!("/api/v1/grants?{filter}")).await;
        assert_eq!(rows(&found.expect(200).json()).len(), 1, "{filter}");
    }
    let none = rig
        .server
        .get("/api/v1/logins?outcome=failure")
        .await
        .expect(200)
        .json();
    assert!(
        rows(&none).is_empty() && none.get("next").is_none(),
        "{none}"
    );
}

/// Whoever supports a client that cannot connect looks here first.
#[tokio::test]
async fn a_request_that_is_refused_at_once_is_in_the_login_history() {
    let rig = Rig::start().await;
    let client = rig.log_in().await.client;
    let request = client.authorization(&Pkce::rfc7636());
    let wrong = request.with("scope", "nobody-offers-this");
    for _ in 0..3 {
        let answer = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("a client")
            .get(client.authorize_url(&wrong))
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status(), 303);
    }
    let filter = format!("/api/v1/logins?client_id={}&outcome=failure", client.id);
    let failed = loop {
        let failed = rig.server.list(&filter).await;
        if !failed.is_empty() {
            break failed;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(failed.len(), 1, "the others of this minute come later");
    let login = &failed[0];
    assert_eq!(
        (&login["reason"], &login["attempts"], &login["client_name"]),
        (
            &json!("scope_not_offered"),
            &json!(1),
            &json!("Test client")
        )
    );
    assert_eq!(login["ip"], "127.0.0.1");
    assert_eq!(login.get("grant_id"), None);
}

#[tokio::test]
async fn events_are_the_same_everywhere() {
    let rig = Rig::start().await;
    let login = rig.log_in().await;
    let events = rig
        .server
        .events(&format!("grant_id={}", login.grant))
        .await;
    let types: Vec<_> = events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        types,
        [
            "grant.login_succeeded",
            "grant.code_issued",
            "grant.code_redeemed"
        ]
    );
    for (version, event) in events.iter().enumerate() {
        assert_eq!(event["version"], version);
        assert_eq!(event["client_id"], login.client.id.as_str());
        assert_eq!(event["subject"], login.subject.as_str());
        assert_eq!(event["grant_id"], login.grant.as_str());
        assert_eq!(event["proxy_id"], 1);
        assert_eq!(
            event["source"]["ip"], "127.0.0.1",
            "shared by the whole append"
        );
        assert!(event["explain"].as_str().unwrap().ends_with('.'));
        let one = rig
            .server
            .get(&format!("/api/v1/events/{}", event["position"]))
            .await;
        assert_eq!(&one.expect(200).json(), event);
    }
    let story = rig
        .server
        .get(&format!("/api/v1/grants/{}/timeline", login.grant))
        .await;
    let story = story.expect(200).json();
    assert_eq!(story["live"], true);
    let items = story["items"].as_array().unwrap();
    assert_eq!(items.len(), 3);
    for (item, event) in items.iter().zip(&events) {
        for member in ["position", "type", "explain", "source", "data"] {
            assert_eq!(item[member], event[member]);
        }
        assert_eq!(item["at"], event["recorded_at"]);
    }
    for path in ["events/999999", "events/x", "grants/x", "grants/x/timeline"] {
        rig.server.get(&format!("/api/v1/{path}")).await.expect(404);
    }
    let nothing = format!("/api/v1/grants/{}/timeline", "0".repeat(32));
    problem(rig.server.get(&nothing).await, 404, "unknown_grant");
}

#[tokio::test]
async fn pages_lead_through_everything_once_in_every_format() {
    let rig = Rig::start().await;
    rig.log_in().await;
    let server = &rig.server;
    let all = server.events("until=2999-01-01").await;
    let head = server.get("/api/v1/status").await.expect(200).json()["head"].clone();
    let mut seen = Vec::new();
    let mut path = format!("/api/v1/events?sort=asc&limit=3&min_position={head}");
    loop {
        let page = server.get(&path).await.expect(200);
        let json = page.json();
        seen.extend(
            rows(&json)
                .iter()
                .map(|event| event["position"].as_u64().unwrap()),
        );
        let Some(next) = json["next"].as_str() else {
            break;
        };
        assert!(page.header("link").contains(next));
        assert!(json["watermark"].as_u64() >= head.as_u64());
        path = format!("/api/v1/events?sort=asc&limit=3&cursor={next}");
    }
    let dense: Vec<_> = (0..seen.len() as u64).collect();
    assert_eq!(seen, dense, "every position once, in order");
    assert!(seen.len() >= all.len());

    let lines = accepting(
        server,
        "/api/v1/events?sort=asc&limit=4",
        "application/x-ndjson",
    )
    .await;
    assert_eq!(lines.header("content-type"), "application/x-ndjson");
    let parsed: Vec<Value> = lines
        .body
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(parsed, all[..4]);
    assert!(lines.header("link").contains("cursor="));
    let table = accepting(server, "/api/v1/events?sort=asc&limit=4", "text/csv").await;
    let mut csv = csv::Reader::from_reader(table.body.as_bytes());
    assert_eq!(&csv.headers().unwrap()[0], "position");
    assert_eq!(csv.records().count(), 4);
    for path in [
        "providers",
        "proxies",
        "clients",
        "operators",
        "api-keys",
        "keys",
        "logins",
        "grants",
    ] {
        let table = accepting(server, &format!("/api/v1/{path}"), "text/csv").await;
        assert!(
            table.header("content-type").starts_with("text/csv"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn parameters_that_are_no_such_are_named() {
    let server = Server::start().await;
    for (path, name) in [
        ("logins?emial=a", "emial"),
        ("logins?outcome=maybe", "outcome"),
        ("logins?ip=300.0.0.1", "ip"),
        ("logins?since=yesterday", "since"),
        ("events?limit=0", "limit"),
        ("events?limit=1001", "limit"),
        ("events?sort=up", "sort"),
        ("events?cursor=AAAA", "cursor"),
        ("events?type=a&type=b", "type"),
        ("events?grant_id=x", "grant_id"),
        ("grants?live=perhaps", "live"),
        ("clients?status=new", "status"),
        ("events/stream?limit=3", "limit"),
        ("events/stream?after=x", "after"),
        ("providers?limit=x", "limit"),
        ("proxies?since=-1h", "since"),
        ("operators?cursor=x", "cursor"),
        ("api-keys?sort=up", "sort"),
        ("keys?min_position=x", "min_position"),
        ("grants/00000000000000000000000000000000?foo=1", "foo"),
        (
            "grants/00000000000000000000000000000000/timeline?limit=1",
            "limit",
        ),
        ("events/0?min_position=x", "min_position"),
        ("providers/1?foo=1", "foo"),
        ("proxies/1?foo=1", "foo"),
    ] {
        let answer = server.get(&format!("/api/v1/{path}")).await;
        let problem = problem(answer, 400, "invalid_parameter");
        assert_eq!(problem["name"], name, "{problem}");
    }
    let answer = server.get("/api/v1/events?min_position=999999").await;
    problem(answer, 503, "read_model_behind");
}

#[tokio::test]
async fn the_node_tells_how_it_is() {
    let server = Server::start().await;
    let status = server.get("/api/v1/status").await.expect(200).json();
    assert!(
        status["head"].is_u64() && status["read_model"]["position"].is_u64(),
        "{status}"
    );
    assert_eq!(status["log_intact"], true);
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    let types = server.get("/api/v1/event-types").await.expect(200).json();
    assert!(rows(&types).contains(&json!({"type": "grant.code_redeemed", "schema": 1})));
}
