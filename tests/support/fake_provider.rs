//! An identity provider on a loopback port: well-behaved until told otherwise.
//!
//! It speaks OpenID Connect, plain OAuth 2 and GitHub's dialect, approves every login at once, and
//! checks what a strict provider checks (client credentials, S256, redirect URI, single use of
//! codes), so that a flow through it proves that the other side did its part. [`Behaviour`] makes
//! it commit the faults that real providers will not commit on demand.
//!
//! Included by `#[path]`; a test binary that uses a part of it says `#[expect(dead_code)]` there.

#[path = "fake_signing.rs"]
pub mod signing;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use domain::provider::{Kind, Settings};
use jsonwebtoken::Algorithm;
use serde_json::Value;
use tokio::sync::Semaphore;
use url::Url;

#[path = "fake_endpoints.rs"]
mod endpoints;

pub use signing::Defect;

/// Our client id at the provider.
pub const CLIENT_ID: &str = "grantlog-at-fake";
/// Our client secret there; not all of it survives form encoding unchanged.
pub const CLIENT_SECRET: &str = "fake secret+/%:";

/// The running provider. Stops when dropped.
pub struct FakeProvider {
    url: Url,
    state: Arc<Mutex<State>>,
    server: tokio::task::JoinHandle<()>,
}

/// What kind of provider it is; the default is a plain OpenID provider with its issuer at the root.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The issuer's path, without a slash at its end.
    pub issuer_path: &'static str,
    /// Entra ID: the document holds a template, the ID token this tenant's issuer and `tid`.
    pub tenant: Option<&'static str>,
    /// Whether there is a discovery document.
    pub discovery: bool,
    /// Whether `iss` is announced and sent in authorization answers (RFC 9207).
    pub announces_iss: bool,
    /// What ID tokens are signed with.
    pub algorithm: Algorithm,
    /// The client authentication it announces and accepts.
    pub auth_methods: &'static [&'static str],
    /// Whether ID tokens say who the person is, but nothing about them.
    pub thin_id_tokens: bool,
    /// What ID tokens leave out of what there is to tell.
    pub id_tokens_lack: &'static [&'static str],
    /// Whether each refresh gives a new refresh token.
    pub rotates_refresh_tokens: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            issuer_path: "",
            tenant: None,
            discovery: true,
            announces_iss: false,
            algorithm: Algorithm::RS256,
            auth_methods: &["client_secret_basic", "client_secret_post"],
            thin_id_tokens: false,
            id_tokens_lack: &[],
            rotates_refresh_tokens: true,
        }
    }
}

/// Who logs in.
#[derive(Clone, Debug)]
pub struct User {
    pub sub: String,
    /// GitHub's name for the subject.
    pub id: u64,
    pub email: Option<String>,
    pub email_verified: bool,
    pub name: String,
    pub groups: Vec<String>,
    /// How long ago they authenticated, in seconds.
    pub authenticated_ago_s: i64,
}

impl Default for User {
    fn default() -> Self {
        Self {
            sub: "ada-at-fake".to_owned(),
            id: 1815,
            email: Some("ada@example.com".to_owned()),
            email_verified: true,
            name: "Ada Lovelace".to_owned(),
            groups: vec!["analysts".to_owned()],
            authenticated_ago_s: 0,
        }
    }
}

/// What it does instead of what it should.
#[derive(Clone, Debug, Default)]
pub enum Behaviour {
    #[default]
    WellBehaved,
    /// The browser comes back with this error and no code.
    AuthorizationError(&'static str),
    /// The browser comes back with this `iss`, or none, whatever was announced.
    AnswerIssuer(Option<String>),
    /// The token endpoint refuses with status 400 and this error.
    TokenError(&'static str),
    /// The ID token has a defect.
    IdToken(Defect),
    /// An endpoint fails.
    At(Endpoint, Fault),
}

/// Where the provider can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    Discovery,
    Authorize,
    Token,
    Keys,
    Userinfo,
    User,
    Emails,
}

/// How an endpoint fails.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This status and no body.
    Status(u16),
    /// The right answer, once the gate is open.
    Held(Arc<Gate>),
    /// Never answers.
    Stall,
    /// Answers a byte at a time and never ends.
    Trickle,
    /// More than anybody should read.
    Huge,
    /// This status and this JSON.
    Json(u16, Value),
    /// 200 and this form.
    Form(&'static str),
    /// 200 and a page.
    Html,
    /// 302 to elsewhere on the provider.
    Redirect,
    /// The right JSON with one member changed; `Null` takes it away.
    Member(&'static str, Value),
}

/// Where requests wait for each other.
#[derive(Debug)]
pub struct Gate {
    arrived: Semaphore,
    open: Semaphore,
}

impl Gate {
    /// A gate that is shut.
    pub fn shut() -> Arc<Self> {
        Arc::new(Self {
            arrived: Semaphore::new(0),
            open: Semaphore::new(0),
        })
    }

    /// Waits until so many more requests stand before it.
    pub async fn arrived(&self, requests: u32) {
        let arrived = self.arrived.acquire_many(requests).await;
        arrived.expect("never closed").forget();
    }

    /// Lets everybody through.
    pub fn open(&self) {
        self.open.close();
    }

    async fn pass(&self) {
        self.arrived.add_permits(1);
        // Closed: it is open.
        let _ = self.open.acquire().await;
    }
}

/// A request it received.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: Method,
    pub path: String,
    /// Which endpoint that is, if any.
    pub endpoint: Option<Endpoint>,
    pub headers: HeaderMap,
    /// Query and form parameters together.
    pub parameters: BTreeMap<String, String>,
}

impl Request {
    /// A query or form parameter; empty if absent.
    pub fn parameter(&self, name: &str) -> &str {
        self.parameters.get(name).map_or("", String::as_str)
    }
}

pub(crate) struct State {
    url: Url,
    setup: Setup,
    user: User,
    behaviour: Behaviour,
    requests: Vec<Request>,
    /// What each code that was not spent stands for, and for whom.
    codes: HashMap<String, (Request, User)>,
    refresh_tokens: HashMap<String, String>,
    access_tokens: Vec<String>,
    issued: u32,
    key_generation: usize,
}

impl FakeProvider {
    /// Starts a well-behaved OpenID provider on a free port.
    pub async fn start() -> Self {
        Self::start_as(Setup::default()).await
    }

