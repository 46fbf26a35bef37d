//! The client's end of one kept-alive HTTP/1.1 connection.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, LOCATION, SET_COOKIE};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;

use crate::Fallible;

/// A connection; requests go over it one after the other.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

/// What came back.
pub struct Answer {
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
        Ok(Self { sender, host })
    }

    pub async fn get(&mut self, path: &str, cookie: Option<&str>) -> Fallible<Answer> {
        let mut request = Request::get(path).header(HOST, &self.host);
        if let Some(cookie) = cookie {
            request = request.header("cookie", cookie);
        }
        self.send(request.body(Full::default())?).await
    }

    pub async fn post(&mut self, path: &str, kind: &str, body: String) -> Fallible<Answer> {
        let request = Request::post(path)
            .header(HOST, &self.host)
            .header(CONTENT_TYPE, kind)
            .body(Full::from(body))?;
        self.send(request).await
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Fallible<Answer> {
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let text = |name| {
            let value = response.headers().get(name)?;
            Some(value.to_str().ok()?.to_owned())
        };
        Ok(Answer {
            status: response.status(),
            location: text(LOCATION),
            cookie: text(SET_COOKIE),
            body: response.into_body().collect().await?.to_bytes(),
        })
    }
}

impl Answer {
    /// The body, if the status is `expected`.
    pub fn json<T: DeserializeOwned>(&self, expected: StatusCode) -> Fallible<T> {
        if self.status != expected {
            return Err(self.unexpected());
        }
        Ok(serde_json::from_slice(&self.body)?)
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

    fn unexpected(&self) -> Box<dyn std::error::Error> {
        format!("unexpected answer: {} {}", self.status, self.text()).into()
    }
}
