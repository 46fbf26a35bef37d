//! The live stream: begins now or behind a position, misses nothing, ends with the service.

use std::time::Duration;

use serde_json::{Value, json};
use support::Server;

use crate::rig::{idle_provider, operator};

struct Tail {
    response: reqwest::Response,
    text: String,
}

impl Tail {
    async fn open(server: &Server, query: &str, last_event_id: Option<u64>) -> Self {
        Self::open_by(&server.admin_token, server, query, last_event_id).await
    }

    async fn open_by(
        token: &str,
        server: &Server,
        query: &str,
        last_event_id: Option<u64>,
    ) -> Self {
        let client = reqwest::Client::builder()
            .no_proxy()
            .build()
            .expect("a client");
        let mut request = client
            .get(format!("{}/api/v1/events/stream{query}", server.url))
            .bearer_auth(token);
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id.to_string());
        }
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            response,
            text: String::new(),
        }
    }

    /// The next event: its id, its name and its data.
    async fn next(&mut self) -> Option<(u64, String, Value)> {
        loop {
            if let Some((message, rest)) = self.text.split_once("\n\n") {
                let (message, rest) = (message.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| {
                    let mut lines = message.lines();
                    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                };
                if let (Some(id), Some(name), Some(data)) =
                    (field("id"), field("event"), field("data"))
                {
                    let data = serde_json::from_str(data).expect("JSON");
                    return Some((id.parse().expect("a position"), name.to_owned(), data));
                }
                continue;
            }
            let chunk = tokio::time::timeout(Duration::from_secs(20), self.response.chunk());
            let chunk = chunk.await.expect("the stream goes on").ok().flatten()?;
            self.text
                .push_str(std::str::from_utf8(&chunk).expect("text"));
        }
    }
}

#[tokio::test]
async fn a_tail_shows_what_is_recorded_and_resumes_without_loss() {
    let server = Server::start().await;
    let mut tail = Tail::open(&server, "?type=provider.*", None).await;
    server.add_provider(&idle_provider("one")).await;
    let (first, name, data) = tail.next().await.expect("an event");
    assert_eq!(
        (name.as_str(), &data["position"]),
        ("provider.added", &json!(first))
    );
    let shown = server
        .get(&format!("/api/v1/events/{first}"))
        .await
        .expect(200)
        .json();
    assert_eq!(shown, data, "the same JSON everywhere");
    drop(tail);

    for name in ["two", "three"] {
        server.add_provider(&idle_provider(name)).await;
    }
    for mut tail in [
        Tail::open(&server, "?type=provider.*", Some(first)).await,
        Tail::open(&server, &format!("?type=provider.*&after={first}"), None).await,
        Tail::open(&server, "?type=provider.*&after=0", Some(first)).await,
    ] {
        for name in ["two", "three"] {
            let (_, _, data) = tail.next().await.expect("an event");
            assert_eq!(data["data"]["name"], name);
        }
    }
    let mut all = Tail::open(&server, "?since=-1h", None).await;
    for position in 0..5 {
        assert_eq!(all.next().await.expect("an event").0, position);
    }
    let routes = server.events("type=audit.read").await;
    let tails = routes
        .iter()
        .filter(|read| read["data"]["route"] == "/api/v1/events/stream");
    assert_eq!(
        tails.count(),
        2,
        "who resumes goes on with a read that was recorded"
    );
}

#[tokio::test]
async fn a_tail_of_thousands_misses_nothing() {
    let server = Server::start().await;
    let mut tail = Tail::open(&server, "?after=0", None).await;
    for n in 0..120 {
        let change = json!({"name": format!("name {n}"), "role": "auditor"});
        server.post("/api/v1/operators", &change).await.expect(201);
    }
    let head = server.get("/api/v1/status").await.expect(200).json()["head"]
        .as_u64()
        .unwrap();
    for position in 1..=head {
        assert_eq!(tail.next().await.expect("an event").0, position);
    }
}

#[tokio::test]
async fn who_was_removed_is_sent_nothing_that_is_recorded_later() {
    let server = Server::start().await;
    let token = operator(&server, "auditor").await;
    let mut tail = Tail::open_by(&token, &server, "", None).await;
    server.add_provider(&idle_provider("before")).await;
    while tail.next().await.expect("an event").1 != "provider.added" {}
    let operators = server.list("/api/v1/operators").await;
    let auditor = operators.iter().find(|one| one["role"] == "auditor");
    let id = auditor.expect("an auditor")["id"].as_str().expect("an id");
    let path = format!("/api/v1/operators/{id}");
    server.delete(&path).await.expect(204);
    server.add_provider(&idle_provider("after")).await;
    while let Some((_, name, _)) = tail.next().await {
        assert_ne!(name, "provider.added");
    }
}

#[tokio::test]
async fn a_tail_ends_when_the_service_stops() {
    let mut server = Server::start().await;
    let mut tail = Tail::open(&server, "", None).await;
    server.stop().await;
    while tail.next().await.is_some() {}
}
