//! What the fake provider answers at each endpoint. Endpoints are known by the end of their path,
//! so the same provider can stand at any issuer.

use std::convert::Infallible;
use std::sync::Mutex;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::header::AUTHORIZATION;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use futures_util::stream;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use url::Url;

use super::{
    Behaviour, CLIENT_ID, CLIENT_SECRET, Endpoint, Fault, Request, State, json as answer_json,
    signing,
};

const BODY_BYTES_MAX: usize = 64 * 1024;

pub(super) async fn answer(state: &Mutex<State>, request: axum::extract::Request) -> Response {
    let request = read(request).await;
    let endpoint = request.endpoint;
    let (right, fault) = {
        let mut state = state.lock().expect("no handler panicked");
        state.requests.push(request.clone());
        let fault = state.fault(endpoint);
        (state.answer(&request), fault)
    };
    match fault {
        None => right,
        Some(Fault::Held(gate)) => {
            gate.pass().await;
            right
        }
        Some(Fault::Stall) => std::future::pending().await,
        Some(fault) => commit(fault, right).await,
    }
}

async fn read(request: axum::extract::Request) -> Request {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, BODY_BYTES_MAX).await.expect("a body");
    let query = parts.uri.query().unwrap_or_default();
    let path = parts.uri.path().to_owned();
    Request {
        endpoint: Endpoint::of(&path),
        path,
        method: parts.method,
        headers: parts.headers,
        parameters: form_urlencoded::parse(query.as_bytes())
            .chain(form_urlencoded::parse(&body))
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect(),
    }
}

impl Endpoint {
    fn of(path: &str) -> Option<Self> {
        let ends: [(&str, Self); 9] = [
            ("/.well-known/openid-configuration", Self::Discovery),
            ("/authorize", Self::Authorize),
            ("/auth", Self::Authorize),
            ("/token", Self::Token),
            ("/access_token", Self::Token),
            ("/keys", Self::Keys),
            ("/userinfo", Self::Userinfo),
            ("/user/emails", Self::Emails),
            ("/user", Self::User),
        ];
        let found = ends.into_iter().find(|(end, _)| path.ends_with(end));
        found.map(|(_, endpoint)| endpoint)
    }
}

async fn commit(fault: Fault, right: Response) -> Response {
    let body = |status: u16, kind: &str, body: Body| {
        Response::builder()
            .status(status)
            .header("content-type", kind)
            .header("location", "/elsewhere")
            .body(body)
            .expect("a response")
    };
    match fault {
        Fault::Held(_) => right,
        Fault::Stall => std::future::pending().await,
        Fault::Status(status) => body(status, "text/plain", Body::empty()),
        Fault::Form(form) => body(200, "application/x-www-form-urlencoded", form.into()),
        Fault::Json(status, json) => answer_json(status, &json),
        Fault::Redirect => body(302, "text/plain", Body::empty()),
        Fault::Html => body(200, "text/html", "<!doctype html><p>down</p>".into()),
        Fault::Huge => body(200, "application/json", vec![b' '; 3 << 20].into()),
        Fault::Trickle => {
            let drops = stream::unfold((), |()| async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Some((Ok::<_, Infallible>(Bytes::from_static(b" ")), ()))
            });
            body(200, "application/json", Body::from_stream(drops))
        }
        Fault::Member(name, value) => {
            let status = right.status().as_u16();
            let bytes = to_bytes(right.into_body(), BODY_BYTES_MAX).await;
            let mut json: Value =
                serde_json::from_slice(&bytes.expect("a body")).expect("a JSON answer");
            let members = json.as_object_mut().expect("an object");
            match value {
                Value::Null => members.remove(name),
                value => members.insert(name.to_owned(), value),
            };
            answer_json(status, &json)
        }
    }
}

impl State {
    fn answer(&mut self, request: &Request) -> Response {
        match request.endpoint {
            Some(Endpoint::Discovery) => self.discovery(request),
            Some(Endpoint::Authorize) => self.authorize(request),
            Some(Endpoint::Token) => self.token(request),
            Some(Endpoint::Keys) => answer_json(200, &signing::key_set(self.key_generation)),
            Some(Endpoint::Userinfo) => self.about_user(request, self.userinfo()),
            Some(Endpoint::User) => self.about_user(request, self.github_user()),
            Some(Endpoint::Emails) => self.about_user(request, self.github_emails()),
            None => answer_json(404, &json!({ "error": "not_found" })),
        }
    }

