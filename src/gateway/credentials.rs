//! What a request proves itself with (RFC 6750 §2): one bearer token in the `Authorization`
//! header, or one API key in its place or in `X-API-Key`. Nothing else, nowhere else, never two.

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, header};
use http_body_util::BodyExt;
use http_body_util::Limited;

use super::challenge::{Denial, Denied};
use crate::http::bearer;
use crate::http::form::is_form;
use crate::http::request::BODY_TIME;

/// Where scripts may put their key.
pub(super) const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

const API_KEY_PREFIX: &str = "gw_key_";
/// No MCP message is a form; this is only read to find a token where none may be.
const FORM_BYTES_MAX: usize = 64 * 1024;

/// What was presented.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Credential<'a> {
    /// What looks like an access token.
    Token(&'a str),
    /// What looks like an API key.
    ApiKey(&'a str),
}

/// The one credential of a request.
///
/// # Errors
/// There is none, there are several, or it is where none may be.
pub(super) fn presented<'a>(
    headers: &'a HeaderMap,
    query: Option<&str>,
) -> Result<Credential<'a>, Denial> {
    if query.is_some_and(|query| names_a_token(query.as_bytes())) {
        return Err(misplaced(
            "token_in_query",
            "a token in the URL is not accepted",
        ));
    }
    let authorization = only(headers, &header::AUTHORIZATION)?;
    let api_key = only(headers, &X_API_KEY)?;
    match (authorization, api_key) {
        (None, None) => Err(Denied::Unauthenticated.because("no_credentials")),
        (Some(_), Some(_)) => Err(repeated()),
        (None, Some(key)) => Ok(Credential::ApiKey(key)),
        (Some(authorization), None) => from_authorization(authorization),
    }
}

fn from_authorization(authorization: &str) -> Result<Credential<'_>, Denial> {
    let token = bearer::token(authorization)
        .ok_or_else(|| Denied::Unauthenticated.because("other_scheme"))?;
    // What a front server makes of a header that was sent twice.
    if token.contains(',') {
        return Err(repeated());
    }
    if token.starts_with(API_KEY_PREFIX) {
        Ok(Credential::ApiKey(token))
    } else {
        Ok(Credential::Token(token))
    }
}

/// Refuses a token in a form body (RFC 6750 §2.2), as it does elsewhere where none may be. Other
/// bodies are not looked at, and none is collected but a form.
///
/// # Errors
/// There is a token in it, or it is too large or too slow to tell.
pub(super) async fn without_token_in_form(request: Request) -> Result<Request, Denial> {
    if !is_form(request.headers()) {
        return Ok(request);
    }
    let (parts, body) = request.into_parts();
    let collected = Limited::new(body, FORM_BYTES_MAX).collect();
    let bytes: Bytes = match tokio::time::timeout(BODY_TIME, collected).await {
        Err(_) => return Err(Denied::TooSlow.because("form_late")),
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(_)) => {
            return Err(misplaced(
                "form_too_large",
                "a form this large is not accepted",
            ));
        }
    };
    if names_a_token(&bytes) {
        return Err(misplaced(
            "token_in_body",
            "a token in the body is not accepted",
        ));
    }
    Ok(Request::from_parts(parts, Body::from(bytes)))
}

fn names_a_token(form: &[u8]) -> bool {
    form_urlencoded::parse(form).any(|(name, _)| name == "access_token")
}

/// A header that may be there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Denial> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value
            .to_str()
            .map(Some)
            .map_err(|_| Denied::InvalidToken.because("malformed")),
        (Some(_), Some(_)) => Err(repeated()),
    }
}

fn repeated() -> Denial {
    misplaced("several_credentials", "expected exactly one credential")
}

fn misplaced(cause: &'static str, description: &'static str) -> Denial {
    Denied::InvalidRequest(description).because(cause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[track_caller]
    fn check(
        headers: &[(&'static str, &'static str)],
        query: Option<&str>,
        expected: Result<Credential<'_>, &str>,
    ) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        let found = presented(&map, query).map_err(|denial| denial.cause);
        assert_eq!(found, expected, "{headers:?} {query:?}");
    }

    #[test]
    fn one_credential_in_a_header() {
        check(
            &[("authorization", "Bearer abc")],
            None,
            Ok(Credential::Token("abc")),
        );
        check(
            &[("authorization", "bEARER  abc")],
            Some("a=b"),
            Ok(Credential::Token("abc")),
        );
        check(
            &[("authorization", "Bearer gw_key_x")],
            None,
            Ok(Credential::ApiKey("gw_key_x")),
        );
        check(
            &[("x-api-key", "gw_key_x")],
            None,
            Ok(Credential::ApiKey("gw_key_x")),
        );
    }

    #[test]
    fn none() {
        check(&[], None, Err("no_credentials"));
        check(&[("authorization", "Basic abc")], None, Err("other_scheme"));
        check(
            &[("authorization", "Bearer")],
            None,
            Ok(Credential::Token("")),
        );
    }

    #[test]
    fn several_or_misplaced() {
        let bearer = ("authorization", "Bearer abc");
        check(&[bearer, bearer], None, Err("several_credentials"));
        check(
            &[("authorization", "Bearer a, Bearer b")],
            None,
            Err("several_credentials"),
        );
        check(
            &[bearer, ("x-api-key", "gw_key_x")],
            None,
            Err("several_credentials"),
        );
        check(
            &[("x-api-key", "a"), ("x-api-key", "a")],
            None,
            Err("several_credentials"),
        );
        check(
            &[bearer],
            Some("x=1&access_token=abc"),
            Err("token_in_query"),
        );
        check(&[], Some("access%5Ftoken=abc"), Err("token_in_query"));
        check(
            &[bearer],
            Some("xaccess_token=abc"),
            Ok(Credential::Token("abc")),
        );
    }
}
