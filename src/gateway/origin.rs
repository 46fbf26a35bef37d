//! Which browser origins may call protected endpoints: without this, any page a person visits
//! could reach an MCP server on their own machine by rebinding its name (MCP, "Streamable HTTP",
//! security warning). Requests without `Origin` do not come from a page and pass.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use domain::event::Correlation;
use url::{Origin, Url};

use super::challenge;
use crate::http::Shared;
use crate::http::request::Caller;

/// Whose origins are admitted.
#[derive(Clone)]
pub(super) struct AdmittedOrigins {
    shared: Shared,
    /// The origins of our own public URLs.
    own: Arc<[Origin]>,
}

impl AdmittedOrigins {
    pub(super) fn new(shared: Shared) -> Self {
        let own = [&shared.urls.server, &shared.urls.gateway];
        let own = own.iter().filter_map(|url| Url::parse(url).ok());
        Self {
            own: own.map(|url| url.origin()).collect(),
            shared,
        }
    }

    fn admits(&self, origin: &HeaderValue) -> bool {
        let gateway = &self.shared.gateway;
        origin
            .to_str()
            .is_ok_and(|origin| gateway.admits_origin(origin, &self.own))
    }
}

/// Answers 403 to other origins, before anything else is looked at.
pub(super) async fn guard(
    State(admitted): State<AdmittedOrigins>,
    request: Request,
    next: Next,
) -> Response {
    let mut origins = request.headers().get_all(header::ORIGIN).iter();
    if origins.all(|origin| admitted.admits(origin)) {
        return next.run(request).await;
    }
    if let Some(Caller(context)) = request.extensions().get::<Caller>() {
        challenge::note(
            &admitted.shared,
            "origin_not_allowed",
            Correlation::default(),
            context,
        );
    }
    challenge::json(
        StatusCode::FORBIDDEN,
        "origin_not_allowed",
        "this origin is not in gateway.allowed_origins",
    )
}
