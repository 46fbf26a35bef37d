//! How facts that belong to no aggregate are kept and told.

use chrono::TimeZone;
use domain::audit::{Event, Read, RequestRefused, told_redirect_uri};
use domain::{Timestamp, event, explain};

fn at(second: i64) -> Timestamp {
    chrono::Utc
        .timestamp_opt(1_700_000_000 + second, 0)
        .single()
        .expect("in range")
}

fn refused(count: u64) -> event::Event {
    Event::RequestRefused(RequestRefused {
        endpoint: "token".to_owned(),
        cause: "unknown_client".to_owned(),
        count,
        first_at: at(0),
        last_at: at(59),
        redirect_uri: None,
    })
    .into()
}

fn read() -> event::Event {
    Event::Read(Read {
        route: "/api/v1/logins".to_owned(),
    })
    .into()
}

#[track_caller]
fn check(event: &event::Event, sentence: &str) {
    assert_eq!(explain(event, at(60)), sentence);
}

#[test]
fn one_refusal_and_many_are_told_apart() {
    check(
        &refused(1),
        "A request at token was refused: unknown client.",
    );
    check(
        &refused(17),
        "17 requests at token were refused: unknown client.",
    );
}

#[test]
fn of_a_refused_redirect_uri_only_what_helps_is_kept() {
    for (sent, kept) in [
        ("https://app.example/cb", "https://app.example/cb"),
        ("HTTP://Localhost:1/cb/", "HTTP://Localhost:1/cb/"),
        ("https://app.example/cb?code=1#x", "https://app.example/cb"),
        ("https://app.example/cb#a?b", "https://app.example/cb"),
        ("https://a:b@app.example/@c", "https://app.example/@c"),
        ("https://a/@evil.example", "https://a/@evil.example"),
        ("a:b@app.example", "app.example"),
        ("//a:b@app.example/cb", "//app.example/cb"),
        ("https:/a:b@app.example", "https:/app.example"),
        ("cursor:cb", "cursor:cb"),
        ("https://é\n\u{202e}/", "https://???/"),
        ("", ""),
    ] {
        assert_eq!(told_redirect_uri(sent), kept, "{sent}");
    }
    assert_eq!(told_redirect_uri(&"é".repeat(9000)).len(), 200);
}

#[test]
fn a_read_names_its_route_and_not_what_was_searched_for() {
    check(&read(), "An operator read /api/v1/logins.");
    let data = serde_json::to_value(read()).expect("plain");
    assert_eq!(data, serde_json::json!({"route": "/api/v1/logins"}));
}

#[test]
fn their_names_say_that_they_are_not_of_one_aggregate() {
    assert_eq!(read().name(), "audit.read");
    assert_eq!(refused(1).name(), "request.refused");
}
