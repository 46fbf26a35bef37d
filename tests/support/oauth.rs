//! The client's side of OAuth, one step at a time.
//!
//! Each step has a form whose parameters a test may alter ([`Params`]) and a short form for when it
//! is only on the way to what the test is about.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::answer::Answer;
use crate::browser::{ALICE, Browser, Person};
use crate::page::Page;

/// The redirect URI of [`public_client`] and [`confidential_client`]; nothing listens there.
const REDIRECT_URI: &str = "http://127.0.0.1:33418/callback";

/// Registration metadata of a public client with both grants.
pub fn public_client() -> Value {
    json!({
        "client_name": "Test client",
        "redirect_uris": [REDIRECT_URI],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    })
}

/// The same for a confidential client that sends its secret in the body.
pub fn confidential_client() -> Value {
    let mut metadata = public_client();
    metadata["token_endpoint_auth_method"] = json!("client_secret_post");
    metadata
}

/// A proxy of the server under test, as clients see it.
#[derive(Clone, Debug)]
pub struct Proxy {
    pub(crate) http: reqwest::Client,
    /// Its id.
    pub id: u64,
    /// The issuer: the base of its OAuth endpoints.
    pub issuer: String,
    /// The URL of its MCP endpoint at the gateway.
    pub mcp_url: String,
}

/// A registered client.
#[derive(Clone, Debug)]
pub struct Client {
    /// The proxy it is registered at.
    pub proxy: Proxy,
    /// `client_id`.
    pub id: String,
    /// `client_secret`, unless it is public.
    pub secret: Option<String>,
    /// Its first redirect URI.
    pub redirect_uri: String,
    /// The whole registration answer.
    pub registration: Value,
}

/// A client's tokens from one answer of the token endpoint.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// The JWT for the gateway.
    pub access: String,
    /// The refresh token; empty if none was issued.
    pub refresh: String,
    /// The granted scope.
    pub scope: String,
}

impl Proxy {
    /// Sends a registration request.
    pub async fn try_register(&self, metadata: &Value) -> Answer {
        let request = self
            .http
            .post(format!("{}/register", self.issuer))
            .json(metadata);
        send(request).await
    }

    /// Registers a client.
    pub async fn register(&self, metadata: Value) -> Client {
        let registration = self.try_register(&metadata).await.expect(201).json();
        Client::of(self, registration)
    }

    /// Its metadata (RFC 8414).
    pub async fn metadata(&self) -> Value {
        let url = format!("{}/.well-known/openid-configuration", self.issuer);
        send(self.http.get(url)).await.expect(200).json()
    }

    /// Posts a form to one of its OAuth endpoints.
    pub async fn post(&self, endpoint: &str, params: &Params) -> Answer {
        let request = self
            .http
            .post(format!("{}/{endpoint}", self.issuer))
            .form(&params.0);
        send(request).await
    }

    /// Posts a JSON-RPC message to its MCP endpoint, with `token` if it is not empty.
    pub async fn call_mcp(&self, token: &str, message: &Value) -> Answer {
        let request = self.http.post(&self.mcp_url).json(message);
        let request = request.header("accept", "application/json, text/event-stream");
        send(if token.is_empty() {
            request
        } else {
            request.bearer_auth(token)
        })
        .await
    }

    /// `tools/list` with `token`.
    pub async fn list_tools(&self, token: &str) -> Answer {
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {} });
        self.call_mcp(token, &message).await
    }
}

impl Client {
    /// The client that a registration answer tells of.
    pub fn of(proxy: &Proxy, registration: Value) -> Self {
        Self {
            proxy: proxy.clone(),
            id: text(&registration, "client_id"),
            secret: registration["client_secret"].as_str().map(str::to_owned),
            redirect_uri: text(
                &json!({ "first": registration["redirect_uris"][0] }),
                "first",
            ),
            registration,
        }
    }

    /// The parameters of a good authorization request.
    pub fn authorization(&self, pkce: &Pkce) -> Params {
        Params::new([
            ("response_type", "code"),
            ("client_id", &self.id),
            ("redirect_uri", &self.redirect_uri),
            ("state", "the client's state"),
            ("code_challenge", &pkce.challenge),
            ("code_challenge_method", "S256"),
        ])
    }

    /// The URL the client sends the browser to.
    pub fn authorize_url(&self, params: &Params) -> String {
        format!("{}/authorize?{}", self.proxy.issuer, params.encode())
    }

    /// Takes `browser` through an authorization request as `person`; where it ends up.
    pub async fn authorize(&self, browser: &mut Browser, params: &Params, person: Person) -> Page {
        browser
            .walk(&self.authorize_url(params), &self.redirect_uri, person)
            .await
    }

