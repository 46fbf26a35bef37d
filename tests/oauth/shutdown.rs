//! Told to stop while everybody is asking: what was answered is on record, and the end comes soon.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use support::{Client, Tokens, plain_http};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::rig::Rig;

const CONNECTIONS: usize = 32;
/// What requests in flight are given.
const DRAIN: Duration = Duration::from_secs(10);
/// Twice what requests in flight are given.
const SOON: Duration = Duration::from_secs(20);

/// Refreshes until the server is gone: the newest token, how often, and whether an answer was torn.
fn refreshing(
    client: Client,
    mut newest: String,
    stopping: Arc<AtomicBool>,
) -> JoinHandle<(String, usize, bool)> {
    tokio::spawn(async move {
        let (http, mut count) = (plain_http(), 0);
        loop {
            let url = format!("{}/token", client.proxy.issuer);
            let form = [
                ("grant_type", "refresh_token"),
                ("refresh_token", newest.as_str()),
                ("client_id", client.id.as_str()),
            ];
            let Ok(answer) = http.post(url).form(&form).send().await else {
                assert!(stopping.load(Ordering::Acquire), "gone before its time");
                return (newest, count, false);
            };
            let status = answer.status();
            let Ok(body) = answer.json::<serde_json::Value>().await else {
                return (newest, count, true);
            };
            match status.as_u16() {
                200 => {
                    newest = body["refresh_token"].as_str().expect("a token").to_owned();
                    count += 1;
                }
                503 => assert!(stopping.load(Ordering::Acquire), "{body}"),
                _ => panic!("{status} {body}"),
            }
        }
    })
}

/// Reads a tail to its end.
async fn tail(rig: &Rig) -> JoinHandle<bool> {
    let opened = plain_http()
        .get(format!("{}/api/v1/events/stream", rig.server.url))
        .bearer_auth(&rig.server.admin_token)
        .send()
        .await
        .expect("a stream")
        .error_for_status()
        .expect("a stream");
    tokio::spawn(async move { opened.bytes().await.is_ok() })
}

#[tokio::test]
async fn every_answer_that_was_given_is_on_record() {
    let mut rig = Rig::start().await;
    let client = rig.client().await;
    let stopping = Arc::new(AtomicBool::new(false));
    let tails = [tail(&rig).await, tail(&rig).await];
    let mut workers = Vec::new();
    for _ in 0..CONNECTIONS {
        let tokens = rig.log_in(&client).await;
        workers.push(refreshing(client.clone(), tokens.refresh, stopping.clone()));
    }
    let filter = "type=grant.refresh_token_rotated";
    while rig.server.events(filter).await.len() < 200 {}
    stopping.store(true, Ordering::Release);
    let began = Instant::now();
    rig.server.stop().await;
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    for tail in tails {
        assert!(tail.await.expect("no panic"), "a tail was torn");
    }
    let ended = join_all(workers).await;
    rig.server.start_again().await;
    let mut refreshed = 0;
    for worker in ended {
        let (newest, count, torn) = worker.expect("no panic");
        assert!(!torn, "an answer was torn");
        refreshed += count;
        let next = Tokens::of(&client.refresh(&newest).await.expect(200));
        client.refresh(&next.refresh).await.expect(200);
    }
    let recorded: usize = rig.server.list("/api/v1/grants").await.len();
    assert_eq!(recorded, CONNECTIONS);
    let rotations = count(&rig, filter).await;
    assert_eq!(
        rotations,
        refreshed + 2 * CONNECTIONS,
        "each answer has its event"
    );
    assert!(!rig.server.log().contains("panicked"));
}

/// All events that pass, page after page.
async fn count(rig: &Rig, filter: &str) -> usize {
    let (mut count, mut next) = (0, String::new());
    loop {
        let path = format!("/api/v1/events?{filter}&limit=1000{next}");
        let page = rig.server.get(&path).await.expect(200).json();
        count += page["data"].as_array().expect("rows").len();
        match page["next"].as_str() {
            Some(cursor) => next = format!("&cursor={cursor}"),
            None => return count,
        }
    }
}

/// Whoever is refused while the server already ends is on record, too.
#[tokio::test]
async fn the_last_one_to_be_refused_is_on_record() {
    let mut rig = Rig::start().await;
    let address = rig.server.url.trim_start_matches("http://").to_owned();
    let mut connection = TcpStream::connect(&address).await.expect("a listener");
    let body = "grant_type=refresh_token&refresh_token=x&client_id=nobody";
    let head = format!(
        "POST /api/v1/oauth-proxy/1/token HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes()).await.expect("sent");
    let mut go_on = [0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
    connection.read_exact(&mut go_on).await.expect("it is read");
    let finish = async {
        while TcpStream::connect(&address).await.is_ok() {}
        connection.write_all(body.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        let read = connection.read_to_string(&mut answer).await;
        read.expect("an answer");
        answer
    };
    let ((), answer) = tokio::join!(rig.server.stop(), finish);
    assert!(answer.contains("invalid_client"), "{answer}");
    rig.server.start_again().await;
    let refusals = rig.server.events("type=request.refused").await;
    assert_eq!(refusals.len(), 1, "{refusals:#?}");
}

/// Somebody who never ends their headers keeps nobody waiting.
#[tokio::test]
async fn a_request_that_has_not_begun_is_not_waited_for() {
    let mut rig = Rig::start().await;
    let mut held = Vec::new();
    for origin in [&rig.server.url, &rig.server.gateway_url] {
        let address = origin.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).await.expect("a listener");
        let sent = stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nx-").await;
        sent.expect("it is taken");
        // A request that is answered after it: the half one has arrived, too.
        plain_http().get(origin).send().await.expect("an answer");
        held.push(stream);
    }
    let began = Instant::now();
    rig.server.stop().await;
    assert!(began.elapsed() < DRAIN, "{:?}", began.elapsed());
}

/// Nor does somebody who asks and reads no answer.
#[tokio::test]
async fn whoever_reads_no_answer_is_not_waited_for() {
    let mut rig = Rig::start().await;
    let mut held = Vec::new();
    for origin in [&rig.server.url, &rig.server.gateway_url] {
        let address = origin.trim_start_matches("http://");
        let stream = TcpStream::connect(address).await.expect("a listener");
        // Until nothing more is taken: neither answers nor questions fit anywhere.
        let asking = async {
            loop {
                stream.writable().await.expect("a connection");
                let _ = stream.try_write(&b"GET /x HTTP/1.1\r\nhost: x\r\n\r\n".repeat(500));
            }
        };
        let _: Result<(), _> = tokio::time::timeout(Duration::from_secs(3), asking).await;
        held.push(stream);
    }
    let began = Instant::now();
    rig.server.stop().await;
    assert!(began.elapsed() < DRAIN / 2, "{:?}", began.elapsed());
}
