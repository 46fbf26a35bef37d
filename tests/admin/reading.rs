//! Reading the record is recorded.

use reqwest::Method;
use support::{Server, plain_http};

use crate::rig::send;

#[tokio::test]
async fn reading_is_recorded_once_a_walk_and_once_a_poll() {
    let server = Server::start().await;
    let reads = async |route: &str| {
        let events = server.events("type=audit.read").await;
        events
            .into_iter()
            .filter(|event| event["data"]["route"] == route)
            .collect::<Vec<_>>()
    };
    let first = server
        .get("/api/v1/logins?email=ada@example.com")
        .await
        .expect(200);
    assert!(first.json().get("next").is_none());
    let read = reads("/api/v1/logins").await;
    assert_eq!(read.len(), 1);
    assert_eq!(read[0]["actor"]["kind"], "operator");
    assert_eq!(read[0]["query"], "email=ada%40example.com");
    assert!(
        !read[0]["data"].to_string().contains("ada"),
        "what was searched is sealed"
    );
    assert_eq!(read[0]["request_id"], first.header("x-request-id"));

    server
        .get("/api/v1/logins?email=ada@example.com")
        .await
        .expect(200);
    assert_eq!(reads("/api/v1/logins").await.len(), 2, "another read");
    for _ in 0..3 {
        server
            .get("/api/v1/logins?email=ada@example.com&min_position=0")
            .await
            .expect(200);
    }
    assert_eq!(reads("/api/v1/logins").await.len(), 2, "a poll goes on");
    server
        .get("/api/v1/logins?min_position=0")
        .await
        .expect(200);
    assert_eq!(reads("/api/v1/logins").await.len(), 3, "another query");

    let page = server
        .get("/api/v1/events?limit=1")
        .await
        .expect(200)
        .json();
    let before = reads("/api/v1/events").await.len();
    let next = page["next"].as_str().expect("there is more").to_owned();
    server
        .get(&format!("/api/v1/events?limit=1&cursor={next}"))
        .await
        .expect(200);
    let stranger = crate::rig::operator(&server, "auditor").await;
    let path = format!("/api/v1/events?limit=1&cursor={next}");
    send(&server, &stranger, Method::GET, &path, None)
        .await
        .expect(200);
    let by_stranger = reads("/api/v1/events").await;
    let strangers: Vec<_> = by_stranger
        .iter()
        .filter(|read| read["query"] == "limit=1")
        .collect();
    assert_eq!(
        strangers.len(),
        2,
        "the walk, and who went on with another's: {before}"
    );
    for path in ["status", "event-types", "openapi.json"] {
        server.get(&format!("/api/v1/{path}")).await.expect(200);
        assert!(reads(&format!("/api/v1/{path}")).await.is_empty());
    }
}

/// A poll goes forward; and what people search for may be what they found somewhere.
#[tokio::test]
async fn whoever_goes_back_reads_anew() {
    let server = Server::start().await;
    let queries = async |route: &str| {
        let events = server.events("type=audit.read").await.into_iter();
        let of_route = events.filter(|event| event["data"]["route"] == route);
        let told = of_route.map(|read| read["query"].as_str().unwrap_or_default().to_owned());
        told.collect::<Vec<_>>()
    };
    for after in [3, 3, 5, 0, 2] {
        let poll = format!("/api/v1/events?type=audit.*&after={after}");
        server.get(&poll).await.expect(200);
    }
    let mut polls = queries("/api/v1/events").await;
    polls.retain(|query| query.contains("audit.*"));
    assert_eq!(polls, ["type=audit.*&after=3", "type=audit.*&after=0"]);
    let token = format!("gw_refresh_{}", "x".repeat(43));
    let found = format!("/api/v1/logins?reason={token}");
    server.get(&found).await.expect(200);
    let searched = queries("/api/v1/logins").await;
    assert_eq!(searched, ["reason=gw_refresh_(redacted)"]);
}

/// Where a stream begins is said by it, if by nobody else.
#[tokio::test]
async fn a_stream_from_the_beginning_is_not_one_from_now_on() {
    let server = Server::start().await;
    let begin = async |query: &str| {
        let url = format!("{}/api/v1/events/stream{query}", server.url);
        let asked = plain_http()
            .get(url)
            .bearer_auth(&server.admin_token)
            .send()
            .await;
        assert_eq!(asked.expect("an answer").status(), 200);
        let read = server.events("type=audit.read").await.into_iter();
        read.filter(|read| read["data"]["route"] == "/api/v1/events/stream")
            .count()
    };
    assert_eq!(begin("").await, 1);
    assert_eq!(begin("?after=0").await, 2);
    assert_eq!(begin("?after=3").await, 2, "it goes on");
}
