//! Which headers go on, and which end here.
//!
//! Hop-by-hop fields and those that `Connection` names belong to one connection (RFC 9110
//! §7.6.1). Towards the upstream, what proves the client, or claims to say who or where it is or what
//! else it asks for, ends here too; our own words take its place. Towards the client, what would speak for our origin ends:
//! cookies (shared by every proxy at this origin), cross-origin rules, transport policy, reports; what
//! tells of the upstream: its software, its addresses; and what the server in front of us would obey.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use super::credentials::X_API_KEY;

const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// What else a client sends that is not for the upstream. `Origin` was judged here; an upstream
/// that judges again would refuse browsers that were admitted. `Expect` was answered here.
const ENDS_TOWARDS_UPSTREAM: [HeaderName; 19] = [
    header::AUTHORIZATION,
    X_API_KEY,
    header::COOKIE,
    header::HOST,
    header::ORIGIN,
    header::EXPECT,
    header::FORWARDED,
    HeaderName::from_static("dpop"),
    HeaderName::from_static("cookie2"),
    HeaderName::from_static("early-data"),
    // Who or where somebody is, by the word of a proxy that is not there.
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-client-ip"),
    HeaderName::from_static("x-cluster-client-ip"),
    HeaderName::from_static("true-client-ip"),
    HeaderName::from_static("cf-connecting-ip"),
    HeaderName::from_static("fastly-client-ip"),
    // Another method than the one that was admitted.
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-method-override"),
];

/// Families of the same: forwarding, other proxies' logins, another path.
const ENDS_TOWARDS_UPSTREAM_PREFIXES: [&str; 7] = [
    "x-forwarded-",
    "proxy-",
    "remote-",
    "x-remote-",
    "x-auth-request-",
    "x-original-",
    "x-rewrite-",
];

const ENDS_TOWARDS_CLIENT: [HeaderName; 21] = [
    header::SET_COOKIE,
    header::STRICT_TRANSPORT_SECURITY,
    header::ALT_SVC,
    header::SERVER,
    HeaderName::from_static("x-powered-by"),
    HeaderName::from_static("clear-site-data"),
    HeaderName::from_static("set-cookie2"),
    HeaderName::from_static("service-worker-allowed"),
    HeaderName::from_static("nel"),
    HeaderName::from_static("report-to"),
    HeaderName::from_static("reporting-endpoints"),
    header::PUBLIC_KEY_PINS,
    header::PUBLIC_KEY_PINS_REPORT_ONLY,
    // The upstream's own addresses; only `Location` is worth to be told as ours.
    header::REFRESH,
    header::LINK,
    header::CONTENT_LOCATION,
    HeaderName::from_static("sourcemap"),
    HeaderName::from_static("x-sourcemap"),
    // Another answer than this one, such as a file of the front server's.
    HeaderName::from_static("x-sendfile"),
    HeaderName::from_static("x-lighttpd-send-file"),
    HeaderName::from_static("x-reproxy-url"),
];

/// Families of the same. nginx obeys `X-Accel-…`: another path, another rate, what is cached.
const ENDS_TOWARDS_CLIENT_PREFIXES: [&str; 3] = ["access-control-", "proxy-", "x-accel-"];
/// How an event stream asks not to be held back.
const X_ACCEL_BUFFERING: &str = "x-accel-buffering";

/// Leaves what is for the upstream. Names with `_` are not: many a server (CGI, WSGI) reads
/// `X_Forwarded_For` and `X-Forwarded-For` as one, and would take the client's word for ours.
pub(super) fn for_upstream(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
    for name in &ENDS_TOWARDS_UPSTREAM {
        headers.remove(name);
    }
    remove_where(headers, |name| {
        // A tool's own parameters (MCP 2026-07-28) are named as the tool likes.
        let is_ambiguous = name.contains('_') && !name.starts_with("mcp-param-");
        is_prefixed(name, &ENDS_TOWARDS_UPSTREAM_PREFIXES) || is_ambiguous
    });
}

/// MCP servers answer a POST only if both kinds of answer are named (streamable HTTP); whoever says
/// that anything will do has named both.
pub(super) fn name_both_answers(headers: &mut HeaderMap) {
    let takes_anything = |value: &HeaderValue| value.as_bytes().trim_ascii() == b"*/*";
    if headers.get(header::ACCEPT).is_none_or(takes_anything) {
        let both = HeaderValue::from_static("application/json, text/event-stream");
        headers.insert(header::ACCEPT, both);
    }
}

/// Leaves what is for the client. A length beside a transfer coding was not what the body was read by
/// (RFC 9112 §6.3).
pub(super) fn for_client(headers: &mut HeaderMap) {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        headers.remove(header::CONTENT_LENGTH);
    }
    remove_hop_by_hop(headers);
    for name in &ENDS_TOWARDS_CLIENT {
        headers.remove(name);
    }
    remove_where(headers, |name| {
        is_prefixed(name, &ENDS_TOWARDS_CLIENT_PREFIXES) && name != X_ACCEL_BUFFERING
    });
}

