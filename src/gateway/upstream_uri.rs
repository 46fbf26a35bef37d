//! Which address at the upstream a request means, and which of ours an address at the upstream:
//! what stands below our endpoint is what stands below the upstream's URL.

use std::borrow::Cow;

use axum::http::uri::InvalidUri;
use axum::http::{HeaderValue, Uri};
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
        let denied = Denied::InvalidRequest("the path must be UTF-8 without dot segments");
        return Err(denied.because("path_traversal").into());
    }
    let mut uri = String::from(&upstream[..Position::BeforePath]);
    if below.is_empty() || below == "/" {
        uri.push_str(upstream.path());
    } else {
        uri.push_str(upstream.path().trim_end_matches('/'));
        uri.push_str(below);
    }
    let query = query.map(|query| without_fixed(query, upstream));
    let queries = [upstream.query().map(Cow::from), query];
    let queries = queries.into_iter().flatten();
    let queries = queries.filter(|query| upstream.query().is_none() || !query.is_empty());
    for (query, separator) in queries.zip(['?', '&']) {
        uri.push(separator);
        uri.push_str(&query);
    }
    Uri::try_from(uri).map_err(|_: InvalidUri| Failure::Misconfigured.into())
}

/// A query without the parameters that the upstream's URL fixes: who repeats one must not replace it.
fn without_fixed<'a>(query: &'a str, upstream: &Url) -> Cow<'a, str> {
    if upstream.query().is_none() {
        return query.into();
    }
    let is_fixed = |pair: &&str| {
        let mut named = form_urlencoded::parse(pair.as_bytes());
        named.any(|(name, _)| upstream.query_pairs().any(|(fixed, _)| fixed == name))
    };
    let own: Vec<&str> = query.split('&').filter(|pair| !is_fixed(pair)).collect();
    own.join("&").into()
}

/// What a client is told for a `Location` of the upstream's answer to the request for `asked`: below
/// the upstream's URL, the same thing below our `resource`; at another host, what it is.
///
/// # Errors
/// It is the upstream's and not below its URL, or cannot be said below ours, or is no URL. The address of
/// the upstream is nothing to a client, and would lead it past the gateway.
pub(super) fn location_for_client(
    location: &HeaderValue,
    asked: &Uri,
    upstream: &Url,
    resource: &str,
) -> Result<HeaderValue, Failure> {
    let elsewhere = || Failure::Unexpected;
    let asked_url = Url::parse(&asked.to_string()).map_err(|_| elsewhere())?;
    let location = location.to_str().map_err(|_| elsewhere())?;
    let mut location = asked_url.join(location).map_err(|_| elsewhere())?;
    if location.host() != upstream.host() {
        return HeaderValue::try_from(String::from(location)).map_err(|_| elsewhere());
    }
    if location.origin() != upstream.origin() {
        return Err(elsewhere());
    }
    location.set_fragment(None);
    let below = location
        .path()
        .strip_prefix(upstream.path().trim_end_matches('/'))
        .filter(|below| below.is_empty() || below.starts_with('/'))
        .ok_or_else(elsewhere)?;
    // Such as the same with a slash at the end: the client would be sent there again and again.
    let comes_back = upstream_uri(upstream, below, location.query()).is_ok_and(|uri| uri == *asked);
    if comes_back && location != asked_url {
        return Err(elsewhere());
    }
    let mut own = format!("{}{below}", resource.trim_end_matches('/'));
    let query = location.query().map(|query| without_fixed(query, upstream));
    if let Some(query) = query.filter(|query| !query.is_empty()) {
        own.push('?');
        own.push_str(&query);
    }
    HeaderValue::try_from(own).map_err(|_| elsewhere())
}

/// Whether some reader of this path could take a part of it for `..`, however often it is encoded.
/// What is not UTF-8 can be anything: overlong forms are dots and slashes to some.
fn climbs(path: &str) -> bool {
    let mut plain = path.as_bytes().to_vec();
    for _ in 0..DECODED_TIMES_MAX {
        let decoded: Vec<u8> = percent_decode(&plain).collect();
        if decoded.len() == plain.len() {
            return str::from_utf8(&plain).map_or(true, has_dot_segment);
        }
        plain = decoded;
    }
    true
}

