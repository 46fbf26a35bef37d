//! A server with a real provider behind its login and a real MCP server behind its gateway.

use serde_json::{Value, json};

use crate::interop::{McpServer, Provider};
use crate::oauth::Proxy;
use crate::server::{Server, Setup};

/// Everything a flow needs, connected.
#[derive(Debug)]
pub struct World {
    /// The server under test.
    pub server: Server,
    /// The provider, known to the server under id 1.
    pub provider: Provider,
    /// The MCP server behind the gateway.
    pub upstream: McpServer,
    /// The proxy in front of it; asks for consent, scopes `read write`.
    pub proxy: Proxy,
}

impl World {
    /// A plain world.
    pub async fn start() -> Self {
        Self::with(Setup::default(), json!({})).await
    }

    /// A world whose server or proxy configuration (`oauth_proxy_*` members) differs.
    pub async fn with(setup: Setup, config: Value) -> Self {
        let server = setup.start().await;
        let callback = server.callback_url(1);
        let callbacks = [callback.as_str()];
        let (provider, upstream) = tokio::join!(Provider::start(&callbacks), McpServer::start());
        let id = server.add_oidc(&provider).await;
        let mut members = json!({
            "oauth_proxy_provider_id": id,
            "oauth_proxy_scopes": "read write",
        });
        let plain = members.as_object_mut().expect("it is an object");
        plain.extend(
            config
                .as_object()
                .expect("a configuration is an object")
                .clone(),
        );
        let proxy = server.add_proxy(&upstream.url, members).await;
        Self {
            server,
            provider,
            upstream,
            proxy,
        }
    }
}
