//! What the record keeps of a refused request, and what a page says of it.

use domain::audit;
use domain::authorization::{AuthorizationParameters, Unanswerable};
use domain::client::{Client, Registration};
use domain::event::Correlation;
use domain::id::ClientId;

use super::ENDPOINT;
use crate::app::{Context, ProxyTerms, RefusedRequest};
use crate::http::Shared;

/// What a refusal names, as far as it is certain.
#[derive(Default)]
pub(super) struct Concerned {
    client_id: Option<ClientId>,
    redirect_uri: Option<String>,
}

impl Concerned {
    pub fn client(registration: &Registration) -> Self {
        Self {
            client_id: Some(registration.client_id),
            redirect_uri: None,
        }
    }

    /// For a target that was refused: which one, of a client that is registered here.
    pub fn target(
        error: Unanswerable,
        client: &Client,
        parameters: &AuthorizationParameters,
    ) -> Self {
        let here = client.registration();
        let here = here.filter(|_| error != Unanswerable::ClientUnknown);
        let refused = parameters.redirect_uri();
        let refused = refused.filter(|_| error == Unanswerable::RedirectUriUnregistered);
        Self {
            client_id: here.map(|registration| registration.client_id),
            redirect_uri: refused.map(audit::told_redirect_uri),
        }
    }
}

/// Takes note of a refusal.
pub(super) fn note(
    shared: &Shared,
    terms: &ProxyTerms,
    context: &Context,
    cause: &'static str,
    concerned: Concerned,
) {
    let refused = RefusedRequest {
        endpoint: ENDPOINT,
        cause,
        correlation: Correlation {
            proxy_id: Some(terms.id),
            client_id: concerned.client_id,
            ..Correlation::default()
        },
    };
    let refusals = &shared.app.refusals;
    refusals.note_redirect_uri(refused, concerned.redirect_uri, context);
}

/// Page code and message of an error that is not redirected.
pub(super) fn local(error: Unanswerable) -> (&'static str, &'static str) {
    match error {
        Unanswerable::ClientIdMissing => (
            "unauthorized_client",
            "The application did not say which application it is.",
        ),
        Unanswerable::ClientIdRepeated => {
            ("unauthorized_client", "The application named itself twice.")
        }
        Unanswerable::ClientUnknown => (
            "unauthorized_client",
            "The application is not registered here, or no longer. Removing and adding the \
             server in the application makes it register again.",
        ),
        Unanswerable::RedirectUriRepeated => (
            "invalid_redirect_uri",
            "The application named two addresses to return to.",
        ),
        Unanswerable::RedirectUriUnregistered => (
            "invalid_redirect_uri",
            "The address to return to is not one that the application registered.",
        ),
        Unanswerable::RedirectUriAmbiguous => (
            "invalid_redirect_uri",
            "The application did not say which of its addresses to return to.",
        ),
        Unanswerable::TooLong => (
            "invalid_request",
            "The application sent more than can be read.",
        ),
    }
}
