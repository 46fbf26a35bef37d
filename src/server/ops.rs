//! Health and metrics, on an address of their own that nobody outside should reach.

use std::sync::OnceLock;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde::Serialize;

use crate::clock;
use crate::http::Shared;

/// `/healthz`, `/readyz` and `/metrics`.
pub fn routes(shared: Shared) -> Router {
    recorder();
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(shared)
}

#[derive(Serialize)]
struct Readiness {
    ready: bool,
    log: bool,
    /// Whether what other nodes appended is known.
    followed: bool,
    vault: bool,
    stopping: bool,
}

/// Who asks does not wait much longer, and a store that answers later is no use.
const ANSWER: Duration = Duration::from_secs(1);

/// 503 while this node cannot decide: the log or the vault is out of reach, what other nodes did is
/// not known (or recorded in words of a newer version), or it is stopping.
async fn ready(State(shared): State<Shared>) -> Response {
    let app = &shared.app;
    let log = app.log.healthy();
    // A shared vault is where the log is: while that is silent, nobody is kept waiting for it.
    let is_asked = log || !app.log.is_shared();
    let vault = is_asked
        && tokio::time::timeout(ANSWER, app.vault.healthy())
            .await
            .is_ok_and(|healthy| healthy.is_ok());
    let readiness = Readiness {
        log,
        followed: app.is_followed(),
        vault,
        stopping: shared.stopping.is_cancelled(),
        ready: false,
    };
    let readiness = Readiness {
        ready: readiness.log && readiness.followed && readiness.vault && !readiness.stopping,
        ..readiness
    };
    let status = if readiness.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(readiness)).into_response()
}

async fn metrics(State(shared): State<Shared>) -> Response {
    let app = &shared.app;
    let gauge = |name: &'static str, value: u64| {
        // Positions stay exact up to 2^53.
        #[expect(clippy::cast_precision_loss, reason = "no log is that long")]
        metrics::gauge!(name).set(value as f64);
    };
    gauge("grantlog_log_head", app.log.head());
    gauge("grantlog_log_healthy", app.log.healthy().into());
    gauge(
        "grantlog_log_intact",
        shared.app.integrity.is_intact().into(),
    );
    gauge(
        "grantlog_log_verified_position",
        shared.app.integrity.verified(),
    );
    gauge(
        "grantlog_log_sealed_position",
        shared.app.integrity.sealed(),
    );
    gauge("grantlog_read_model_position", app.progress.read_model());
    gauge("grantlog_read_model_halted", app.progress.halted().into());
    let ahead = clock::ahead().as_seconds_f64();
    metrics::gauge!("grantlog_clock_ahead_seconds").set(ahead);
    let Some(handle) = recorder() else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    handle.run_upkeep();
    let text = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, text)], handle.render()).into_response()
}

/// The process has one recorder, however often the service starts in it.
fn recorder() -> Option<&'static PrometheusHandle> {
    static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    let install = || PrometheusBuilder::new().install_recorder().ok();
    RECORDER.get_or_init(install).as_ref()
}
