//! The administration and investigation API of a running server.
//!
//! Invariants: the operator's token comes from the environment or a file, goes to the named
//! server only (no redirects), and leaves the device only by https.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use reqwest::{Client, Method, Response, StatusCode, header};
use serde_json::Value;
use sse_stream::SseStream;
use url::Url;
use zeroize::Zeroizing;

use super::exit::Failure;
use super::text;
use crate::causes::innermost;

/// Where a server is if nobody says otherwise.
pub const DEFAULT_URL: &str = "http://127.0.0.1:8080";

/// A bounded wait for read models or a long walk may take this long.
const TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A running server, spoken to as one operator.
pub struct Remote {
    base: Url,
    token: Option<Zeroizing<String>>,
    client: Client,
}

impl Remote {
    /// The server at `url`, or `GRANTLOG_URL`, or [`DEFAULT_URL`], with the token in
    /// `GRANTLOG_TOKEN` or in the file that `GRANTLOG_TOKEN_FILE` names.
    ///
    /// # Errors
    /// The URL is none or would send the token in clear; the file cannot be read.
    pub fn new(url: Option<&str>, environment: &BTreeMap<String, String>) -> Result<Self, Failure> {
        let text = url
            .or_else(|| environment.get("GRANTLOG_URL").map(String::as_str))
            .unwrap_or(DEFAULT_URL);
        let base = parse_base(text)?;
        let builder = Client::builder()
            .user_agent(concat!("grantlog/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT);
        // without https no certificates are needed, and a bare container has none
        let builder = if base.scheme() == "http" {
            builder.no_proxy().tls_certs_only([])
        } else {
            builder
        };
        Ok(Self {
            base,
            token: token(environment)?,
            client: builder
                .build()
                .map_err(|error| Failure::Error(innermost(&error).to_string()))?,
        })
    }

    /// The same server, spoken to with another token.
    #[must_use]
    pub fn with_token(&self, token: Zeroizing<String>) -> Self {
        Self {
            base: self.base.clone(),
            token: Some(token),
            client: self.client.clone(),
        }
    }

    /// Sends a request and returns the document it is answered with; null if there is none.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses; see [`Failure`].
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let mut request = self.request(method, path, query)?.timeout(TIMEOUT);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = self.answered(request).await?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(Value::Null);
        }
        let bytes = response.bytes().await.map_err(|error| self.lost(&error))?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).map_err(|_| {
            Failure::Error(format!(
                "{} does not answer with JSON: expected the address of a Grantlog server",
                self.base
            ))
        })
    }

    /// Follows a stream of server-sent events until it ends; `each` is given their data and id.
    ///
    /// # Errors
    /// As [`send`](Self::send); what `each` fails with.
    pub async fn follow(
        &self,
        path: &str,
        query: &[(&str, String)],
        last_event_id: Option<&str>,
        mut each: impl FnMut(Value, Option<String>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut request = self
            .request(Method::GET, path, query)?
            .header(header::ACCEPT, "text/event-stream");
        if let Some(id) = last_event_id {
            request = request.header("Last-Event-ID", id);
        }
        let response = self.answered(request).await?;
        let mut events = SseStream::from_bytes_stream(response.bytes_stream());
        while let Some(event) = events.next().await {
            let event = event.map_err(|error| self.lost(&error))?;
            if let Some(data) = event.data.as_deref() {
                let data = serde_json::from_str(data)
                    .map_err(|_| Failure::Error("expected events of JSON".to_owned()))?;
                each(data, event.id)?;
            }
        }
        Ok(())
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<reqwest::RequestBuilder, Failure> {
        let url = self
            .base
            .join(path)
            .map_err(|error| Failure::Usage(format!("`{path}`: {error}")))?;
        let request = self.client.request(method, url).query(query);
        Ok(match &self.token {
            Some(token) => request.bearer_auth(token.as_str()),
            None => request,
        })
    }

    async fn answered(&self, request: reqwest::RequestBuilder) -> Result<Response, Failure> {
        let response = request.send().await.map_err(|error| self.lost(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let problem = response.bytes().await.unwrap_or_default();
        let problem = serde_json::from_slice(&problem).unwrap_or_default();
        Err(self.refused(status, &problem))
    }

    fn refused(&self, status: StatusCode, problem: &Value) -> Failure {
        let member = |name: &str| problem[name].as_str().map(text::plain);
        let said = member("detail")
            .or_else(|| member("error_description"))
            .or_else(|| member("title"))
            .unwrap_or_else(|| status.to_string());
        let code = member("code").or_else(|| member("error"));
        let said = match code {
            Some(code) => format!("{said} ({code})"),
            None => said,
        };
        match status {
            StatusCode::UNAUTHORIZED if self.token.is_none() => Failure::Unauthorized(format!(
                "{said}: put an operator's token into GRANTLOG_TOKEN or GRANTLOG_TOKEN_FILE"
            )),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::Unauthorized(said),
            StatusCode::NOT_FOUND | StatusCode::GONE => Failure::NotFound(said),
            StatusCode::BAD_REQUEST
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNPROCESSABLE_ENTITY => Failure::Usage(said),
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Failure::Unavailable(said),
            _ => Failure::Error(said),
        }
    }

    fn lost(&self, error: &(dyn std::error::Error + 'static)) -> Failure {
        Failure::Unavailable(format!("cannot reach {}: {}", self.base, innermost(error)))
    }
}

fn parse_base(text: &str) -> Result<Url, Failure> {
    let url = Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or_else(|| {
            Failure::Usage("the server's URL: expected an http or https URL".to_owned())
        })?;
    if !url.username().is_empty() || url.password().is_some() {
        let reason = "the server's URL: expected no user before the host";
        return Err(Failure::Usage(reason.to_owned()));
    }
    if url.scheme() == "http" && !crate::config::is_loopback(&url) {
        let reason = "the server's URL: expected https, or http on a loopback host, because it is sent a token";
        return Err(Failure::Usage(reason.to_owned()));
    }
    Ok(url)
}

fn token(environment: &BTreeMap<String, String>) -> Result<Option<Zeroizing<String>>, Failure> {
    if let Some(token) = environment.get("GRANTLOG_TOKEN") {
        return Ok(Some(Zeroizing::new(token.trim().to_owned())));
    }
    let Some(path) = environment.get("GRANTLOG_TOKEN_FILE") else {
        return Ok(None);
    };
    let token = std::fs::read_to_string(path)
        .map_err(|error| Failure::Usage(format!("cannot read {path}: {error}")))?;
    let token = Zeroizing::new(token);
    Ok(Some(Zeroizing::new(token.trim().to_owned())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn remote(variables: &[(&str, &str)]) -> Result<Remote, Failure> {
        let environment = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Remote::new(None, &environment)
    }

    #[test]
    fn a_token_is_sent_by_https_or_not_off_the_device() {
        for (url, accepted) in [
            ("https://auth.example.com", true),
            ("http://127.0.0.1:8080", true),
            ("http://localhost:1", true),
            ("http://auth.example.com", false),
            ("http://10.0.0.1", false),
            ("https://user@auth.example.com", false),
            ("auth.example.com", false),
            ("unix:///run/grantlog", false),
        ] {
            let made = remote(&[("GRANTLOG_URL", url), ("GRANTLOG_TOKEN", "t")]);
            assert_eq!(made.is_ok(), accepted, "{url}");
        }
    }

    #[test]
    fn refusals_become_exit_codes_and_keep_their_words() {
        let remote = remote(&[("GRANTLOG_TOKEN", "t")]).expect("the default server");
        let problem = json!({"title": "Bad", "detail": "no\u{1b} such", "code": "unknown_filter"});
        for (status, code) in [
            (400, 2),
            (401, 7),
            (403, 7),
            (404, 3),
            (409, 1),
            (422, 2),
            (429, 6),
            (500, 1),
            (503, 6),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            let failure = remote.refused(status, &problem);
            assert_eq!(failure.exit() as u8, code, "{status}");
            assert_eq!(failure.to_string(), "no such (unknown_filter)");
        }
    }

    #[test]
    fn without_a_token_the_refusal_says_where_it_goes() {
        let remote = remote(&[]).expect("the default server");
        let failure = remote.refused(StatusCode::UNAUTHORIZED, &Value::Null);
        assert!(failure.to_string().contains("GRANTLOG_TOKEN"), "{failure}");
    }
}