    /// Starts a well-behaved provider of another kind.
    pub async fn start_as(setup: Setup) -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
            .await
            .expect("a free port");
        let address = listener.local_addr().expect("an address");
        let url: Url = format!("http://{address}").parse().expect("a URL");
        let state = Arc::new(Mutex::new(State {
            url: url.clone(),
            setup,
            user: User::default(),
            behaviour: Behaviour::default(),
            requests: Vec::new(),
            codes: HashMap::new(),
            refresh_tokens: HashMap::new(),
            access_tokens: Vec::new(),
            issued: 0,
            key_generation: 0,
        }));
        let shared = Arc::clone(&state);
        let app = Router::new().fallback(move |request: axum::extract::Request| {
            let state = Arc::clone(&shared);
            async move { endpoints::answer(&state, request).await }
        });
        let server = tokio::spawn(async move {
            axum::serve(listener, app).await.expect("it serves");
        });
        Self { url, state, server }
    }

    /// Where it listens.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Its issuer, as its discovery document writes it.
    pub fn issuer(&self) -> String {
        self.state().issuer()
    }

    /// What an operator configures, to have people log in here for these scopes.
    pub fn document(&self, scopes: &str) -> Value {
        serde_json::json!({
            "name": "fake", "type": "oidc", "issuer": self.issuer(),
            "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "scopes": scopes,
        })
    }

    /// An absolute URL on it.
    pub fn at(&self, path: &str) -> Url {
        self.url.join(path).expect("a path")
    }

    /// From now on it behaves like this.
    pub fn behave(&self, behaviour: Behaviour) {
        self.state().behaviour = behaviour;
    }

    /// From now on this person logs in.
    pub fn user(&self, user: User) {
        self.state().user = user;
    }

    /// From now on it signs with another key, and publishes only that one.
    pub fn rotate_keys(&self) {
        self.state().key_generation += 1;
    }

    /// From now on it signs with its first key again.
    pub fn restore_keys(&self) {
        self.state().key_generation = 0;
    }

    /// Every request so far, oldest first.
    pub fn requests(&self) -> Vec<Request> {
        self.state().requests.clone()
    }

    /// The requests to one endpoint, oldest first.
    pub fn requests_to(&self, endpoint: Endpoint) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(|request| request.endpoint == Some(endpoint));
        requests
    }

    /// The settings under which Grantlog knows it. OpenID providers get the issuer alone.
    pub fn settings(&self, kind: Kind) -> Settings {
        let issuer = self
            .url
            .join(self.state().setup.issuer_path)
            .expect("a path");
        let mut settings = Settings {
            name: "fake".to_owned(),
            kind,
            client_id: CLIENT_ID.to_owned(),
            issuer: Some(issuer),
            authorization_url: None,
            token_url: None,
            userinfo_url: None,
            jwks_url: None,
            scopes: Default::default(),
        };
        let endpoints = match kind {
            Kind::Github => Some((
                "/login/oauth/authorize",
                "/login/oauth/access_token",
                "/user",
            )),
            Kind::Oauth2 => Some(("/authorize", "/token", "/userinfo")),
            Kind::Oidc | Kind::Okta | Kind::Google | Kind::AzureAd => None,
        };
        if let Some((authorize, token, userinfo)) = endpoints {
            settings.issuer = None;
            settings.authorization_url = Some(self.at(authorize));
            settings.token_url = Some(self.at(token));
            settings.userinfo_url = Some(self.at(userinfo));
        }
        settings
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no handler panicked")
    }
}

impl Drop for FakeProvider {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Plays the browser: opens an authorization URL and returns where it is sent back to.
pub async fn browse(authorization_url: &Url) -> Url {
    let browser = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .expect("a client");
    let response = browser
        .get(authorization_url.clone())
        .send()
        .await
        .expect("an answer");
    let location = response.headers().get("location");
    let location = location.expect("a redirect").to_str().expect("a URL");
    location.parse().expect("a URL")
}

impl State {
    fn issuer(&self) -> String {
        let base = self.url.as_str().trim_end_matches('/');
        match self.setup.tenant {
            Some(_) => format!("{base}/{{tenantid}}/v2.0"),
            None => format!("{base}{}", self.setup.issuer_path),
        }
    }

    /// The `iss` of its ID tokens.
    fn token_issuer(&self) -> String {
        let issuer = self.issuer();
        match self.setup.tenant {
            Some(tenant) => issuer.replace("{tenantid}", tenant),
            None => issuer,
        }
    }

    fn fault(&self, endpoint: Option<Endpoint>) -> Option<Fault> {
        match &self.behaviour {
            Behaviour::At(at, fault) if Some(*at) == endpoint => Some(fault.clone()),
            _ => None,
        }
    }
}

/// An answer with a JSON body.
fn json(status: u16, body: &Value) -> Response {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .expect("a response")
}
