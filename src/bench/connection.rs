//! The client's end of one kept-alive HTTP/1.1 connection.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST, LOCATION, SET_COOKIE};
use http::{Request, Response, StatusCode, request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;

use super::{BenchError, Fallible};

/// A connection; requests go over it one after the other.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    used: Instant,
}

/// A server closes what rests for too long, such as while other kinds are measured, perhaps as the next request comes.
const RESTED: Duration = Duration::from_secs(20);

/// What came back.
pub(super) struct Answer {
    pub status: StatusCode,
    location: Option<String>,
    cookie: Option<String>,
    body: Bytes,
}

impl Connection {
    /// Connects to `host:port`.
    pub async fn open(host: &str) -> Fallible<Self> {
        let stream = TcpStream::connect(host).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let host = host.to_owned();
        let used = Instant::now();
        Ok(Self { sender, host, used })
    }

    pub async fn get(&mut self, path: &str, cookie: Option<&str>) -> Fallible<Answer> {
        let mut request = Request::get(path);
        if let Some(cookie) = cookie {
            request = request.header(COOKIE, cookie);
        }
        self.ask(request, String::new()).await
    }

    pub async fn post(&mut self, path: &str, kind: &str, body: String) -> Fallible<Answer> {
        let request = Request::post(path).header(CONTENT_TYPE, kind);
        self.ask(request, body).await
    }

    /// Sends an MCP message, as a client that holds `token`.
    pub async fn post_mcp(
        &mut self,
        path: &str,
        token: &str,
        message: &'static str,
    ) -> Fallible<Answer> {
        let request = Request::post(path)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, text/event-stream")
            .header(AUTHORIZATION, format!("Bearer {token}"));
        self.ask(request, message.to_owned()).await
    }

    /// Opens an event stream of an MCP server, as a client that holds `token`.
    pub async fn events(&mut self, path: &str, token: &str) -> Fallible<Incoming> {
        let request = Request::get(path)
            .header(ACCEPT, "text/event-stream")
            .header(AUTHORIZATION, format!("Bearer {token}"));
        let response = self.send(request, String::new()).await?;
        if response.status() == StatusCode::OK {
            Ok(response.into_body())
        } else {
            Err(Answer::of(response).await?.unexpected())
        }
    }

    async fn ask(&mut self, request: request::Builder, body: String) -> Fallible<Answer> {
        Answer::of(self.send(request, body).await?).await
    }

    async fn send(
        &mut self,
        request: request::Builder,
        body: String,
    ) -> Fallible<Response<Incoming>> {
        let request = request.header(HOST, &self.host).body(Full::from(body))?;
        if self.used.elapsed() > RESTED || self.sender.ready().await.is_err() {
            *self = Self::open(&self.host).await?;
            self.sender.ready().await?;
        }
        self.used = Instant::now();
        Ok(self.sender.send_request(request).await?)
    }
}

impl Answer {
    async fn of(response: Response<Incoming>) -> Fallible<Self> {
        let text = |name| {
            let value = response.headers().get(name)?;
            Some(value.to_str().ok()?.to_owned())
        };
        Ok(Self {
            status: response.status(),
            location: text(LOCATION),
            cookie: text(SET_COOKIE),
            body: response.into_body().collect().await?.to_bytes(),
        })
    }

    /// The body, if the status is `expected`.
    pub fn json<T: DeserializeOwned>(&self, expected: StatusCode) -> Fallible<T> {
        if self.status != expected {
            return Err(self.unexpected());
        }
        serde_json::from_slice(&self.body).map_err(|_| self.unexpected())
    }

    /// Whether it is a 200 whose body begins so: checked without reading it all.
    pub fn is_ok_beginning_with(&self, beginning: &[u8]) -> bool {
        self.status == StatusCode::OK && self.body.starts_with(beginning)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Where the browser is sent, if it is.
    pub fn location(&self) -> Fallible<&str> {
        self.location.as_deref().ok_or_else(|| self.unexpected())
    }

    /// The cookie that is set, as the browser returns it.
    pub fn cookie(&self) -> Option<&str> {
        self.cookie.as_deref()?.split(';').next()
    }

    pub fn unexpected(&self) -> BenchError {
        BenchError::Unexpected(format!("{} {}", self.status, self.text()))
    }
}
