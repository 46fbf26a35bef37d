//! The pages a person meets: consent and errors. Plain HTML, no scripts, nothing from elsewhere.
//!
//! The policy names no `form-action`: browsers apply it to the redirects that follow a form,
//! which here lead to the provider and then to wherever the client lives.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::authorization::AuthorizationRequest;
use domain::client::Registration;
use maud::{DOCTYPE, Markup, html};
use uuid::Uuid;

use crate::app::ProxyTerms;

const STYLE: &str = include_str!("page.css");

/// `GET /assets/page.css`
pub async fn style() -> impl IntoResponse {
    (
        [
            (header::CONTENT_TYPE, "text/css"),
            (header::CACHE_CONTROL, "public, max-age=3600"),
        ],
        STYLE,
    )
}

/// An error that must not be redirected (RFC 6749 §4.1.2.1).
pub struct ErrorPage<'a> {
    /// The HTTP status.
    pub status: StatusCode,
    /// The error code, for whoever helps the person.
    pub code: &'a str,
    /// What happened, for the person.
    pub message: &'a str,
    /// Something of the request that helps, shown as inert text.
    pub detail: Option<&'a str>,
    /// Where the person may start again.
    pub again: Option<&'a str>,
    /// Finds the events of this request.
    pub request_id: Option<Uuid>,
}

impl IntoResponse for ErrorPage<'_> {
    fn into_response(self) -> Response {
        let body = page(
            "This did not work",
            self.request_id,
            &html! {
                h1 { "This did not work" }
                p { (self.message) }
                @if let Some(detail) = self.detail { p { code { (detail) } } }
                @if let Some(again) = self.again { p { a href=(again) { "Start again" } } }
                p { "Error " code { (self.code) } }
            },
        );
        let mut response = (self.status, body.into_string()).into_response();
        page_headers(response.headers_mut());
        response
    }
}

/// What the consent page asks about.
pub struct ConsentPage<'a> {
    /// Who asks, as it says itself.
    pub client: &'a Registration,
    /// What it asks for.
    pub request: &'a AuthorizationRequest,
    /// Where it asks.
    pub terms: &'a ProxyTerms,
    /// Where the decision goes.
    pub action: &'a str,
    /// The sealed request.
    pub transaction: &'a str,
    /// Finds the events of this request.
    pub request_id: Option<Uuid>,
}

impl IntoResponse for ConsentPage<'_> {
    fn into_response(self) -> Response {
        let metadata = &self.client.metadata;
        let name = metadata
            .client_name
            .as_deref()
            .unwrap_or("An unnamed application");
        let redirect_uri = &self.request.target.redirect_uri;
        let provider = &self.terms.provider.settings.name;
        let body = page(
            "Allow access?",
            self.request_id,
            &html! {
                h1 { "Allow " strong { (name) } " access?" }
                p { strong { (name) } " asks to use " strong { (self.terms.proxy.settings.name) }
                    " in your name. If you allow it, you will be asked to log in with "
                    strong { (provider) } "." }
                dl {
                    dt { "You will be sent back to" }
                    dd { strong { (redirect_uri.destination()) } br; code { (redirect_uri.as_str()) } }
                    dt { "It may" }
                    dd {
                        @if self.request.scope.is_empty() { "use the server without particular permissions" }
                        @else { ul { @for token in self.request.scope.tokens() { li { code { (token) } } } } }
                    }
                    dt { "At" }
                    dd { code { (self.request.resource.as_str()) } }
                }
                p.warning {
                    "The name is what the application says about itself; nobody has verified it. "
                    @if redirect_uri.is_loopback() {
                        "It runs on your own computer: allow it only if you have just started it yourself."
                    } @else {
                        "Allow it only if you trust the address above and have just asked for this yourself."
                    }
                }
                form method="post" action=(self.action) {
                    input type="hidden" name="transaction" value=(self.transaction);
                    button.allow type="submit" name="decision" value="approve" { "Allow" }
                    " "
                    button type="submit" name="decision" value="deny" { "Refuse" }
                }
            },
        );
        let mut response = (StatusCode::OK, body.into_string()).into_response();
        page_headers(response.headers_mut());
        response
    }
}

fn page(title: &str, request_id: Option<Uuid>, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="robots" content="noindex";
                title { (title) }
                link rel="stylesheet" href="/assets/page.css";
            }
            body {
                main { (content) }
                @if let Some(id) = request_id {
                    footer { "Request " code { (id) } }
                }
            }
        }
    }
}

fn page_headers(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}