/// Removes what is about one connection only.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

fn is_prefixed(name: &str, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| name.starts_with(prefix))
}

fn remove_where(headers: &mut HeaderMap, is_unwanted: impl Fn(&str) -> bool) {
    let unwanted = headers.keys().filter(|name| is_unwanted(name.as_str()));
    let found: Vec<HeaderName> = unwanted.cloned().collect();
    for name in &found {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[track_caller]
    fn check(strip: fn(&mut HeaderMap), given: &[(&'static str, &'static str)], left: &[&str]) {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(*name, HeaderValue::from_static(value));
        }
        strip(&mut headers);
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, left);
    }

    #[test]
    fn hop_by_hop_fields_end_whatever_their_spelling() {
        check(
            remove_hop_by_hop,
            &[
                ("connection", "close, X-Private"),
                ("connection", " x-other ,,;bad"),
                ("x-private", "1"),
                ("x-other", "1"),
                ("keep-alive", "timeout=5"),
                ("te", "trailers"),
                ("transfer-encoding", "chunked"),
                ("upgrade", "websocket"),
                ("trailer", "x"),
                ("proxy-authorization", "Basic x"),
                ("mcp-session-id", "1"),
            ],
            &["mcp-session-id"],
        );
    }

    #[test]
    fn upstreams_see_no_credentials_and_no_hearsay() {
        check(
            for_upstream,
            &[
                ("authorization", "Bearer x"),
                ("x-api-key", "gw_key_x"),
                ("cookie", "a=b"),
                ("host", "gateway"),
                ("origin", "http://localhost"),
                ("forwarded", "for=1.2.3.4"),
                ("x-forwarded-for", "1.2.3.4"),
                ("x-forwarded-anything", "x"),
                ("x-real-ip", "1.2.3.4"),
                ("true-client-ip", "1.2.3.4"),
                ("cf-connecting-ip", "1.2.3.4"),
                ("x-client-ip", "1.2.3.4"),
                ("x-cluster-client-ip", "1.2.3.4"),
                ("fastly-client-ip", "1.2.3.4"),
                ("x-original-forwarded-for", "1.2.3.4"),
                ("remote-user", "root"),
                ("x-remote-user", "root"),
                ("x-auth-request-email", "root@example.com"),
                ("x-original-url", "/admin"),
                ("x-rewrite-url", "/admin"),
                ("x-http-method-override", "DELETE"),
                ("x-http-method", "DELETE"),
                ("x-method-override", "DELETE"),
                ("cookie2", "$Version=1"),
                ("early-data", "1"),
                ("proxy-connection", "keep-alive"),
                ("x_forwarded_for", "1.2.3.4"),
                ("x-api_key", "x"),
                ("mcp_session_id", "1"),
                ("accept", "text/event-stream"),
                ("content-type", "application/json"),
                ("last-event-id", "7"),
                ("mcp-protocol-version", "2026-07-28"),
                ("mcp-method", "tools/list"),
            ],
            &[
                "accept",
                "content-type",
                "last-event-id",
                "mcp-method",
                "mcp-protocol-version",
            ],
        );
    }

    #[test]
    fn upstreams_do_not_speak_for_our_origin() {
        check(
            for_client,
            &[
                ("set-cookie", "a=b"),
                ("access-control-allow-origin", "*"),
                ("access-control-expose-headers", "x"),
                ("alt-svc", "h3=\":443\""),
                ("strict-transport-security", "max-age=1"),
                ("server", "x/1.0"),
                ("refresh", "0;url=http://up/"),
                ("content-location", "http://up/mcp"),
                ("link", "<http://up/>; rel=next"),
                ("sourcemap", "http://up/map"),
                ("x-sourcemap", "http://up/map"),
                ("set-cookie2", "a=b"),
                ("service-worker-allowed", "/"),
                ("nel", "{}"),
                ("report-to", "{}"),
                ("reporting-endpoints", "x=\"http://up/\""),
                ("public-key-pins", "max-age=1"),
                ("public-key-pins-report-only", "max-age=1"),
                ("x-accel-redirect", "/admin"),
                ("x-accel-expires", "86400"),
                ("x-sendfile", "/etc/passwd"),
                ("x-lighttpd-send-file", "/etc/passwd"),
                ("x-reproxy-url", "http://internal/"),
                ("x-accel-buffering", "no"),
                ("content-type", "text/event-stream"),
                ("mcp-session-id", "1"),
            ],
            &["content-type", "mcp-session-id", "x-accel-buffering"],
        );
    }
}
