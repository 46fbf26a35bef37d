//! Commands that ask a server, against a scripted one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::{Ended, Run};

const TOKEN: &str = "gw_admin_for_a_scripted_server";

#[derive(Clone, Default)]
struct Asked(Arc<Mutex<Vec<HashMap<String, String>>>>);

/// A server with 2500 events, of which it gives out at most 1000 at once.
async fn events(
    State(asked): State<Asked>,
    Query(query): Query<HashMap<String, String>>,
) -> Json<Value> {
    let number = |name: &str| query.get(name).and_then(|text| text.parse::<usize>().ok());
    let (start, limit) = (
        number("cursor").unwrap_or(0),
        number("limit").unwrap_or(100),
    );
    asked.0.lock().expect("one test").push(query);
    let end = (start + limit).min(2500);
    let data: Vec<Value> = (start..end)
        .map(|position| json!({"position": position, "type": "grant.login", "explain": "a\u{1b}b"}))
        .collect();
    let mut page = json!({"data": data, "watermark": 2499});
    if end < 2500 {
        page["next"] = end.to_string().into();
    }
    Json(page)
}

/// A stream that breaks off after two events and goes on where it is told to.
async fn stream(headers: HeaderMap) -> impl IntoResponse {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let first: u64 = last
        .and_then(|id| id.parse::<u64>().ok())
        .map_or(0, |id| id + 1);
    if first >= 4 {
        return (
            StatusCode::UNAUTHORIZED,
            json!({"detail": "no more"}).to_string(),
        )
            .into_response();
    }
    let events: String = (first..first + 2)
        .map(|n| format!("id: {n}\nevent: grant.login\ndata: {{\"position\":{n},\"type\":\"grant.login\"}}\n\n"))
        .collect();
    (
        [("content-type", "text/event-stream")],
        format!(": hello\n\n{events}"),
    )
        .into_response()
}

async fn grant(Path(id): Path<String>, headers: HeaderMap) -> impl IntoResponse {
    let token = format!("Bearer {TOKEN}");
    if headers
        .get("authorization")
        .is_none_or(|sent| *sent != *token)
    {
        let problem = json!({"title": "Unauthorized", "code": "invalid_operator_token"});
        return (StatusCode::UNAUTHORIZED, Json(problem));
    }
    match id.as_str() {
        "known" => (StatusCode::OK, Json(json!({"grant_id": id, "live": true}))),
        _ => {
            let problem = json!({"detail": "there is no such grant", "code": "grant_not_found"});
            (StatusCode::NOT_FOUND, Json(problem))
        }
    }
}

/// Runs the program against the scripted server; returns what the server was asked, too.
fn against_server(
    arguments: &[&str],
    token: Option<&str>,
) -> (Ended, Vec<HashMap<String, String>>) {
    let asked = Asked::default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let router = Router::new()
        .route("/api/v1/events", get(events))
        .route("/api/v1/events/stream", get(stream))
        .route("/api/v1/grants/{id}", get(grant))
        .with_state(asked.clone());
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    runtime.spawn(async move { axum::serve(listener, router).await });
    let mut run = Run::new(arguments).with("GRANTLOG_URL", &url);
    if let Some(token) = token {
        run = run.with("GRANTLOG_TOKEN", token);
    }
    let ended = run.end();
    let queries = asked.0.lock().expect("one test").clone();
    (ended, queries)
}

#[test]
fn lists_are_walked_page_by_page_up_to_their_limit() {
    let arguments = [
        "events", "list", "--limit", "2100", "--type", "grant.*", "--since", "-24h",
    ];
    let (ended, asked) = against_server(&arguments, Some(TOKEN));
    let lines: Vec<_> = ended.prints().lines().collect();
    assert_eq!(lines.len(), 2100);
    assert_eq!(lines[2099], "2099\t\tgrant.login\t\t\tab");
    let limits: Vec<_> = asked.iter().map(|query| query["limit"].as_str()).collect();
    assert_eq!(limits, ["1000", "1000", "100"]);
    assert!(
        asked
            .iter()
            .all(|query| query["type"] == "grant.*" && query["since"] == "-24h")
    );
}

#[test]
fn a_type_that_no_event_has_is_told() {
    for (kind, told) in [
        ("grant.*", None),
        ("*", None),
        ("grant.code_redeemed", None),
        (
            "grant.code_redemed",
            Some("the type `grant.code_redemed`, did you mean `grant.code_redeemed`?"),
        ),
        ("grunt.*", Some("the type `grunt.*`")),
        ("foo", Some("the type `foo` (see `grantlog events types`)")),
        ("operator.*,api_key.*", None),
        ("operator.*,foo", Some("the type `foo`")),
    ] {
        let arguments = ["events", "list", "--json", "--type", kind];
        let (ended, asked) = against_server(&arguments, Some(TOKEN));
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(asked.iter().all(|query| query["type"] == kind));
        match told {
            None => assert_eq!(ended.stderr, "", "{kind}"),
            Some(told) => assert!(ended.stderr.contains(told), "{kind} {ended:?}"),
        }
    }
}

#[test]
fn json_is_one_document_and_jsonl_one_a_row() {
    let (ended, _) = against_server(&["events", "list", "--json"], Some(TOKEN));
    let page: Value = serde_json::from_str(ended.prints()).expect("JSON");
    assert_eq!(page["data"].as_array().map(Vec::len), Some(100));
    assert_eq!(
        (&page["watermark"], &page["next"]),
        (&json!(2499), &json!("100"))
    );
    let (ended, _) = against_server(&["events", "list", "--jsonl"], Some(TOKEN));
    let row: Value =
        serde_json::from_str(ended.prints().lines().next().expect("a row")).expect("JSON");
    assert_eq!(row["position"], 0);
}

#[test]
fn an_export_is_everything_oldest_first() {
    let (ended, asked) = against_server(&["events", "export", "--format", "csv"], Some(TOKEN));
    let lines: Vec<_> = ended.prints().lines().collect();
    assert_eq!(lines.len(), 2501);
    assert!(lines[0].starts_with("position,recorded_at,type,"));
    assert!(lines[2500].starts_with("2499,"));
    assert!(asked.iter().all(|query| query["sort"] == "asc"));
}

#[test]
fn a_tail_goes_on_where_it_was_cut() {
    let (ended, _) = against_server(&["events", "tail", "--jsonl"], Some(TOKEN));
    assert_eq!(ended.code, Some(7), "{ended:?}");
    let positions: Vec<u64> = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .filter_map(|event| event["position"].as_u64())
        .collect();
    assert_eq!(positions, [0, 1, 2, 3]);
}

#[test]
fn refusals_end_with_their_codes() {
    let (ended, _) = against_server(&["grant", "show", "known"], Some(TOKEN));
    assert_eq!(ended.prints(), "grant_id\tknown\nlive\ttrue\n");
    let (ended, _) = against_server(&["grant", "show", "unknown"], Some(TOKEN));
    ended.fails(3, "there is no such grant (grant_not_found)");
    let (ended, _) = against_server(&["grant", "show", "known"], Some("wrong"));
    ended.fails(7, "Unauthorized (invalid_operator_token)");
    let (ended, _) = against_server(&["grant", "show", "known"], None);
    ended.fails(7, "GRANTLOG_TOKEN");
}

#[test]
fn a_server_that_is_not_there_ends_with_6() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", nobody.local_addr().expect("bound"));
    drop(nobody);
    let ended = Run::new(&["logins", "--url", &url]).end();
    ended.fails(6, &format!("cannot reach {url}"));
}
