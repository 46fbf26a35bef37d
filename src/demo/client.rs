//! The demo's MCP client. It knows nothing but the MCP server's URL and finds its way as the MCP
//! specification asks: challenge (RFC 6750), protected resource metadata (RFC 9728), authorization
//! server metadata (RFC 8414), dynamic registration (RFC 7591), PKCE (RFC 7636), resource
//! indicator (RFC 8707), `iss` (RFC 9207). MCP itself is spoken by rmcp.

use std::net::{IpAddr, Ipv4Addr};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::StatusCode;
use reqwest::header::WWW_AUTHENTICATE;
use rmcp::ServiceExt;
use rmcp::model::CallToolRequestParams;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use url::Url;

use super::check::{Unexpected, body, expect, http_client, text};
use crate::clock;

/// What the client calls itself when it registers.
pub(super) const CLIENT_NAME: &str = "Demo client";
const USER_AGENT: &str = concat!("grantlog-demo-client/", env!("CARGO_PKG_VERSION"));

/// A client that has found its authorization server.
pub(super) struct Client {
    http: reqwest::Client,
    mcp_url: String,
    scope: Option<String>,
    /// What the authorization server says about itself.
    pub server: ServerMetadata,
}

/// RFC 8414 §2, as far as this client uses it.
#[derive(Deserialize)]
pub(super) struct ServerMetadata {
    /// The issuer identifier.
    pub issuer: String,
    authorization_endpoint: Url,
    token_endpoint: Url,
    registration_endpoint: Url,
    revocation_endpoint: Url,
    code_challenge_methods_supported: Vec<String>,
}

/// A registered client.
pub(super) struct Registration {
    /// Its `client_id`.
    pub client_id: String,
    /// Where it waits for answers.
    pub redirect_uri: Url,
    /// Keeps the redirect URI's port; the demo's browser stops before it connects.
    _waiting: TcpListener,
}

/// An authorization request that is under way.
pub(super) struct Authorization {
    /// Where to send the person.
    pub url: Url,
    state: String,
    verifier: String,
}

/// A token endpoint's answer.
#[derive(Deserialize)]
pub(super) struct Tokens {
    /// For the MCP server.
    pub access_token: String,
    /// For the next refresh.
    pub refresh_token: String,
    /// The access token's life.
    pub expires_in: u64,
    token_type: String,
    /// What was granted.
    #[serde(default)]
    pub scope: String,
}

/// What an MCP endpoint says to a token: its status and its challenge.
pub(super) struct Verdict {
    /// The HTTP status.
    pub status: StatusCode,
    /// `WWW-Authenticate`.
    pub challenge: String,
}

impl Client {
    /// Follows the challenge of an MCP server to its authorization server.
    pub async fn discover(mcp_url: &str) -> Result<Self, Unexpected> {
        let http = http_client(USER_AGENT, None)?;
        let challenged = verdict(&http, mcp_url, None).await?;
        let metadata_url = parameter(&challenged.challenge, "resource_metadata");
        let (StatusCode::UNAUTHORIZED, Some(metadata_url)) = (challenged.status, metadata_url)
        else {
            return Err(Unexpected::new(
                "401 with resource_metadata in WWW-Authenticate",
                format!(
                    "{} with {:?}",
                    challenged.status.as_u16(),
                    challenged.challenge
                ),
            ));
        };
        let resource = get(&http, metadata_url).await?;
        expect(
            "the resource's identifier",
            mcp_url,
            text(&resource, "/resource")?,
        )?;
        let issuer = text(&resource, "/authorization_servers/0")?;
        let server = get(&http, &well_known(issuer)?).await?;
        let server: ServerMetadata = serde_json::from_value(server)
            .map_err(|error| Unexpected::new("authorization server metadata", error))?;
        expect("the issuer", issuer, &server.issuer)?;
        if !server
            .code_challenge_methods_supported
            .iter()
            .any(|method| method == "S256")
        {
            return Err(Unexpected::new("S256 among the challenge methods", "none"));
        }
        Ok(Self {
            http,
            mcp_url: mcp_url.to_owned(),
            scope: parameter(&challenged.challenge, "scope").map(str::to_owned),
            server,
        })
    }

