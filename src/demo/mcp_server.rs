//! The demo's toy MCP server: two tools, streamable HTTP without sessions, no authentication of
//! its own, because the gateway stands in front of it.
//!
//! Demo only, on a loopback port. Nothing that `serve` runs refers to this module.

use std::net::Ipv4Addr;

use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use rmcp::ServerHandler;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{Implementation, ServerCapabilities, ServerConfig};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{schemars, tool, tool_handler, tool_router};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::causes::chain;

/// The running server; dropping it stops it.
pub(super) struct McpServer {
    url: String,
    _serving: AbortOnDropHandle<()>,
}

impl McpServer {
    /// Starts on a free loopback port.
    ///
    /// # Errors
    /// If no port is free.
    pub async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}/mcp", listener.local_addr()?);
        let config = StreamableHttpServerConfig::default()
            .with_legacy_session_mode(false)
            .with_json_response(true);
        let service: StreamableHttpService<Toy, LocalSessionManager> =
            StreamableHttpService::new(|| Ok(Toy), Default::default(), config);
        let router = axum::Router::new()
            .nest_service("/mcp", service)
            .layer(middleware::from_fn(spell_out_accept));
        let serving = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(error = chain(&error), "the toy MCP server stopped");
            }
        });
        Ok(Self {
            url,
            _serving: AbortOnDropHandle::new(serving),
        })
    }

    /// Where it listens, without any protection.
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// A bare `curl` or `fetch` accepts anything; rmcp wants both types by name.
async fn spell_out_accept(mut request: Request, next: Next) -> Response {
    if request
        .headers()
        .get(header::ACCEPT)
        .is_none_or(|accept| accept == "*/*")
    {
        request.headers_mut().insert(
            header::ACCEPT,
            HeaderValue::from_static("application/json, text/event-stream"),
        );
    }
    next.run(request).await
}

#[derive(Deserialize, schemars::JsonSchema)]
struct Addends {
    a: i64,
    b: i64,
}

#[derive(Deserialize, schemars::JsonSchema)]
struct Words {
    text: String,
}

struct Toy;

#[tool_router]
impl Toy {
    #[tool(description = "Adds two integers")]
    fn add(&self, Parameters(Addends { a, b }): Parameters<Addends>) -> String {
        a.checked_add(b)
            .map_or_else(|| "too large".to_owned(), |sum| sum.to_string())
    }

    #[tool(description = "Says the same again")]
    fn echo(&self, Parameters(Words { text }): Parameters<Words>) -> String {
        text
    }
}

#[tool_handler]
impl ServerHandler for Toy {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new(
                "grantlog-demo",
                env!("CARGO_PKG_VERSION"),
            ))
            .with_instructions("A toy: it adds and echoes.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rmcp::ServiceExt;
    use rmcp::model::CallToolRequestParams;
    use rmcp::transport::StreamableHttpClientTransport;
    use serde_json::json;

    #[tokio::test]
    async fn a_real_client_lists_and_calls_the_tools() {
        let server = McpServer::start().await.unwrap();
        let client = ().serve(StreamableHttpClientTransport::from_uri(server.url())).await.unwrap();
        let mut names: Vec<_> = client
            .list_all_tools()
            .await
            .unwrap()
            .into_iter()
            .map(|tool| tool.name)
            .collect();
        names.sort();
        assert_eq!(names, ["add", "echo"]);
        let arguments = json!({ "a": 2, "b": 40 });
        let result = client
            .call_tool(
                CallToolRequestParams::new("add")
                    .with_arguments(arguments.as_object().unwrap().clone()),
            )
            .await
            .unwrap();
        assert_eq!(result.content[0].as_text().unwrap().text, "42");
        client.cancel().await.unwrap();
    }

    #[tokio::test]
    async fn a_bare_post_needs_no_handshake() {
        let server = McpServer::start().await.unwrap();
        let answer: serde_json::Value = reqwest::Client::builder()
            .build()
            .unwrap()
            .post(server.url())
            .json(&json!({ "jsonrpc": "2.0", "method": "tools/list", "params": {}, "id": "x" }))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        assert_eq!(
            answer["result"]["tools"].as_array().unwrap().len(),
            2,
            "{answer}"
        );
    }
}
