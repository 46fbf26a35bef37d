//! Connections to upstreams: one pool for the whole gateway.

use std::time::Duration;

use axum::body::Body;
use axum::http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tower::util::MapFuture;
use tower::{Service, ServiceExt};

use crate::causes::chain;

/// An upstream that is not connected to within this time, its name found and its certificate
/// verified, is down.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Idle connections are closed before the upstream does it: Node and uvicorn after 5 s.
const IDLE: Duration = Duration::from_secs(4);
/// Notices an upstream that vanished during a long event stream.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

type Connector = HttpsConnector<HttpConnector>;
type Connecting = <Connector as Service<Uri>>::Future;

/// What speaks to upstreams.
pub(super) type Client = legacy::Client<MapFuture<Connector, fn(Connecting) -> Connecting>, Body>;

/// Upstreams are verified against the machine's own root certificates; where there are none, every
/// https upstream is refused and the log says why.
pub(super) fn client() -> Client {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(CONNECT_WITHIN));
    http.set_keepalive(Some(KEEP_ALIVE));
    let connector = match HttpsConnectorBuilder::new().with_native_roots() {
        Ok(builder) => builder,
        Err(error) => {
            tracing::error!(
                error = chain(&error),
                "no root certificates: https upstreams cannot be verified and will be refused"
            );
            let nobody = rustls::RootCertStore::empty();
            let tls = rustls::ClientConfig::builder().with_root_certificates(nobody);
            HttpsConnectorBuilder::new().with_tls_config(tls.with_no_client_auth())
        }
    };
    let connector = connector
        .https_or_http()
        .enable_all_versions()
        .wrap_connector(http);
    legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .build(connector.map_future(in_time as fn(Connecting) -> Connecting))
}

/// The whole of it: the connector itself bounds only the first part, not the handshake of TLS.
fn in_time(connecting: Connecting) -> Connecting {
    Box::pin(async {
        let connected = tokio::time::timeout(CONNECT_WITHIN, connecting).await;
        connected.unwrap_or_else(|late| Err(late.into()))
    })
}
