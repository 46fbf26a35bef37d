//! A server, a real provider, a proxy that asks for consent, and Chromium.

use std::net::TcpListener;

use serde_json::{Value, json};
use support::interop::Provider;
use support::{Client, Pkce, Proxy, Server, Setup, public_client};
use url::Url;

use crate::chromium::Chromium;
use crate::site::Site;
use crate::tab::Tab;

pub const ALLOW: &str = "button[value=approve]";
pub const REFUSE: &str = "button[value=deny]";

pub struct Rig {
    pub server: Server,
    pub provider: Provider,
    pub proxy: Proxy,
    pub chromium: Chromium,
    /// The MCP server behind the gateway, and whatever else the web has.
    pub site: Site,
}

impl Rig {
    pub async fn start() -> Self {
        Self::at("127.0.0.1").await
    }

    /// A rig whose server is known under this name.
    pub async fn at(host: &str) -> Self {
        let (server, chromium, site) =
            tokio::join!(server_at(host), Chromium::start(), Site::start());
        let callback = server.callback_url(1);
        let provider = Provider::start(&[&callback]).await;
        let id = server.add_oidc(&provider).await;
        let proxy = json!({
            "oauth_proxy_provider_id": id,
            "oauth_proxy_scopes": "read write",
            "oauth_proxy_upstream_auth": "none",
            "oauth_proxy_allowed_redirects": [
                "cursor://*", "http://127.0.0.1:*", "http://localhost:*",
                "https://your-app.com/callback",
            ],
        });
        let proxy = server.add_proxy(&site.at("127.0.0.1", "/mcp"), proxy).await;
        Self {
            server,
            provider,
            proxy,
            chromium,
            site,
        }
    }

    /// A client that is returned to here.
    pub async fn client(&self, redirect_uri: &str) -> Client {
        self.client_with(json!({ "redirect_uris": [redirect_uri] }))
            .await
    }

    /// A client with these members of metadata.
    pub async fn client_with(&self, members: Value) -> Client {
        let mut metadata = public_client();
        let members = members.as_object().unwrap().clone();
        metadata.as_object_mut().unwrap().extend(members);
        self.proxy.register(metadata).await
    }

    /// Logs in at the provider for the first time, beginning at the page with its login form.
    pub async fn log_in(&self, tab: &mut Tab) {
        self.sign_in(tab).await;
        tab.loaded(&self.provider.issuer).await;
        tab.click("[type=submit]").await;
    }

    /// The same once the provider has its own consent.
    pub async fn sign_in(&self, tab: &mut Tab) {
        tab.loaded(&self.provider.issuer).await;
        tab.write("[name=login]", "alice").await;
        tab.write("[name=password]", "correct horse battery staple")
            .await;
        tab.click("[type=submit]").await;
    }
}

/// The address of a good authorization request with this `state`.
pub fn request(client: &Client, state: &str) -> String {
    let params = client.authorization(&Pkce::rfc7636());
    client.authorize_url(&params.with("state", state))
}

/// A query parameter that must be there.
pub fn param(url: &Url, name: &str) -> String {
    let mut values = url.query_pairs().filter(|(known, _)| known == name);
    let (_, value) = values.next().unwrap_or_else(|| panic!("no {name}: {url}"));
    assert!(values.next().is_none(), "{name} came twice: {url}");
    value.into_owned()
}

async fn server_at(host: &str) -> Server {
    let free = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let url = format!("http://{host}:{}", address.port());
    let setup = Setup::default()
        .env("GRANTLOG_SERVER__LISTEN", &address.to_string())
        .env("GRANTLOG_SERVER__PUBLIC_URL", &url);
    let mut server = setup.start().await;
    server.url = url;
    server
}
