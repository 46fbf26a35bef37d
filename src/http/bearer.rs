//! Bearer tokens in the `Authorization` header (RFC 6750 §2.1).

use axum::http::{HeaderMap, header};

/// The token of a header of the Bearer scheme, empty if there is nothing behind it.
pub(crate) fn token(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ').unwrap_or((authorization, ""));
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim_matches(' '))
}

/// The token of a request with one such header. Which of two would count is nobody's to guess.
pub(super) fn presented(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    token(value.to_str().ok()?).filter(|token| !token.is_empty())
}
