//! Parameters of OAuth requests (RFC 6749 §3.1, §3.2): each at most once, empty means absent.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};

use super::error::OAuthError;
use super::request::{Caller, body};
use crate::app::Context;
use crate::clock;

/// A request that a client posted, taken apart without copying it.
pub struct Posted {
    /// Its circumstances; now is when all of it was there, however slowly it came.
    pub context: Context,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, read to the end.
    pub body: Bytes,
}

impl<S: Send + Sync> FromRequest<S> for Posted {
    type Rejection = OAuthError;

    async fn from_request(mut request: Request, state: &S) -> Result<Self, Self::Rejection> {
        let headers = std::mem::take(request.headers_mut());
        let mut context = Caller::of(request.extensions());
        let body = body(request, state).await?;
        context.now = clock::now();
        Ok(Self {
            context,
            headers,
            body,
        })
    }
}

/// The parameters of a form-encoded body.
#[derive(Debug)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// Reads a form-encoded body.
    ///
    /// # Errors
    /// `invalid_request` if the body is of another type, or a parameter other than `resource`
    /// (RFC 8707 §2 allows several) is repeated.
    pub fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Self, OAuthError> {
        if !is_form(headers) {
            return Err(OAuthError::invalid_request(
                "content_type",
                "expected application/x-www-form-urlencoded",
            ));
        }
        if std::str::from_utf8(body).is_err() {
            return Err(OAuthError::invalid_request("body", "expected UTF-8"));
        }
        let mut pairs: Vec<(String, String)> = Vec::with_capacity(8);
        for (name, value) in form_urlencoded::parse(body) {
            if pairs.len() == PARAMETERS_MAX {
                return Err(OAuthError::invalid_request("body", "too many parameters"));
            }
            if name != "resource" && pairs.iter().any(|(known, _)| *known == name) {
                return Err(OAuthError::invalid_request(
                    "duplicate_parameter",
                    "a parameter is repeated",
                ));
            }
            pairs.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(pairs))
    }

    /// A parameter, unless absent or empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.0.iter();
        let (_, value) = values.find(|(known, value)| known == name && !value.is_empty())?;
        Some(value)
    }

    /// Every value of a parameter that may be repeated.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(known, value)| known == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// A parameter that the request cannot do without.
    ///
    /// # Errors
    /// `invalid_request` if it is absent or empty.
    pub fn required(&self, name: &'static str) -> Result<&str, OAuthError> {
        self.get(name).ok_or_else(|| {
            OAuthError::invalid_request("parameter_missing", format!("{name} is missing"))
        })
    }
}

/// A hash-flooding or merely absurd body is not worth reading on.
const PARAMETERS_MAX: usize = 64;

/// Whether a body says that it is a form.
pub(crate) fn is_form(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|mime| {
            mime.trim()
                .eq_ignore_ascii_case("application/x-www-form-urlencoded")
        })
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use chrono::TimeDelta;

    use super::*;

    #[tokio::test]
    async fn now_is_when_all_of_a_request_was_there() {
        let began = clock::now() - TimeDelta::seconds(20);
        let mut request = Request::new(Body::from("a=b"));
        let caller = Caller(Context::system(began));
        request.extensions_mut().insert(caller);
        let posted = Posted::from_request(request, &()).await;
        let now = posted.map(|posted| posted.context.now).ok();
        assert!(now.is_some_and(|now| now - began >= TimeDelta::seconds(20)));
    }
}
