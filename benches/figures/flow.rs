//! The steps of an authorization as a client and its user's browser take them.

use form_urlencoded::byte_serialize;
use http::StatusCode;
use serde::Deserialize;

use crate::Fallible;
use crate::http::{Answer, Connection};

const BASE: &str = "/api/v1/oauth-proxy/1";
const FORM: &str = "application/x-www-form-urlencoded";
const REDIRECT_URI: &str = "http://127.0.0.1:4711/callback";
/// The pair of RFC 7636, appendix B.
const CODE_VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CODE_CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// A registered client.
#[derive(Clone, Deserialize)]
pub struct Client {
    client_id: String,
    client_secret: String,
}

impl Client {
    /// One that nobody registered, of the usual lengths.
    pub fn invented() -> Self {
        Self {
            client_id: "gateway_00112233445566778899aabbccddeeff".to_owned(),
            client_secret: format!("gw_secret_{}", "x".repeat(43)),
        }
    }
}

/// What a token request gives.
#[derive(Deserialize)]
pub struct Tokens {
    pub access_token: String,
    pub refresh_token: String,
}

#[derive(Deserialize)]
struct Introspection {
    active: bool,
}

/// Registers a client (RFC 7591).
pub async fn register(server: &mut Connection) -> Fallible<Client> {
    let metadata = serde_json::json!({
        "redirect_uris": [REDIRECT_URI],
        "client_name": "figures",
        "token_endpoint_auth_method": "client_secret_post",
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
    });
    let path = format!("{BASE}/register");
    let answer = server
        .post(&path, "application/json", metadata.to_string())
        .await?;
    answer.json(StatusCode::CREATED)
}

/// Walks from the authorization request over the provider to the code: three requests.
pub async fn log_in(
    server: &mut Connection,
    provider: &mut Connection,
    client: &Client,
) -> Fallible<String> {
    let path = format!(
        "{BASE}/authorize?response_type=code&client_id={}&redirect_uri={}&state=figures\
         &scope=read+write&code_challenge={CODE_CHALLENGE}&code_challenge_method=S256",
        client.client_id,
        encoded(REDIRECT_URI),
    );
    let asked = server.get(&path, None).await?;
    let approved = provider.get(path_of(asked.location()?)?, None).await?;
    let callback = path_of(approved.location()?)?;
    let answer = server.get(callback, asked.cookie()).await?;
    let location = answer.location()?;
    let query = location.split_once('?').map_or("", |(_, query)| query);
    let code = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "code");
    let (_, code) = code.ok_or_else(|| format!("no code in {location}"))?;
    Ok(code.into_owned())
}

/// Redeems a code.
pub async fn redeem(server: &mut Connection, client: &Client, code: &str) -> Fallible<Tokens> {
    let form = format!(
        "grant_type=authorization_code&code={code}&redirect_uri={}&code_verifier={CODE_VERIFIER}",
        encoded(REDIRECT_URI),
    );
    token(server, client, form).await?.json(StatusCode::OK)
}

/// Refreshes.
pub async fn refresh(
    server: &mut Connection,
    client: &Client,
    refresh_token: &str,
) -> Fallible<Tokens> {
    let form = format!("grant_type=refresh_token&refresh_token={refresh_token}");
    token(server, client, form).await?.json(StatusCode::OK)
}

/// Introspects an access token, which must be live.
pub async fn introspect(
    server: &mut Connection,
    client: &Client,
    access_token: &str,
) -> Fallible<()> {
    let path = format!("{BASE}/introspect");
    let form = authenticated(client, format!("token={access_token}"));
    let answer: Introspection = server.post(&path, FORM, form).await?.json(StatusCode::OK)?;
    if answer.active {
        Ok(())
    } else {
        Err("a live token is said not to be".into())
    }
}

async fn token(server: &mut Connection, client: &Client, form: String) -> Fallible<Answer> {
    let path = format!("{BASE}/token");
    server.post(&path, FORM, authenticated(client, form)).await
}

fn authenticated(client: &Client, form: String) -> String {
    let Client {
        client_id,
        client_secret,
    } = client;
    format!("{form}&client_id={client_id}&client_secret={client_secret}")
}

/// Everything behind the origin of a URL.
fn path_of(url: &str) -> Fallible<&str> {
    let at = url.match_indices('/').nth(2).map(|(at, _)| at);
    Ok(&url[at.ok_or_else(|| format!("no path in {url}"))?..])
}

fn encoded(text: &str) -> String {
    byte_serialize(text.as_bytes()).collect()
}