    /// Registers a public client that waits for answers on loopback.
    pub async fn register(&self) -> Result<Registration, Unexpected> {
        let waiting = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let redirect_uri = format!("http://{}/callback", waiting.local_addr()?);
        let request = json!({
            "client_name": CLIENT_NAME,
            "redirect_uris": [redirect_uri],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
        });
        let endpoint = self.server.registration_endpoint.clone();
        let response = self.http.post(endpoint).json(&request).send().await?;
        let answer = body(response, StatusCode::CREATED).await?;
        Ok(Registration {
            client_id: text(&answer, "/client_id")?.to_owned(),
            redirect_uri: Url::parse(&redirect_uri)
                .map_err(|error| Unexpected::new("a redirect URI", error))?,
            _waiting: waiting,
        })
    }

    /// Begins to ask for access.
    pub fn authorize(&self, registration: &Registration) -> Authorization {
        let verifier = URL_SAFE_NO_PAD.encode(clock::random::<32>());
        let state = URL_SAFE_NO_PAD.encode(clock::random::<16>());
        let mut url = self.server.authorization_endpoint.clone();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &registration.client_id)
            .append_pair("redirect_uri", registration.redirect_uri.as_str())
            .append_pair("state", &state)
            .append_pair(
                "code_challenge",
                &URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier)),
            )
            .append_pair("code_challenge_method", "S256")
            .append_pair("resource", &self.mcp_url)
            .extend_pairs(self.scope.as_ref().map(|scope| ("scope", scope)));
        Authorization {
            url,
            state,
            verifier,
        }
    }

    /// Exchanges the answer's code for tokens, after checking whose answer it is.
    pub async fn redeem(
        &self,
        registration: &Registration,
        authorization: &Authorization,
        answer: &Url,
    ) -> Result<Tokens, Unexpected> {
        let answered = |wanted: &str| {
            let found = answer.query_pairs().find(|(name, _)| name == wanted);
            found
                .map(|(_, value)| value.into_owned())
                .unwrap_or_default()
        };
        if answered("code").is_empty() {
            return Err(Unexpected::new(
                "a code",
                format!("the error {:?}", answered("error")),
            ));
        }
        expect("our state", &authorization.state, &answered("state"))?;
        expect("the issuer as iss", &self.server.issuer, &answered("iss"))?;
        let response = self
            .http
            .post(self.server.token_endpoint.clone())
            .form(&[
                ("grant_type", "authorization_code"),
                ("code", &answered("code")),
                ("redirect_uri", registration.redirect_uri.as_str()),
                ("client_id", &registration.client_id),
                ("code_verifier", &authorization.verifier),
                ("resource", &self.mcp_url),
            ])
            .send()
            .await?;
        tokens(body(response, StatusCode::OK).await?)
    }

    /// Exchanges a refresh token for new tokens.
    pub async fn refresh(
        &self,
        registration: &Registration,
        refresh_token: &str,
    ) -> Result<Tokens, Unexpected> {
        let answer = self
            .present(&self.http, registration, refresh_token, StatusCode::OK)
            .await?;
        tokens(answer)
    }

    /// Presents a refresh token that must no longer work, from `address` if that is given, and
    /// tells what was said.
    pub async fn refresh_in_vain(
        &self,
        registration: &Registration,
        refresh_token: &str,
        user_agent: &str,
        address: Option<IpAddr>,
    ) -> Result<String, Unexpected> {
        let http = http_client(user_agent, address)?;
        let refused = StatusCode::BAD_REQUEST;
        let answer = self
            .present(&http, registration, refresh_token, refused)
            .await?;
        expect("the error", "invalid_grant", text(&answer, "/error")?)?;
        Ok("invalid_grant".to_owned())
    }

    async fn present(
        &self,
        http: &reqwest::Client,
        registration: &Registration,
        refresh_token: &str,
        expected: StatusCode,
    ) -> Result<Value, Unexpected> {
        let response = http
            .post(self.server.token_endpoint.clone())
            .form(&[
                ("grant_type", "refresh_token"),
                ("refresh_token", refresh_token),
                ("client_id", &registration.client_id),
            ])
            .send()
            .await?;
        body(response, expected).await
    }

    /// Gives a refresh token up, and its grant with it (RFC 7009).
    pub async fn revoke(
        &self,
        registration: &Registration,
        refresh_token: &str,
    ) -> Result<(), Unexpected> {
        let response = self
            .http
            .post(self.server.revocation_endpoint.clone())
            .form(&[
                ("token", refresh_token),
                ("token_type_hint", "refresh_token"),
                ("client_id", &registration.client_id),
            ])
            .send()
            .await?;
        expect("the status", "200", response.status().as_str())
    }

    /// What the MCP endpoint says to this token.
    pub async fn verdict(&self, access_token: &str) -> Result<Verdict, Unexpected> {
        verdict(&self.http, &self.mcp_url, Some(access_token)).await
    }

    /// The names of the MCP server's tools.
    pub async fn tools(&self, access_token: &str) -> Result<Vec<String>, Unexpected> {
        let server = ().serve(self.transport(access_token)).await.map_err(mcp_failed)?;
        let tools = server.list_all_tools().await.map_err(mcp_failed)?;
        server.cancel().await.map_err(mcp_failed)?;
        let mut names: Vec<_> = tools
            .into_iter()
            .map(|tool| tool.name.into_owned())
            .collect();
        names.sort();
        Ok(names)
    }

    /// What a tool answers.
    pub async fn call(
        &self,
        access_token: &str,
        tool: &'static str,
        arguments: Value,
    ) -> Result<String, Unexpected> {
        let arguments = arguments.as_object().cloned().unwrap_or_default();
        let request = CallToolRequestParams::new(tool).with_arguments(arguments);
        let server = ().serve(self.transport(access_token)).await.map_err(mcp_failed)?;
        let result = server.call_tool(request).await.map_err(mcp_failed)?;
        server.cancel().await.map_err(mcp_failed)?;
        let said = result.content.first().and_then(|content| content.as_text());
        said.map(|said| said.text.clone())
            .ok_or_else(|| Unexpected::new("text from the tool", "none"))
    }

    fn transport(&self, access_token: &str) -> StreamableHttpClientTransport<reqwest::Client> {
        let config = StreamableHttpClientTransportConfig::with_uri(self.mcp_url.as_str())
            .auth_header(access_token);
        StreamableHttpClientTransport::with_client(self.http.clone(), config)
    }
}

