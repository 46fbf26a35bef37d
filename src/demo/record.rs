//! The operator's side of the demo: setting the server up and reading its record, through the
//! administration and investigation API, as any operator would.

use reqwest::StatusCode;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::DemoError;
use super::check::{Unexpected, at, body, expect, http_client, text};
use super::identity_provider::{CLIENT_ID, IdentityProvider, PEOPLE};
use super::transcript::Transcript;

/// Somebody with an operator token.
pub(super) struct Operator {
    http: reqwest::Client,
    url: String,
    token: Zeroizing<String>,
}

impl Operator {
    /// The operator of the server at this URL.
    pub fn new(url: String, token: Zeroizing<String>) -> Result<Self, Unexpected> {
        Ok(Self {
            http: http_client(concat!("grantlog-demo/", env!("CARGO_PKG_VERSION")), None)?,
            url,
            token,
        })
    }

    /// Adds the provider and a proxy for the MCP server; returns the protected MCP URL.
    pub async fn set_up(
        &self,
        identity_provider: &IdentityProvider,
        upstream_url: &str,
    ) -> Result<String, Unexpected> {
        let provider = self
            .post(
                "/api/v1/providers",
                &json!({
                    "name": "Demo identity provider",
                    "type": "oidc",
                    "client_id": CLIENT_ID,
                    "client_secret": identity_provider.client_secret(),
                    "issuer": identity_provider.issuer(),
                    "scopes": "openid profile email",
                }),
            )
            .await?;
        identity_provider.register_redirect_uri(text(&provider, "/callback_url")?);
        let proxy = self
            .post(
                "/api/v1/proxies",
                &json!({
                    "name": "Toy MCP server",
                    "upstream_url": upstream_url,
                    "config": {
                        "oauth_proxy_enabled": true,
                        "oauth_proxy_mode": "gateway",
                        "oauth_proxy_provider_id": provider["id"],
                        // The toy takes no token, so none is handed to it.
                        "oauth_proxy_upstream_auth": "none",
                    },
                }),
            )
            .await?;
        Ok(text(&proxy, "/mcp_url")?.to_owned())
    }

    /// Tells what the record says about a client's logins; returns the grant whose refresh token
    /// was stolen.
    ///
    /// # Errors
    /// If the record lacks a login, the theft, or a revocation.
    pub async fn tell(&self, client_id: &str, out: &mut Transcript) -> Result<String, DemoError> {
        let logins = self.logins(client_id).await.map_err(at("login history"))?;
        out.heading("Login history")?;
        for login in &logins {
            let field = |name: &str| login[name].as_str().unwrap_or_default();
            let at = field("started_at");
            out.line(format_args!(
                "{}  {:<11}  {}  {}  {}  grant {}",
                at.get(11..19).unwrap_or(at),
                field("email"),
                field("client_name"),
                field("ip"),
                field("outcome"),
                field("grant_id"),
            ))?;
        }
        let stolen = text(&logins[0], "/grant_id").map_err(at("login history"))?;
        let timeline = self
            .get(&format!("/api/v1/grants/{stolen}/timeline"))
            .await
            .map_err(at("timeline"))?;
        out.heading(format_args!(
            "The theft, as the record tells it (grant {stolen})"
        ))?;
        for item in timeline["items"].as_array().into_iter().flatten() {
            let field = |name: &str| item[name].as_str().unwrap_or_default();
            let position = item["position"].as_u64().unwrap_or_default();
            out.event(position, field("at"), field("explain"))?;
        }
        check_theft(&timeline).map_err(at("timeline"))?;
        Ok(stolen.to_owned())
    }

    /// One row for each person who logged in, the oldest first.
    async fn logins(&self, client_id: &str) -> Result<Vec<Value>, Unexpected> {
        let status = self.status().await?;
        let answer = self
            .get(&format!(
                "/api/v1/logins?client_id={client_id}&sort=asc&min_position={}",
                status["head"]
            ))
            .await?;
        let rows = answer["data"].as_array().cloned().unwrap_or_default();
        let [ada, grace, _] = &PEOPLE;
        let found: Vec<_> = rows
            .iter()
            .map(|row| format!("{} {}", row["email"], row["outcome"]))
            .collect();
        let expected = [ada, grace].map(|person| format!("{:?} \"success\"", person.login));
        expect("the logins", &expected.join(", "), &found.join(", "))?;
        Ok(rows)
    }

    /// `GET /api/v1/status`.
    pub async fn status(&self) -> Result<Value, Unexpected> {
        self.get("/api/v1/status").await
    }

    async fn get(&self, path: &str) -> Result<Value, Unexpected> {
        let request = self.http.get(format!("{}{path}", self.url));
        body(
            request.bearer_auth(self.token.as_str()).send().await?,
            StatusCode::OK,
        )
        .await
    }

    async fn post(&self, path: &str, content: &Value) -> Result<Value, Unexpected> {
        let request = self.http.post(format!("{}{path}", self.url)).json(content);
        body(
            request.bearer_auth(self.token.as_str()).send().await?,
            StatusCode::CREATED,
        )
        .await
    }
}

/// The grant is dead, and its story says that it died of a reused refresh token.
fn check_theft(timeline: &Value) -> Result<(), Unexpected> {
    if timeline["live"] != json!(false) {
        return Err(Unexpected::new(
            "a grant that is no longer live",
            &timeline["live"],
        ));
    }
    let types: Vec<_> = timeline["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|item| item["type"].as_str())
        .collect();
    for wanted in [
        "grant.login_succeeded",
        "grant.code_redeemed",
        "grant.access_token_first_used",
        "grant.refresh_token_rotated",
        "grant.refresh_token_reused",
        "grant.revoked",
    ] {
        if !types.contains(&wanted) {
            return Err(Unexpected::new(
                format!("{wanted} in the story"),
                types.join(", "),
            ));
        }
    }
    Ok(())
}
