//! The steps of an authorization as a client and its user's browser take them.

use form_urlencoded::byte_serialize;
use http::StatusCode;
use serde::Deserialize;

use super::connection::{Answer, Connection};
use super::{BenchError, Fallible};

const BASE: &str = "/api/v1/oauth-proxy/1";
const FORM: &str = "application/x-www-form-urlencoded";
const REDIRECT_URI: &str = "http://127.0.0.1:4711/callback";
/// The pair of RFC 7636, appendix B.
const CODE_VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CODE_CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// A registered client.
#[derive(Clone, Deserialize)]
pub(super) struct Client {
    client_id: String,
    client_secret: String,
}

/// What a token request gives.
#[derive(Deserialize)]
pub(super) struct Tokens {
    pub access_token: String,
    pub refresh_token: String,
}

#[derive(Deserialize)]
struct Introspection {
    active: bool,
}

/// Registers a client (RFC 7591).
pub(super) async fn register(server: &mut Connection) -> Fallible<Client> {
    let metadata = serde_json::json!({
        "redirect_uris": [REDIRECT_URI],
        "client_name": "bench",
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
pub(super) async fn log_in(
    server: &mut Connection,
    provider: &mut Connection,
    client: &Client,
) -> Fallible<String> {
    let path = format!(
        "{BASE}/authorize?response_type=code&client_id={}&redirect_uri={}&state=bench\
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
    let (_, code) = code.ok_or_else(|| answer.unexpected())?;
    Ok(code.into_owned())
}

/// Redeems a code.
pub(super) async fn redeem(
    server: &mut Connection,
    client: &Client,
    code: &str,
) -> Fallible<Tokens> {
    let form = format!(
        "grant_type=authorization_code&code={code}&redirect_uri={}&code_verifier={CODE_VERIFIER}",
        encoded(REDIRECT_URI),
    );
    token(server, client, form).await?.json(StatusCode::OK)
}

/// Refreshes.
pub(super) async fn refresh(
    server: &mut Connection,
    client: &Client,
    refresh_token: &str,
) -> Fallible<Tokens> {
    let form = format!("grant_type=refresh_token&refresh_token={refresh_token}");
    token(server, client, form).await?.json(StatusCode::OK)
}

/// Introspects an access token, which must be live.
pub(super) async fn introspect(
    server: &mut Connection,
    client: &Client,
    access_token: &str,
) -> Fallible<()> {
    let path = format!("{BASE}/introspect");
    let form = authenticated(client, format!("token={access_token}"));
    let answer = server.post(&path, FORM, form).await?;
    let introspection: Introspection = answer.json(StatusCode::OK)?;
    if introspection.active {
        Ok(())
    } else {
        Err(answer.unexpected())
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
    let at = at.ok_or_else(|| BenchError::Unexpected(format!("a URL without a path, {url}")))?;
    Ok(&url[at..])
}

fn encoded(text: &str) -> String {
    byte_serialize(text.as_bytes()).collect()
}