/// Judges what a segment is before anything that ends a path or a segment's name (RFC 3986 §3.3),
/// without what parsers leave out. The escape `%u002e` is refused as such: some servers decode it.
fn has_dot_segment(path: &str) -> bool {
    let is_dots = |segment: &str| {
        let name = segment.split([';', '?', '#', '\0']).next();
        let left_out = |c: char| c.is_whitespace() || c.is_control();
        matches!(
            name.unwrap_or_default().replace(left_out, "").as_str(),
            "." | ".."
        )
    };
    let is_escape = |text: &[u8]| {
        text[..2].eq_ignore_ascii_case(b"%u") && text[2..].iter().all(u8::is_ascii_hexdigit)
    };
    path.split(['/', '\\']).any(is_dots) || path.as_bytes().windows(6).any(is_escape)
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
    use proptest::prelude::*;

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
        check("http://up/m", "", Some(""), "http://up/m?");
    }

    #[test]
    fn what_the_upstreams_url_fixes_is_not_the_clients_to_say() {
        let fixed = "http://up/m?k=v&a%20b=1";
        for (query, left) in [
            ("k=x", ""),
            ("%6B=x&y=1", "&y=1"),
            ("y=1&k&k=", "&y=1"),
            ("a+b=2&z&K=x", "&z&K=x"),
        ] {
            check(fixed, "", Some(query), &format!("{fixed}{left}"));
        }
    }

    #[test]
    fn a_location_below_the_upstreams_url_is_one_below_ours() {
        let told = |location: &'static str| {
            let upstream = Url::parse("http://up:1/mcp").expect("a URL");
            let asked = Uri::from_static("http://up:1/mcp/a/b");
            let location = HeaderValue::from_static(location);
            let told = location_for_client(&location, &asked, &upstream, "https://gw/proxy/2/mcp/");
            told.ok()
                .map(|told| told.to_str().expect("text").to_owned())
        };
        for (location, expected) in [
            ("http://up:1/mcp", Some("https://gw/proxy/2/mcp")),
            (
                "http://up:1/mcp/a/?b=c#d",
                Some("https://gw/proxy/2/mcp/a/?b=c"),
            ),
            ("c", Some("https://gw/proxy/2/mcp/a/c")),
            ("/mcp/x", Some("https://gw/proxy/2/mcp/x")),
            ("//up:1/mcp/x", Some("https://gw/proxy/2/mcp/x")),
            (
                "http://name:word@up:1/mcp/x",
                Some("https://gw/proxy/2/mcp/x"),
            ),
            ("//else.example/x", Some("http://else.example/x")),
            ("https://up:1/mcp", None),
            ("/proxy/3/mcp", None),
            ("/mcpx", None),
            ("../../..", None),
            ("/mcp/../admin", None),
            ("http://[", None),
        ] {
            assert_eq!(told(location).as_deref(), expected, "{location}");
        }
    }

    #[test]
    fn a_location_that_would_come_back_for_ever_is_none() {
        for (upstream, location) in [
            ("http://up/mcp", "http://up/mcp/"),
            ("http://up/mcp/", "http://up/mcp"),
        ] {
            let asked = Uri::from_static(upstream);
            let upstream = Url::parse(upstream).expect("a URL");
            let location = HeaderValue::from_static(location);
            let told = location_for_client(&location, &asked, &upstream, "https://gw/mcp");
            assert!(told.is_err(), "{upstream}");
            let itself = HeaderValue::try_from(upstream.as_str()).expect("a header");
            let told = location_for_client(&itself, &asked, &upstream, "https://gw/mcp");
            assert!(told.is_ok(), "{upstream}");
        }
    }

    /// The ways to write a little of a path, and what is no part of one.
    fn pieces() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            ".", "..", "/", "\\", "%2e", "%2E%2e", "%2f", "%5c", "%25", "%", "2e", ";", "%3b",
            "%3f", "%23", "%00", "%09", "%0d%0a", "%20", "a", "b.c", "%c3%bc", "%c0%ae", "%u002e",
        ]);
        prop::collection::vec(piece, 0..8).prop_map(|pieces| format!("/{}", pieces.concat()))
    }

    proptest! {
        /// As browsers' parsers read it, who know `%2e`, too.
        #[test]
        fn what_passes_stays_below_however_often_it_is_decoded(path in pieces()) {
            prop_assume!(!climbs(&path));
            let mut path = path;
            for _ in 0..=DECODED_TIMES_MAX {
                let url = Url::parse(&format!("http://up/mcp{path}")).expect("a URL");
                prop_assert!(url.path().starts_with("/mcp/"), "{path}");
                let decoded = percent_decode(path.as_bytes()).decode_utf8();
                path = decoded.expect("UTF-8").into_owned();
            }
        }

        #[test]
        fn ordinary_paths_pass(path in "(/[a-z0-9\u{e4}-\u{fc}_-]{1,4}([. ;?][a-z0-9]{1,3}){0,2}){0,4}") {
            let encoded = percent_encode(path.as_bytes(), NON_ALPHANUMERIC).to_string();
            prop_assert!(!climbs(&path) && !climbs(&encoded.replace("%2F", "/")), "{path}");
        }
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
            "/..%3fx",
            "/..%23x",
            "/..%09",
            "/.%09.",
            "/..%0a",
            "/..%0d",
            "/..%20",
            "/%20../a",
            "/a/..%253fx",
            "/%c0%ae%c0%ae",
            "/..%c0%af..",
            "/%e0%80%ae%e0%80%ae/",
            "/%u002e%u002e/admin",
            "/%25U002E%25U002E/admin",
            "/%ff",
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
            "/files/a..b",
            "/v1.2/x%20y",
            "/a%20.%20b",
            "/%C3%BC/\u{fc}.txt",
            "/a%3f..",
            "/a%25u00b",
            "/a%09b",
        ] {
            assert!(!climbs(path), "{path}");
        }
    }
}
