//! Health and metrics, on an address of their own that nobody outside should reach.

use std::sync::OnceLock;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde::Serialize;

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
    vault: bool,
    stopping: bool,
}

/// 503 while this node cannot decide: the log or the vault is out of reach, others have recorded what it does not know
/// (as a newer program does), or it is stopping.
async fn ready(State(shared): State<Shared>) -> Response {
    let readiness = Readiness {
        log: shared.app.log.healthy() && shared.app.has_current_view(),
        vault: shared.app.vault.healthy().await.is_ok(),
        stopping: shared.stopping.is_cancelled(),
        ready: false,
    };
    let readiness = Readiness {
        ready: readiness.log && readiness.vault && !readiness.stopping,
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
    gauge("grantlog_log_intact", shared.integrity.is_intact().into());
    gauge(
        "grantlog_log_verified_position",
        shared.integrity.verified(),
    );
    gauge("grantlog_read_model_position", app.progress.read_model());
    gauge("grantlog_read_model_halted", app.progress.halted().into());
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