    fn discovery(&self, request: &Request) -> Response {
        let path = request
            .path
            .strip_suffix("/.well-known/openid-configuration");
        if !self.setup.discovery || path != Some(self.setup.issuer_path) {
            return answer_json(404, &json!({ "error": "not_found" }));
        }
        let base = self.url.as_str().trim_end_matches('/');
        let at = |path: &str| format!("{base}{}/v1/{path}", self.setup.issuer_path);
        answer_json(
            200,
            &json!({
                "issuer": self.issuer(),
                "authorization_endpoint": at("authorize"),
                "token_endpoint": at("token"),
                "jwks_uri": at("keys"),
                "userinfo_endpoint": at("userinfo"),
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported":
                    [signing::name(self.setup.algorithm), "none", "HS256"],
                "token_endpoint_auth_methods_supported": self.setup.auth_methods,
                "code_challenge_methods_supported": ["S256"],
                "authorization_response_iss_parameter_supported": self.setup.announces_iss,
            }),
        )
    }

    /// Approves at once, as a provider does whose user is logged in and has consented.
    fn authorize(&mut self, request: &Request) -> Response {
        let proper = request.parameter("response_type") == "code"
            && request.parameter("client_id") == CLIENT_ID
            && request.parameter("code_challenge_method") == "S256"
            && request.parameter("code_challenge").len() == 43
            && !request.parameters.contains_key("resource");
        let Ok(mut back) = Url::parse(request.parameter("redirect_uri")) else {
            return answer_json(400, &json!({ "error": "invalid_request" }));
        };
        let code = self.name("code");
        let error = match self.behaviour {
            Behaviour::AuthorizationError(error) => Some(error),
            _ if !proper => Some("invalid_request"),
            _ => None,
        };
        let iss = match &self.behaviour {
            Behaviour::AnswerIssuer(iss) => iss.clone(),
            _ => self.setup.announces_iss.then(|| self.token_issuer()),
        };
        {
            let mut query = back.query_pairs_mut();
            match error {
                Some(error) => query.append_pair("error", error),
                None => query.append_pair("code", &code),
            };
            query.append_pair("state", request.parameter("state"));
            if let Some(iss) = iss {
                query.append_pair("iss", &iss);
            }
        }
        if error.is_none() {
            self.codes
                .insert(code, (request.clone(), self.user.clone()));
        }
        Response::builder()
            .status(302)
            .header("location", back.as_str())
            .body(Body::empty())
            .expect("a response")
    }

    fn token(&mut self, request: &Request) -> Response {
        let github = request.path.ends_with("/access_token");
        let refuse = |status: u16, error: &str| {
            // GitHub reports its errors with status 200.
            let status = if github { 200 } else { status };
            answer_json(status, &json!({ "error": error }))
        };
        if let Behaviour::TokenError(error) = self.behaviour {
            return refuse(400, error);
        }
        if !self.authenticates(request) {
            return refuse(401, "invalid_client");
        }
        let nonce = match request.parameter("grant_type") {
            "authorization_code" => match self.codes.remove(request.parameter("code")) {
                Some((begun, user)) if matches(&begun, request) => {
                    self.user = user;
                    begun.parameter("nonce").to_owned()
                }
                Some(_) | None => return refuse(400, "invalid_grant"),
            },
            "refresh_token" => {
                let token = request.parameter("refresh_token");
                match self.refresh_tokens.get(token).cloned() {
                    Some(nonce) => {
                        if self.setup.rotates_refresh_tokens {
                            self.refresh_tokens.remove(token);
                        }
                        nonce
                    }
                    None => return refuse(400, "invalid_grant"),
                }
            }
            _ => return refuse(400, "unsupported_grant_type"),
        };
        answer_json(200, &self.tokens(request, nonce))
    }

