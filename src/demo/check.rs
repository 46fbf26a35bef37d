//! What the story expects of every answer, and how it says that something else came.

use std::fmt::Display;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;

use super::DemoError;
use crate::causes::innermost;

/// How long any single answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What a check found instead of what it expected.
#[derive(Debug)]
pub(super) struct Unexpected {
    expected: String,
    found: String,
}

/// Names the step at which something else was found.
pub(super) fn at(step: &'static str) -> impl FnOnce(Unexpected) -> DemoError {
    move |Unexpected { expected, found }| DemoError::Step {
        step,
        expected,
        found,
    }
}

/// The JSON of an answer that must have this status.
pub(super) async fn body(
    response: reqwest::Response,
    expected: StatusCode,
) -> Result<Value, Unexpected> {
    let (status, path) = (response.status(), response.url().path().to_owned());
    let body = response.text().await?;
    let parsed: Option<Value> = serde_json::from_str(&body).ok();
    match parsed {
        Some(parsed) if status == expected => Ok(parsed),
        parsed => {
            // Only what says what went wrong: a successful answer may hold tokens.
            let said = |name: &str| parsed.as_ref()?.get(name)?.as_str();
            let said = said("error")
                .or(said("detail"))
                .or(said("code"))
                .unwrap_or("no reason");
            Err(Unexpected::new(
                format!("{} and JSON from {path}", expected.as_u16()),
                format!("{}: {said}", status.as_u16()),
            ))
        }
    }
}

/// A text in an answer.
pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> Result<&'a str, Unexpected> {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.ok_or_else(|| Unexpected::new(format!("a text at {pointer}"), "none"))
}

/// Compares what a step found.
pub(super) fn expect(what: &str, expected: &str, found: &str) -> Result<(), Unexpected> {
    if expected == found {
        Ok(())
    } else {
        Err(Unexpected::new(
            format!("{what} {expected:?}"),
            format!("{found:?}"),
        ))
    }
}

/// A client for plain http on loopback: no proxy of the environment has a part in it, no root
/// certificates are needed, and a redirect is an answer to be looked at.
pub(super) fn http_client(
    user_agent: &str,
    address: Option<IpAddr>,
) -> Result<reqwest::Client, Unexpected> {
    let client = reqwest::Client::builder()
        .user_agent(user_agent)
        .local_address(address)
        .no_proxy()
        .tls_certs_only([])
        .redirect(reqwest::redirect::Policy::none())
        .timeout(ANSWER_WITHIN)
        .build()?;
    Ok(client)
}

impl Unexpected {
    /// An expectation and what came instead; neither may hold a secret.
    pub fn new(expected: impl Display, found: impl Display) -> Self {
        Self {
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }
}

impl From<reqwest::Error> for Unexpected {
    fn from(error: reqwest::Error) -> Self {
        // The URL may hold a code; the innermost cause says what happened.
        Self::new("an HTTP answer", innermost(&error.without_url()))
    }
}

impl From<io::Error> for Unexpected {
    fn from(error: io::Error) -> Self {
        Self::new("a free port", error)
    }
}
