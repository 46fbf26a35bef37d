//! A server with a provider and a proxy, and shortcuts to what operators do.

use reqwest::Method;
use serde_json::{Value, json};
use support::{Answer, Browser, Pkce, Server, Tokens};

use crate::fake_provider::FakeProvider;

pub struct Rig {
    pub server: Server,
    /// Stops when dropped.
    _provider: FakeProvider,
    pub proxy: support::Proxy,
}

/// What a person's login led to.
pub struct LoggedIn {
    pub client: support::Client,
    pub tokens: Tokens,
    pub grant: String,
    pub subject: String,
}

pub const UPSTREAM_KEY: &str = "the-upstream-key";

impl Rig {
    pub async fn start() -> Self {
        let server = Server::start().await;
        let provider = FakeProvider::start().await;
        let id = server
            .add_provider(&provider.document("openid email read write"))
            .await;
        let config = json!({
            "oauth_proxy_provider_id": id,
            "oauth_proxy_require_consent": false,
            "oauth_proxy_scopes": "read write",
            "oauth_proxy_upstream_auth": "static",
            "oauth_proxy_upstream_headers": {"X-Api-Key": UPSTREAM_KEY},
        });
        let proxy = server.add_proxy("http://127.0.0.1:9/mcp", config).await;
        Self {
            server,
            _provider: provider,
            proxy,
        }
    }

    /// A client registers, a person logs in, the code is redeemed.
    pub async fn log_in(&self) -> LoggedIn {
        let client = self.proxy.register(support::public_client()).await;
        let pkce = Pkce::rfc7636();
        let code = client.authorize_code(&mut Browser::new(), &pkce).await;
        let answer = client.redeem(&code, &pkce).await.expect(200);
        let tokens = Tokens::of(&answer);
        let claims = tokens.claims();
        let text = |name: &str| claims[name].as_str().expect("a claim").to_owned();
        LoggedIn {
            grant: text("grant"),
            subject: text("sub"),
            client,
            tokens,
        }
    }

    /// Lets an operator in; their token.
    pub async fn operator(&self, role: &str) -> String {
        operator(&self.server, role).await
    }
}

pub async fn operator(server: &Server, role: &str) -> String {
    let document = json!({"name": role, "role": role});
    let added = server
        .post("/api/v1/operators", &document)
        .await
        .expect(201);
    added.json()["token"].as_str().expect("a token").to_owned()
}

/// A provider that is never asked anything.
pub fn idle_provider(name: &str) -> Value {
    json!({
        "name": name,
        "type": "oidc",
        "issuer": "https://idp.example",
        "client_id": "us",
        "client_secret": "hush-hush",
        "scopes": "openid email",
    })
}

/// Sends a request with a token, or none if it is empty.
pub async fn send(
    server: &Server,
    token: &str,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Answer {
    let client = reqwest::Client::builder().no_proxy().build();
    let request = client
        .expect("a client")
        .request(method, format!("{}{path}", server.url));
    let request = match body {
        Some(body) => request.json(body),
        None => request,
    };
    let request = if token.is_empty() {
        request
    } else {
        request.bearer_auth(token)
    };
    Answer::read(request.send().await.expect("an answer")).await
}

/// Asserts a problem (RFC 9457) with its status and code; the problem.
#[track_caller]
pub fn problem(answer: Answer, status: u16, code: &str) -> Value {
    let answer = answer.expect(status);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let problem = answer.json();
    assert_eq!(problem["code"], code, "{problem:#}");
    assert_eq!(problem["status"], status);
    assert_eq!(problem["request_id"], answer.header("x-request-id"));
    problem
}
