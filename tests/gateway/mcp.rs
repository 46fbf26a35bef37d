//! A real MCP client reaches a real MCP server through the gateway.

use rmcp::model::{ServerCapabilities, ServerConfig};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ServerHandler, ServiceExt, tool, tool_handler, tool_router};
use tokio::net::TcpListener;

use crate::rig::{Rig, serve};

struct Toy;

#[tool_router]
impl Toy {
    #[tool(description = "Answers")]
    fn answer(&self) -> String {
        "42".to_owned()
    }
}

#[tool_handler]
impl ServerHandler for Toy {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }
}

/// With sessions (as before revision 2026-07-28) and without, as JSON and as events.
#[tokio::test]
async fn a_real_client_lists_and_calls_tools() {
    for (sessions, as_json) in [(true, false), (false, false), (false, true)] {
        let config = StreamableHttpServerConfig::default()
            .with_legacy_session_mode(sessions)
            .with_json_response(as_json);
        let service: StreamableHttpService<Toy, LocalSessionManager> =
            StreamableHttpService::new(|| Ok(Toy), Default::default(), config);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        serve(listener, axum::Router::new().nest_service("/mcp", service));
        let rig = Rig::new(&format!("http://{address}/mcp")).await;
        let token = rig.grant("read").await.token;
        let transport = StreamableHttpClientTransport::from_config(
            StreamableHttpClientTransportConfig::with_uri(rig.at("/mcp")).auth_header(token),
        );
        let client = ().serve(transport).await.expect("it connects");
        let tools = client.list_all_tools().await.expect("tools");
        assert_eq!(tools[0].name, "answer");
        let params = rmcp::model::CallToolRequestParams::new("answer");
        let result = client.call_tool(params).await.expect("a result");
        assert!(format!("{result:?}").contains("42"));
        client.cancel().await.expect("it ends");
    }
}
