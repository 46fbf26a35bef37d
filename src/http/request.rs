//! What every handler knows about its request: when, which, from where, by what.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRequest, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use domain::entry::Actor;
use domain::secret::redacted;
use ipnet::IpNet;
use uuid::Uuid;

use super::Shared;
use crate::app::Context;
use crate::clock;

/// Finds the events of a request; on every answer and every page.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Whom a front server asks for.
pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Longer agents are cut: they are told by strangers and kept for ever.
const USER_AGENT_BYTES_MAX: usize = 256;

const A_YEAR_OF_TLS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// The circumstances of a request, before anybody is authenticated.
#[derive(Clone, Debug)]
pub struct Caller(pub Context);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(Self::of(&parts.extensions)))
    }
}

impl Caller {
    /// The circumstances that [`identify`] has put beside a request.
    pub(super) fn of(extensions: &Extensions) -> Context {
        let identified = extensions.get::<Self>();
        identified.map_or_else(
            || Context::system(clock::now()),
            |Self(known)| known.clone(),
        )
    }
}

/// No request of ours is larger (contract: 413).
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Gives each request its id, its circumstances and its bound, and each answer the id, `nosniff` and, where the
/// public address is https, the promise to stay so (RFC 6797).
pub async fn identify(State(shared): State<Shared>, mut request: Request, next: Next) -> Response {
    let request_id = clock::event_id().0;
    let peer = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map(|ConnectInfo(peer)| peer.ip());
    let headers = request.headers();
    let context = Context {
        now: clock::now(),
        actor: Actor::Anonymous,
        request_id: Some(request_id),
        ip: peer.map(|peer| client_ip(peer, headers, &shared.trusted_proxies)),
        user_agent: user_agent(headers),
        identity: None,
        query: None,
    };
    request.extensions_mut().insert(Caller(context));
    DefaultBodyLimit::max(BODY_BYTES_MAX).apply(&mut request);
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    if shared.urls.server.starts_with("https://") {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, A_YEAR_OF_TLS);
    }
    headers.insert(X_REQUEST_ID, request_id_value(request_id));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

/// A body that is not there to its end by then is not worth a connection.
pub(crate) const BODY_TIME: Duration = Duration::from_secs(30);

/// Why there is no body.
#[derive(Clone, Copy, Debug)]
pub enum BodyFailure {
    /// It is larger than any request of ours.
    TooLarge,
    /// It did not come in time (RFC 9110 §15.5.9).
    Late,
    /// It ended before its end.
    Incomplete,
}

impl BodyFailure {
    /// What it is answered with.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Late => StatusCode::REQUEST_TIMEOUT,
            Self::Incomplete => StatusCode::BAD_REQUEST,
        }
    }
}

/// Reads a body to its end, within its bounds of size and time.
///
/// # Errors
/// See [`BodyFailure`].
pub async fn body<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, BodyFailure> {
    let read = tokio::time::timeout(BODY_TIME, Bytes::from_request(request, state));
    match read.await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            Err(BodyFailure::TooLarge)
        }
        Ok(Err(_)) => Err(BodyFailure::Incomplete),
        Err(_) => Err(BodyFailure::Late),
    }
}

fn request_id_value(id: Uuid) -> HeaderValue {
    HeaderValue::from_str(id.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
        .expect("a UUID is visible ASCII")
}

/// The address of whoever asks: the peer, unless that is a proxy of ours; then the rightmost
/// address in the forwarding header that is not one. What stands left of it is hearsay.
fn client_ip(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |ip: &IpAddr| trusted.iter().any(|net| net.contains(ip));
    let mut client = peer.to_canonical();
    let forwarded = headers
        .get_all(X_FORWARDED_FOR)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    for hop in forwarded.rev() {
        if !is_trusted(&client) {
            break;
        }
        let Some(ip) = address(hop) else {
            break;
        };
        client = ip.to_canonical();
    }
    client
}

/// Each hop is read by itself: bytes that a stranger put into the first one must not hide them.
fn address(hop: &[u8]) -> Option<IpAddr> {
    let hop = str::from_utf8(hop).ok()?.trim();
    let with_port = || hop.parse().map(|address: SocketAddr| address.ip());
    hop.parse().or_else(|_| with_port()).ok()
}

fn user_agent(headers: &HeaderMap) -> Option<String> {
    let agent = headers.get(header::USER_AGENT)?.to_str().ok()?;
    // Cut first, a credential might be too short to be known for one.
    Some(redacted(agent).chars().take(USER_AGENT_BYTES_MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip_of(peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append(X_FORWARDED_FOR, value);
        }
        let trusted = ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        client_ip(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn believes_only_trusted_proxies_and_only_the_rightmost_stranger() {
        assert_eq!(ip_of("203.0.113.9", &["198.51.100.1"]), "203.0.113.9");
        assert_eq!(ip_of("10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(
            ip_of("10.0.0.1", &["6.6.6.6, 198.51.100.1, 10.2.2.2"]),
            "198.51.100.1"
        );
        assert_eq!(
            ip_of("10.0.0.1", &["6.6.6.6", "198.51.100.1:4711"]),
            "198.51.100.1"
        );
        assert_eq!(ip_of("10.0.0.1", &["nonsense"]), "10.0.0.1");
        assert_eq!(ip_of("10.0.0.1", &["6.6.6.6, é, 10.2.2.2"]), "10.2.2.2");
        assert_eq!(
            ip_of("10.0.0.1", &["6.6.6.é, 198.51.100.1"]),
            "198.51.100.1"
        );
        assert_eq!(ip_of("::ffff:10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(ip_of("10.0.0.1", &[]), "10.0.0.1");
    }
}
