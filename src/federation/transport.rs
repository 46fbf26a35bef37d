//! HTTP to providers: no redirects, no proxies from the environment, every wait and size bounded.

use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::causes::chain;

/// No answer of a provider that we read is larger.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Nothing usable came back, through no fault of the request.
#[derive(Clone, Debug)]
pub(super) struct Unreachable {
    /// For the operator; names no URL.
    pub(super) why: String,
    /// It was there, but could not answer.
    pub(super) has_answered: bool,
}

/// A provider's answer, read to its end.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    step: &'static str,
    host: Option<String>,
    is_form: bool,
    body: Zeroizing<Vec<u8>>,
}

/// The client for all providers. Each request ends within `timeout`, its body included, and a little
/// before it, so that the operator is told which one took so long.
///
/// Servers are verified against the machine's own root certificates; where there are none, every
/// https provider is refused and the log says why.
pub(super) fn client(timeout: Duration) -> reqwest::Result<reqwest::Client> {
    let builder = || {
        reqwest::Client::builder()
            .user_agent(concat!("grantlog/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .connect_timeout(timeout / 2)
            .timeout(timeout - timeout / 16)
    };
    builder().build().or_else(|error| {
        tracing::error!(
            error = chain(&error),
            "no root certificates: https providers cannot be verified and will be refused"
        );
        builder().tls_certs_only([]).build()
    })
}

/// Sends a request and reads the answer. A failure is told to the operator, by step and host.
pub(super) async fn send(
    step: &'static str,
    request: RequestBuilder,
) -> Result<Reply, Unreachable> {
    let (client, request) = request.build_split();
    let request = request.map_err(Unreachable::from)?;
    let host = request.url().host_str().map(str::to_owned);
    // Boxed, or every login and renewal is as large a future as an exchange over HTTP.
    let answer = Box::pin(async {
        let response = client.execute(request).await?;
        let status = response.status();
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return Err(Unreachable::answered(&status));
        }
        let is_form = response.headers().get(CONTENT_TYPE).is_some_and(|kind| {
            kind.as_bytes()
                .starts_with(b"application/x-www-form-urlencoded")
        });
        Ok((status, is_form, read(response).await?))
    });
    match answer.await {
        Ok((status, is_form, body)) => Ok(Reply {
            status,
            step,
            host,
            is_form,
            body,
        }),
        Err(error) => {
            tracing::warn!(step, host, why = error.why, "a provider cannot be reached");
            Err(error)
        }
    }
}

async fn read(mut response: Response) -> Result<Zeroizing<Vec<u8>>, Unreachable> {
    let mut body = Zeroizing::new(Vec::new());
    while let Some(chunk) = response.chunk().await.map_err(Unreachable::from)? {
        if body.len() + chunk.len() > BODY_BYTES_MAX {
            let larger = format!("more than {BODY_BYTES_MAX} bytes");
            return Err(Unreachable::answered(&larger));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

impl Reply {
    /// What a successful answer holds. Anything else is told to the operator.
    pub(super) fn document<T: DeserializeOwned>(&self) -> Option<T> {
        let why = match self.status.is_success() {
            false => format!("answered {}", self.status),
            true => match serde_json::from_slice(&self.body) {
                Ok(document) => return Some(document),
                // Only where it broke: the text is not ours to repeat.
                Err(error) => format!("{:?} error in line {}", error.classify(), error.line()),
            },
        };
        let (step, host) = (self.step, &self.host);
        tracing::warn!(step, host, why, "a provider's answer cannot be used");
        None
    }

    /// The body as JSON, whatever the status; nothing if it is something else, such as HTML.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The same, or a form where the answer says it is one, each member a string: older OAuth 2
    /// servers write token responses so.
    pub(super) fn json_or_form<T: DeserializeOwned>(&self) -> Option<T> {
        if let Some(json) = self.json() {
            return Some(json);
        }
        if !self.is_form {
            return None;
        }
        let members: Map<String, Value> = form_urlencoded::parse(&self.body)
            .map(|(name, value)| (name.into_owned(), Value::String(value.into_owned())))
            .collect();
        serde_json::from_value(Value::Object(members)).ok()
    }
}

impl Unreachable {
    pub(super) fn answered(what: &dyn std::fmt::Display) -> Self {
        Self {
            why: format!("answered {what}"),
            has_answered: true,
        }
    }
}

impl From<reqwest::Error> for Unreachable {
    fn from(error: reqwest::Error) -> Self {
        Self {
            why: chain(&error.without_url()),
            has_answered: false,
        }
    }
}
