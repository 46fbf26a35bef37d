//! What goes through the gateway: `tools/list`, and event streams that stay open.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::connection::Connection;
use super::load::{Sample, Until, drive};
use super::machine::Memory;
use super::node::Node;
use super::upstream::{EVENT, Upstream};
use super::{BenchError, Fallible, Plan};

const TOOLS_LIST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}"#;
const TOOLS: &[u8] = br#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"#;

/// How many events go over each stream while memory is watched.
const EVENTS_EACH: u64 = 20;

/// Lists the tools at `host` again and again, one connection a token.
pub(super) async fn list(
    plan: &Plan,
    server: u32,
    host: &str,
    path: &str,
    tokens: &[String],
) -> Fallible<Sample> {
    let list = async |(connection, token): &mut (Connection, &String)| {
        let answer = connection.post_mcp(path, token, TOOLS_LIST).await?;
        if answer.is_ok_beginning_with(TOOLS) {
            Ok(())
        } else {
            Err(answer.unexpected())
        }
    };
    let mut workers = Vec::new();
    for token in tokens {
        let mut worker = (Connection::open(host).await?, token);
        // The first use of a token is an event; connections are made.
        list(&mut worker).await?;
        workers.push(worker);
    }
    drive(&mut workers, &Until::elapsed(plan.time), server, list).await
}

/// What open event streams take.
pub(super) struct Streams {
    pub open: usize,
    pub events: u64,
    pub events_per_second: f64,
    pub before: Option<Memory>,
    pub while_open: Option<Memory>,
    pub after_events: Option<Memory>,
}

/// A stream and how many of its bytes were read.
struct Stream {
    _connection: Connection,
    body: Incoming,
    read: u64,
}

/// Opens a stream for each token, and sends events over all of them.
pub(super) async fn streams(
    node: &Node,
    upstream: &Upstream,
    tokens: &[String],
) -> Fallible<Streams> {
    let before = node.memory();
    let mut streams = Vec::new();
    for token in tokens {
        let mut connection = Connection::open(&node.gateway).await?;
        let body = connection.events("/proxy/1/mcp", token).await?;
        streams.push(Stream {
            _connection: connection,
            body,
            read: 0,
        });
    }
    // Each stream is known to reach from end to end.
    send(upstream, &mut streams, 1).await?;
    let while_open = node.memory();
    let began = Instant::now();
    for n in 0..EVENTS_EACH {
        send(upstream, &mut streams, n + 2).await?;
    }
    let events = EVENTS_EACH * streams.len() as u64;
    Ok(Streams {
        open: streams.len(),
        events,
        events_per_second: events as f64 / began.elapsed().as_secs_f64(),
        before,
        while_open,
        after_events: node.memory(),
    })
}

/// Sends one event on each stream, so that each has had `total`, and waits until all are read.
async fn send(upstream: &Upstream, streams: &mut [Stream], total: u64) -> Fallible<()> {
    upstream.send_events(1);
    let expected = total * EVENT.len() as u64;
    let all = try_join_all(streams.iter_mut().map(|stream| stream.read_to(expected)));
    let patience = Duration::from_secs(60);
    let lost = |_| BenchError::Unexpected("an event did not arrive".to_owned());
    tokio::time::timeout(patience, all).await.map_err(lost)??;
    Ok(())
}

impl Stream {
    async fn read_to(&mut self, expected: u64) -> Fallible<()> {
        while self.read < expected {
            let ended = || BenchError::Unexpected("an event stream ended".to_owned());
            let frame = self.body.frame().await.ok_or_else(ended)??;
            self.read += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        Ok(())
    }
}
