//! A web site of somebody else, on a loopback port: a client's redirect URI, an attacker's page,
//! or an MCP server, with every request it got.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{Html, IntoResponse as _, Response};
use tokio::net::TcpListener;
use url::Url;

type Log = Arc<Mutex<Vec<Received>>>;

pub struct Site {
    port: u16,
    log: Log,
}

#[derive(Clone, Debug)]
pub struct Received {
    pub method: Method,
    /// Path and query.
    pub target: String,
    pub headers: HeaderMap,
}

impl Site {
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let log = Log::default();
        let site = Router::new().fallback(answer).with_state(log.clone());
        tokio::spawn(async move { axum::serve(listener, site).await.unwrap() });
        Self { port, log }
    }

    /// An address of the site under one of its names: `127.0.0.1`, `localhost` or `*.example`.
    pub fn at(&self, host: &str, path: &str) -> String {
        format!("http://{host}:{}{path}", self.port)
    }

    /// The address of a page that holds this HTML.
    pub fn page(&self, host: &str, html: &str) -> String {
        let mut url = Url::parse(&self.at(host, "/page")).unwrap();
        url.query_pairs_mut().append_pair("html", html);
        url.into()
    }

    /// What was asked of it, apart from icons.
    pub fn received(&self) -> Vec<Received> {
        let log = self.log.lock().unwrap();
        let wanted = log.iter().filter(|r| r.target != "/favicon.ico");
        wanted.cloned().collect()
    }
}

/// A `POST` is answered as an MCP server with sessions would, anything else with the page that
/// was asked for.
async fn answer(State(log): State<Log>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let html = parts.uri.query().and_then(|query| {
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        pairs.find(|(name, _)| name == "html")
    });
    let html = html.map_or_else(String::new, |(_, html)| html.into_owned());
    log.lock().unwrap().push(Received {
        target: parts.uri.to_string(),
        headers: parts.headers,
        method: parts.method.clone(),
    });
    if parts.uri.path() == "/favicon.ico" {
        StatusCode::NO_CONTENT.into_response()
    } else if parts.method == Method::POST {
        let headers = [
            (header::CONTENT_TYPE.as_str(), "application/json"),
            ("mcp-session-id", "a-session"),
        ];
        (headers, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#).into_response()
    } else {
        Html(format!("<!doctype html><title>A site</title>{html}")).into_response()
    }
}
