//! An MCP server that costs the load client little: it lists ten tools, and its event streams tell
//! as much as it is told to. Never good for anything but measuring.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::LazyLock;

use bytes::Bytes;
use futures_util::stream;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::Fallible;

/// What is sent on an event stream each time.
pub(super) const EVENT: &[u8] = b"event: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\
    \"params\":{\"level\":\"info\",\"logger\":\"bench\",\"data\":\"one of a few thousand events, as long as they tend to be\"}}\n\n";

/// The running server.
pub(super) struct Upstream {
    /// Its `host:port`.
    pub host: String,
    events: watch::Sender<u64>,
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: &'a str,
}

static TOOLS: LazyLock<String> = LazyLock::new(|| {
    let tool = |n: u32| {
        json!({
            "name": format!("tool_{n}"),
            "description": "Looks up what is known about a thing and returns it as text",
            "inputSchema": {
                "type": "object",
                "properties": { "name": { "type": "string" }, "limit": { "type": "integer" } },
                "required": ["name"],
            },
        })
    };
    let tools: Vec<_> = (0..10).map(tool).collect();
    json!({ "tools": tools }).to_string()
});

impl Upstream {
    /// Starts it on a free port.
    pub async fn start() -> Fallible<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let host = listener.local_addr()?.to_string();
        let events = watch::Sender::new(0);
        tokio::spawn(accept(listener, events.clone()));
        Ok(Self { host, events })
    }

    /// Sends so many more events on every open stream, and on each that is opened later.
    pub fn send_events(&self, more: u64) {
        self.events.send_modify(|count| *count += more);
    }
}

async fn accept(listener: TcpListener, events: watch::Sender<u64>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        let events = events.clone();
        let service = service_fn(move |request| answer(request, events.subscribe()));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(
    request: Request<Incoming>,
    events: watch::Receiver<u64>,
) -> Result<Response<Body>, Infallible> {
    let response = match *request.method() {
        Method::GET => respond("text/event-stream", event_stream(events)),
        _ => match request.into_body().collect().await {
            Ok(body) => message(&body.to_bytes()),
            Err(_) => bad_request(),
        },
    };
    Ok(response)
}

fn message(body: &[u8]) -> Response<Body> {
    let Ok(Message {
        id: Some(id),
        method,
    }) = serde_json::from_slice(body)
    else {
        return bad_request();
    };
    let outcome = match method {
        "tools/list" => format!(r#""result":{}"#, *TOOLS),
        _ => r#""error":{"code":-32601,"message":"only tools/list"}"#.to_owned(),
    };
    let text = format!(r#"{{"jsonrpc":"2.0","id":{id},{outcome}}}"#);
    respond("application/json", Full::from(text).boxed_unsync())
}

fn event_stream(events: watch::Receiver<u64>) -> Body {
    let frames = stream::unfold((events, 0), |(mut events, sent)| async move {
        events.wait_for(|count| *count > sent).await.ok()?;
        let frame = Frame::data(Bytes::from_static(EVENT));
        Some((Ok(frame), (events, sent + 1)))
    });
    StreamBody::new(frames).boxed_unsync()
}

fn respond(kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn bad_request() -> Response<Body> {
    let mut response = Response::new(Full::default().boxed_unsync());
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
}