    fn tokens(&mut self, request: &Request, nonce: String) -> Value {
        let access_token = self.name(&format!("access-{}", self.user.sub));
        self.access_tokens.push(access_token.clone());
        let mut tokens = json!({
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": 3600,
            "scope": "openid email",
        });
        if self.setup.rotates_refresh_tokens || request.parameter("refresh_token").is_empty() {
            let refresh_token = self.name("refresh");
            tokens["refresh_token"] = json!(refresh_token);
            self.refresh_tokens.insert(refresh_token, nonce.clone());
        }
        if !nonce.is_empty() {
            let defect = match self.behaviour {
                Behaviour::IdToken(defect) => Some(defect),
                _ => None,
            };
            let key = (self.setup.algorithm, self.key_generation);
            let claims = self.claims(&nonce, &access_token);
            if let Some(id_token) = signing::id_token(claims, key, defect) {
                tokens["id_token"] = json!(id_token);
            }
        }
        tokens
    }

    fn claims(&self, nonce: &str, access_token: &str) -> Value {
        let now_s = grantlog::clock::now().timestamp();
        let mut claims = json!({
            "iss": self.token_issuer(),
            "aud": CLIENT_ID,
            "sub": self.user.sub,
            "iat": now_s,
            "exp": now_s + 300,
            "auth_time": now_s - self.user.authenticated_ago_s,
            "nonce": nonce,
            "at_hash": signing::at_hash(self.setup.algorithm, access_token),
        });
        if let Some(tenant) = self.setup.tenant {
            claims["tid"] = json!(tenant);
        }
        if !self.setup.thin_id_tokens {
            let about = self.userinfo();
            let members = claims.as_object_mut().expect("an object");
            members.extend(about.as_object().expect("an object").clone());
            members.retain(|name, _| !self.setup.id_tokens_lack.contains(&name.as_str()));
        }
        claims
    }

    fn userinfo(&self) -> Value {
        let mut about = json!({
            "sub": self.user.sub,
            "name": self.user.name,
            "groups": self.user.groups,
        });
        if let Some(email) = &self.user.email {
            about["email"] = json!(email);
            about["email_verified"] = json!(self.user.email_verified);
        }
        about
    }

    fn github_user(&self) -> Value {
        json!({
            "id": self.user.id, "login": "ada", "name": self.user.name,
            "email": "shown@example.com",
        })
    }

    fn github_emails(&self) -> Value {
        let primary = self.user.email.iter().map(|email| {
            json!({ "email": email, "primary": true, "verified": self.user.email_verified })
        });
        let other = json!({ "email": "old@example.com", "primary": false, "verified": true });
        std::iter::once(other).chain(primary).collect()
    }

    fn about_user(&self, request: &Request, about: Value) -> Response {
        let bearer = request.headers.get(AUTHORIZATION);
        let token = bearer
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "));
        match token {
            Some(token) if self.access_tokens.iter().any(|known| known == token) => {
                answer_json(200, &about)
            }
            _ => answer_json(401, &json!({ "error": "invalid_token" })),
        }
    }

    fn authenticates(&self, request: &Request) -> bool {
        let accepts = |method| self.setup.auth_methods.contains(&method);
        match request.headers.get(AUTHORIZATION) {
            Some(value) => {
                let encode = |text: &str| -> String {
                    form_urlencoded::byte_serialize(text.as_bytes()).collect()
                };
                let pair = format!("{}:{}", encode(CLIENT_ID), encode(CLIENT_SECRET));
                let both = request.parameters.contains_key("client_secret");
                let basic = format!("Basic {}", STANDARD.encode(pair));
                accepts("client_secret_basic") && !both && value.as_bytes() == basic.as_bytes()
            }
            None => {
                accepts("client_secret_post")
                    && request.parameter("client_id") == CLIENT_ID
                    && request.parameter("client_secret") == CLIENT_SECRET
            }
        }
    }

    /// A new code or token.
    fn name(&mut self, kind: &str) -> String {
        self.issued += 1;
        format!("fake-{kind}-{}", self.issued)
    }
}

/// Whether a code is redeemed by whoever asked for it (RFC 7636 §4.6).
fn matches(begun: &Request, redeemed: &Request) -> bool {
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(redeemed.parameter("code_verifier")));
    begun.parameter("code_challenge") == challenge
        && begun.parameter("redirect_uri") == redeemed.parameter("redirect_uri")
}