/// A request that every MCP server answers, without any client library.
async fn verdict(
    http: &reqwest::Client,
    mcp_url: &str,
    access_token: Option<&str>,
) -> Result<Verdict, Unexpected> {
    let mut request = http
        .post(mcp_url)
        .header("accept", "application/json, text/event-stream")
        .json(&json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {} }));
    if let Some(access_token) = access_token {
        request = request.bearer_auth(access_token);
    }
    let response = request.send().await?;
    let challenge = response
        .headers()
        .get(WWW_AUTHENTICATE)
        .and_then(|value| value.to_str().ok());
    Ok(Verdict {
        status: response.status(),
        challenge: challenge.unwrap_or_default().to_owned(),
    })
}

/// RFC 8414 §3.1: the well-known part goes between host and path.
fn well_known(issuer: &str) -> Result<String, Unexpected> {
    let mut url = Url::parse(issuer).map_err(|_| Unexpected::new("an issuer URL", issuer))?;
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&format!("/.well-known/oauth-authorization-server{path}"));
    Ok(url.into())
}

/// A parameter of a challenge, quoted as RFC 6750 §3 has them.
fn parameter<'a>(challenge: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = challenge.split_once(&format!("{name}=\""))?;
    rest.split('"').next()
}

async fn get(http: &reqwest::Client, url: &str) -> Result<Value, Unexpected> {
    body(http.get(url).send().await?, StatusCode::OK).await
}

fn tokens(answer: Value) -> Result<Tokens, Unexpected> {
    let tokens: Tokens = serde_json::from_value(answer)
        .map_err(|error| Unexpected::new("access and refresh token", error))?;
    expect("token_type", "Bearer", &tokens.token_type)?;
    Ok(tokens)
}

fn mcp_failed(error: impl std::fmt::Display) -> Unexpected {
    Unexpected::new("an MCP answer through the gateway", error)
}
