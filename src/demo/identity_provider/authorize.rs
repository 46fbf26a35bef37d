//! The authorization endpoint and its login page (OpenID Connect Core 1.0 §3.1.2).
//!
//! The page carries the whole request in its form's address, so nothing is stored before somebody
//! has logged in.

use std::sync::Arc;

use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Form, Query, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use chrono::TimeDelta;
use maud::{DOCTYPE, Markup, html};
use serde::Deserialize;
use url::Url;

use super::{CLIENT_ID, Code, PEOPLE, Person, Provider, Session, random_secret};
use crate::clock;

/// How long a code can be redeemed.
const CODE_S: i64 = 60;

#[derive(Deserialize)]
pub(super) struct AuthorizationRequest {
    client_id: String,
    redirect_uri: String,
    response_type: Option<String>,
    scope: Option<String>,
    state: Option<String>,
    nonce: Option<String>,
    code_challenge: Option<String>,
    code_challenge_method: Option<String>,
    prompt: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Login {
    #[serde(default)]
    login: String,
    #[serde(default)]
    password: String,
    decision: Option<String>,
}

/// An authorization request that may be answered at its redirect URI.
struct Accepted {
    redirect_uri: Url,
    request: AuthorizationRequest,
    code_challenge: String,
}

/// `GET /authorize`: asks who it is.
pub(super) async fn page(
    State(provider): State<Arc<Provider>>,
    RawQuery(query): RawQuery,
    request: Result<Query<AuthorizationRequest>, QueryRejection>,
) -> Response {
    match provider.accept(request) {
        Ok(_) => login_page(StatusCode::OK, &query.unwrap_or_default(), None),
        Err(refusal) => *refusal,
    }
}

/// `POST /authorize`: the login form comes back.
pub(super) async fn log_in(
    State(provider): State<Arc<Provider>>,
    RawQuery(query): RawQuery,
    request: Result<Query<AuthorizationRequest>, QueryRejection>,
    login: Result<Form<Login>, FormRejection>,
) -> Response {
    let accepted = match provider.accept(request) {
        Ok(accepted) => accepted,
        Err(refusal) => return *refusal,
    };
    let Ok(Form(login)) = login else {
        return refused("expected a login form");
    };
    if login.decision.as_deref() == Some("deny") {
        return provider.redirect(
            &accepted.redirect_uri,
            accepted.request.state.as_deref(),
            &[("error", "access_denied")],
        );
    }
    let person = PEOPLE.iter().find(|person| {
        let name = person.login.split_once('@').map(|(name, _)| name);
        (person.login == login.login || name == Some(&login.login))
            && person.password == login.password
    });
    match person {
        Some(person) => provider.issue_code(person, accepted),
        None => login_page(
            StatusCode::UNAUTHORIZED,
            &query.unwrap_or_default(),
            Some("Unknown login or wrong password."),
        ),
    }
}

impl Provider {
    /// Checks the request; a refusal goes to the person unless the redirect URI can be trusted.
    fn accept(
        &self,
        request: Result<Query<AuthorizationRequest>, QueryRejection>,
    ) -> Result<Accepted, Box<Response>> {
        let Ok(Query(request)) = request else {
            return Err(Box::new(refused(
                "expected client_id and redirect_uri, each once",
            )));
        };
        if request.client_id != CLIENT_ID {
            return Err(Box::new(refused("unknown client_id")));
        }
        if self.redirect_uri.get() != Some(&request.redirect_uri) {
            return Err(Box::new(refused("redirect_uri is not registered")));
        }
        let Ok(redirect_uri) = Url::parse(&request.redirect_uri) else {
            return Err(Box::new(refused("redirect_uri is not a URI")));
        };
        let refuse = |error, description| {
            Err(Box::new(self.redirect(
                &redirect_uri,
                request.state.as_deref(),
                &[("error", error), ("error_description", description)],
            )))
        };
        if request.response_type.as_deref() != Some("code") {
            return refuse("unsupported_response_type", "expected response_type code");
        }
        let scope = request.scope.as_deref().unwrap_or_default();
        if !scope.split(' ').any(|scope| scope == "openid") {
            return refuse("invalid_scope", "expected openid among the scopes");
        }
        let prompt = request.prompt.as_deref().unwrap_or_default();
        if prompt.split(' ').any(|prompt| prompt == "none") {
            return refuse("login_required", "nobody stays logged in here");
        }
        match (
            &request.code_challenge,
            request.code_challenge_method.as_deref(),
        ) {
            (Some(challenge), Some("S256")) if challenge.len() == 43 => Ok(Accepted {
                code_challenge: challenge.clone(),
                redirect_uri,
                request,
            }),
            _ => refuse(
                "invalid_request",
                "expected an S256 code_challenge of 43 characters",
            ),
        }
    }

    fn issue_code(&self, person: &'static Person, accepted: Accepted) -> Response {
        let now = clock::now();
        let code = random_secret();
        let answer = self.redirect(
            &accepted.redirect_uri,
            accepted.request.state.as_deref(),
            &[("code", &code)],
        );
        let session = Session {
            person,
            scope: accepted.request.scope.unwrap_or_default(),
            logged_in_at: now,
            expires_at: now + TimeDelta::seconds(CODE_S),
        };
        self.issued(now).codes.insert(
            code,
            Code {
                session,
                redirect_uri: accepted.request.redirect_uri,
                code_challenge: accepted.code_challenge,
                nonce: accepted.request.nonce,
            },
        );
        answer
    }

    fn redirect(&self, to: &Url, state: Option<&str>, answer: &[(&str, &str)]) -> Response {
        let mut to = to.clone();
        to.query_pairs_mut()
            .extend_pairs(answer)
            .extend_pairs(state.map(|state| ("state", state)))
            .append_pair("iss", &self.issuer);
        Redirect::to(to.as_str()).into_response()
    }
}

fn refused(reason: &str) -> Response {
    page_response(
        StatusCode::BAD_REQUEST,
        &html! {
            h1 { "This request cannot be answered" }
            p { (reason) }
        },
    )
}

fn login_page(status: StatusCode, query: &str, complaint: Option<&str>) -> Response {
    page_response(
        status,
        &html! {
            h1 { "Demo identity provider" }
            p { strong { "Demo only: " } "these people are made up, and anybody can be any of them." }
            table {
                tr { th scope="col" { "Login" } th scope="col" { "Password" } }
                @for person in &PEOPLE {
                    tr { td { (person.login) } td { code { (person.password) } } }
                }
            }
            @if let Some(complaint) = complaint { p role="alert" { (complaint) } }
            form method="post" action={ "/authorize?" (query) } {
                p { label for="login" { "Login" } " "
                    input id="login" name="login" autocomplete="off" autofocus; }
                p { label for="password" { "Password" } " "
                    input id="password" name="password" type="password" autocomplete="off"; }
                p {
                    button name="decision" value="approve" { "Log in" } " "
                    button name="decision" value="deny" { "Cancel" }
                }
            }
        },
    )
}

fn page_response(status: StatusCode, body: &Markup) -> Response {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                title { "Demo identity provider" }
            }
            body { main { (body) } }
        }
    };
    // No `form-action`: browsers apply it to the redirects that follow the form as well.
    let headers = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
        ),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (status, headers, Html(page.into_string())).into_response()
}