    /// Alice logs in and approves; the authorization code.
    pub async fn authorize_code(&self, browser: &mut Browser, pkce: &Pkce) -> String {
        let page = self
            .authorize(browser, &self.authorization(pkce), ALICE)
            .await;
        // The provider's own code is in the address of the callback.
        let is_back = page.url.as_str().starts_with(&self.redirect_uri);
        let code = page.param("code").filter(|_| is_back);
        code.unwrap_or_else(|| panic!("no code: {page:#?} after {:#?}", browser.visited))
    }

    /// The parameters of a good code exchange.
    pub fn redemption(&self, code: &str, pkce: &Pkce) -> Params {
        self.authenticated(Params::new([
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.redirect_uri),
            ("code_verifier", &pkce.verifier),
        ]))
    }

    /// Exchanges a code.
    pub async fn redeem(&self, code: &str, pkce: &Pkce) -> Answer {
        self.proxy.post("token", &self.redemption(code, pkce)).await
    }

    /// Uses a refresh token.
    pub async fn refresh(&self, refresh_token: &str) -> Answer {
        let params = Params::new([
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh_token),
        ]);
        self.proxy.post("token", &self.authenticated(params)).await
    }

    /// Revokes a token (RFC 7009).
    pub async fn revoke(&self, token: &str) -> Answer {
        let params = self.authenticated(Params::new([("token", token)]));
        self.proxy.post("revoke", &params).await
    }

    /// Introspects a token (RFC 7662).
    pub async fn introspect(&self, token: &str) -> Answer {
        let params = self.authenticated(Params::new([("token", token)]));
        self.proxy.post("introspect", &params).await
    }

    /// The whole way: Alice approves and logs in, the code is exchanged.
    pub async fn log_in(&self) -> Tokens {
        let pkce = Pkce::rfc7636();
        let code = self.authorize_code(&mut Browser::new(), &pkce).await;
        Tokens::of(&self.redeem(&code, &pkce).await.expect(200))
    }

    /// `params` with this client's `client_id` and, if it has one, its secret.
    pub fn authenticated(&self, params: Params) -> Params {
        let params = params.with("client_id", &self.id);
        match &self.secret {
            Some(secret) => params.with("client_secret", secret),
            None => params,
        }
    }
}

impl Tokens {
    /// The tokens of a token answer.
    pub fn of(answer: &Answer) -> Self {
        let json = answer.json();
        Self {
            access: text(&json, "access_token"),
            refresh: json["refresh_token"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            scope: json["scope"].as_str().unwrap_or_default().to_owned(),
        }
    }

    /// The claims of the access token, unverified.
    pub fn claims(&self) -> Value {
        self.part(1)
    }

    /// Which key signed the access token.
    pub fn kid(&self) -> String {
        text(&self.part(0), "kid")
    }

    fn part(&self, number: usize) -> Value {
        let part = self.access.split('.').nth(number);
        let part = part.expect("a JWT has three parts");
        let part = BASE64_URL_SAFE_NO_PAD.decode(part).expect("base64url");
        serde_json::from_slice(&part).expect("a part is JSON")
    }
}

/// A PKCE pair (RFC 7636).
#[derive(Clone, Debug)]
pub struct Pkce {
    /// `code_verifier`.
    pub verifier: String,
    /// `code_challenge`, S256.
    pub challenge: String,
}

impl Pkce {
    /// The pair of RFC 7636, appendix B.
    pub fn rfc7636() -> Self {
        Self::of("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
    }

    /// The pair of a given verifier.
    pub fn of(verifier: &str) -> Self {
        let challenge = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
        Self {
            verifier: verifier.to_owned(),
            challenge,
        }
    }
}

/// Request parameters in their order, free to be wrong.
#[derive(Clone, Debug, Default)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// Parameters in this order.
    pub fn new<const N: usize>(params: [(&str, &str); N]) -> Self {
        Self(
            params
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        )
    }

    /// With `name` set to `value`, in place of any other.
    #[must_use]
    pub fn with(self, name: &str, value: &str) -> Self {
        self.without(name).and(name, value)
    }

    /// With `name=value` added, even if `name` is there already.
    #[must_use]
    pub fn and(mut self, name: &str, value: &str) -> Self {
        self.0.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Without `name`.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.0.retain(|(key, _)| key != name);
        self
    }

    /// As a query string.
    pub fn encode(&self) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(&self.0).finish()
    }
}

pub(crate) async fn send(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await;
    Answer::read(response.unwrap_or_else(|error| panic!("no answer: {error:?}"))).await
}

fn text(json: &Value, member: &str) -> String {
    let value = json[member].as_str();
    value
        .unwrap_or_else(|| panic!("no {member} in {json:#}"))
        .to_owned()
}
