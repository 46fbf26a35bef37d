//! Which address at the upstream a request means, and which of ours an address at the upstream:
//! what stands below our endpoint is what stands below the upstream's URL.

use std::borrow::Cow;

use axum::http::Uri;
use axum::http::uri::InvalidUri;
use percent_encoding::percent_decode;
use url::{Position, Url};

use super::challenge::Denied;
use super::endpoint::Stop;
use super::forward::Failure;

/// So often a path may be encoded over again; who goes further has something to hide.
const DECODED_TIMES_MAX: usize = 8;

/// Where a request goes: the upstream's URL, with what stands below our endpoint behind it.
///
/// # Errors
/// The path would lead elsewhere than below the upstream's URL.
pub(super) fn upstream_uri(upstream: &Url, below: &str, query: Option<&str>) -> Result<Uri, Stop> {
    if climbs(below) {
        let denied = Denied::InvalidRequest("the path must not contain dot segments");
        return Err(denied.because("path_traversal").into());
    }
    let mut uri = String::from(&upstream[..Position::BeforePath]);
    if below.is_empty() || below == "/" {
        uri.push_str(upstream.path());
    } else {
        uri.push_str(upstream.path().trim_end_matches('/'));
        uri.push_str(below);
    }
    let queries = [upstream.query().map(Cow::from), query.map(Cow::from)];
    for (query, separator) in queries.into_iter().flatten().zip(['?', '&']) {
        uri.push(separator);
        uri.push_str(&query);
    }
    Uri::try_from(uri).map_err(|_: InvalidUri| Failure::Misconfigured.into())
}

/// Whether some reader of this path could take a part of it for `..`: however often it is encoded,
/// and whatever stands behind a `;` (parameters of a segment, RFC 3986 §3.3) or a NUL.
fn climbs(path: &str) -> bool {
    let mut plain = path.as_bytes().to_vec();
    for _ in 0..DECODED_TIMES_MAX {
        let decoded: Vec<u8> = percent_decode(&plain).collect();
        if decoded.len() == plain.len() {
            return has_dot_segment(&plain);
        }
        plain = decoded;
    }
    true
}

fn has_dot_segment(path: &[u8]) -> bool {
    path.split(|byte| matches!(byte, b'/' | b'\\'))
        .filter_map(|segment| segment.split(|byte| matches!(byte, b';' | 0)).next())
        .any(|name| matches!(name, b"." | b".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(upstream: &str, below: &str, query: Option<&str>, expected: &str) {
        let upstream = Url::parse(upstream).expect("a test's URL");
        let uri = upstream_uri(&upstream, below, query).ok().expect("a URI");
        assert_eq!(uri.to_string(), expected);
    }

    #[test]
    fn what_stands_below_comes_behind_the_upstreams_path() {
        check("http://up:1/mcp", "", None, "http://up:1/mcp");
        check("http://up:1/mcp", "/", None, "http://up:1/mcp");
        check("http://up:1/mcp/", "", None, "http://up:1/mcp/");
        check(
            "http://up:1/mcp",
            "/x",
            Some("y=1"),
            "http://up:1/mcp/x?y=1",
        );
        check("http://up:1/mcp/", "/x/", None, "http://up:1/mcp/x/");
        check("https://up", "/x", None, "https://up/x");
        check("http://up/m?k=v", "/x", Some("y"), "http://up/m/x?k=v&y");
        check("http://up/m?k=v", "", None, "http://up/m?k=v");
    }

    #[test]
    fn nothing_leads_out_of_the_upstreams_path() {
        for path in [
            "/..",
            "/../admin",
            "/a/../../b",
            "/%2e%2E/b",
            "/.%2e/b",
            "/a%2f..%2fb",
            "/..%5cb",
            "/..\\b",
            "/./a",
            "/..;/admin",
            "/..;a=b/admin",
            "/..%3b/admin",
            "/.;/admin",
            "/..%00/admin",
            "/..%00x",
            "/%252e%252e/admin",
            "/a%25252f%25252e%25252e",
            "/..%253b/admin",
            "/%2525252525252525252525252e",
        ] {
            assert!(climbs(path), "{path}");
        }
        for path in [
            "",
            "/",
            "/a",
            "/a..b/c...",
            "/.well-known",
            "/a%20b",
            "/a;b=../c",
            "/100%",
            "/a%2525b",
            "/...;/a",
        ] {
            assert!(!climbs(path), "{path}");
        }
    }
}
