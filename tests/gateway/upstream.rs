//! An MCP server as far as a proxy can tell: it shows what it was sent and does what it is told.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::rig::serve;

/// What arrived.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Received {
    /// A header as text; empty if absent.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().expect("text"))
    }
}

/// An upstream that notes each request and answers all alike.
#[derive(Clone)]
pub struct Upstream {
    /// Its MCP endpoint.
    pub url: String,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Upstream {
    /// Answers 200 with a little JSON.
    pub async fn start() -> Self {
        Self::answering(|| {
            let headers = [("content-type", "application/json")];
            (headers, r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[]}}"#).into_response()
        })
        .await
    }

    /// Answers as told, once the request is here to its end.
    pub async fn answering(answer: impl Fn() -> Response + Clone + Send + Sync + 'static) -> Self {
        let received: Arc<Mutex<Vec<Received>>> = Arc::default();
        let notes = received.clone();
        let router = Router::new().fallback(move |request: Request| {
            let (notes, answer) = (notes.clone(), answer.clone());
            async move {
                let (parts, body) = request.into_parts();
                let Ok(body) = body.collect().await else {
                    return StatusCode::BAD_REQUEST.into_response();
                };
                let mut notes = notes.lock().expect("no handler panicked");
                notes.push(Received {
                    method: parts.method,
                    uri: parts.uri,
                    headers: parts.headers,
                    body: body.to_bytes(),
                });
                answer()
            }
        });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        serve(listener, router);
        Self {
            url: format!("http://{address}/up/mcp"),
            received,
        }
    }

    /// Everything that arrived so far.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().expect("no handler panicked").clone()
    }

    /// The one request that arrived.
    pub fn only(&self) -> Received {
        let received = self.received();
        assert_eq!(received.len(), 1, "{received:?}");
        received.into_iter().next().expect("one")
    }
}

/// An upstream whose answer is written by the test as the test goes on.
pub struct Scripted {
    /// Its MCP endpoint.
    pub url: String,
    /// Chunks of the answer's body; dropping it ends the answer.
    pub says: mpsc::Sender<Bytes>,
}

impl Scripted {
    /// Answers its first request with an event stream.
    pub async fn start(content_type: &'static str) -> Self {
        let (says, chunks) = mpsc::channel::<Bytes>(1);
        let chunks = Arc::new(Mutex::new(Some(chunks)));
        let router = Router::new().fallback(move || {
            let chunks = chunks.lock().expect("no handler panicked").take();
            async move {
                let stream = futures_util::stream::unfold(chunks, async |chunks| {
                    let mut chunks = chunks?;
                    let chunk = chunks.recv().await?;
                    Some((Ok::<_, std::io::Error>(chunk), Some(chunks)))
                });
                ([("content-type", content_type)], Body::from_stream(stream))
            }
        });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        serve(listener, router);
        Self {
            url: format!("http://{address}/mcp"),
            says,
        }
    }

    pub async fn say(&self, text: &'static str) {
        let said = self.says.send(Bytes::from_static(text.as_bytes())).await;
        said.expect("somebody listens");
    }
}
