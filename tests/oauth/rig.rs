//! A server, a scripted provider that logs everybody in at once, and a proxy.

use serde_json::{Value, json};
use support::{Answer, Browser, Client, Params, Pkce, Proxy, Server, Setup, Tokens};

use crate::fake_provider::FakeProvider;

pub struct Rig {
    pub server: Server,
    pub provider: FakeProvider,
    pub proxy: Proxy,
}

impl Rig {
    pub async fn start() -> Self {
        Self::with(json!({"oauth_proxy_require_consent": false})).await
    }

    /// A rig whose proxy has these `oauth_proxy_*` members.
    pub async fn with(config: Value) -> Self {
        Self::on(Server::setup(), config).await
    }

    /// A rig whose server is set up differently, too.
    pub async fn on(setup: Setup, config: Value) -> Self {
        Self::at(FakeProvider::start().await, setup, config).await
    }

    /// A rig where people log in at this provider.
    pub async fn at(provider: FakeProvider, setup: Setup, config: Value) -> Self {
        let server = setup.start().await;
        let id = server
            .add_provider(&provider.document("openid email"))
            .await;
        let mut members = config;
        members["oauth_proxy_provider_id"] = json!(id);
        members["oauth_proxy_scopes"] = json!("read write");
        let proxy = server.add_proxy("http://127.0.0.1:9/mcp", members).await;
        Self {
            server,
            provider,
            proxy,
        }
    }

    pub async fn client(&self) -> Client {
        self.proxy.register(support::public_client()).await
    }

    pub async fn code(&self, client: &Client) -> String {
        client
            .authorize_code(&mut Browser::new(), &Pkce::rfc7636())
            .await
    }

    pub async fn log_in(&self, client: &Client) -> Tokens {
        let code = self.code(client).await;
        Tokens::of(&client.redeem(&code, &Pkce::rfc7636()).await.expect(200))
    }

    /// Posts to the token endpoint.
    pub async fn token(&self, params: &Params) -> Answer {
        self.proxy.post("token", params).await
    }

    /// The gateway's word on an access token: the upstream does not exist, so whatever it admits
    /// ends in 502.
    pub async fn admits(&self, access_token: &str) -> bool {
        match self.proxy.list_tools(access_token).await.status {
            502 => true,
            401 => false,
            status => panic!("unexpected status {status}"),
        }
    }
}

/// A token-style error: status, code, only the keys that may be there, never cached.
pub fn refused(answer: Answer, status: u16, error: &str) {
    let answer = answer.expect_error(status, error);
    assert_eq!(answer.header("cache-control"), "no-store");
    let body = answer.json();
    for name in body.as_object().expect("an object").keys() {
        assert!(
            ["error", "error_description", "error_uri"].contains(&name.as_str()),
            "{body}"
        );
    }
}
