//! Who an access token is about: the userinfo endpoint (OpenID Connect Core §5.3).

use reqwest::header::ACCEPT;
use serde_json::{Map, Value};
use url::Url;

use super::Federation;
use super::failure::LoginFailure;
use super::login::{Profile, text};
use super::transport;

/// Somebody an access token speaks of.
pub(super) struct Described {
    pub(super) sub: String,
    pub(super) profile: Profile,
}

impl Federation {
    /// The claims at the userinfo endpoint.
    pub(super) async fn userinfo(
        &self,
        url: &Url,
        access_token: &str,
    ) -> Result<Map<String, Value>, LoginFailure> {
        let json = self.api(url, access_token, "application/json").await?;
        match json {
            Some(Value::Object(claims)) => Ok(claims),
            Some(_) | None => Err(LoginFailure::UserinfoFailed),
        }
    }

    /// Who the token is about at a plain OAuth 2 server.
    pub(super) async fn describe(
        &self,
        url: &Url,
        access_token: &str,
    ) -> Result<Described, LoginFailure> {
        let claims = self.userinfo(url, access_token).await?;
        let sub = text(&claims, "sub").or_else(|| id(&claims));
        Ok(Described {
            sub: sub.ok_or(LoginFailure::SubjectMissing)?,
            profile: Profile::of(&claims),
        })
    }

    /// JSON from an API of the provider; nothing if it refuses or answers otherwise.
    pub(super) async fn api(
        &self,
        url: &Url,
        access_token: &str,
        accepted: &str,
    ) -> Result<Option<Value>, LoginFailure> {
        let request = self
            .client
            .get(url.clone())
            .bearer_auth(access_token)
            .header(ACCEPT, accepted);
        let reply = transport::send("userinfo", request).await;
        let reply = reply.map_err(|_| LoginFailure::UpstreamUnavailable)?;
        Ok(reply.document())
    }
}

/// An identifier that is a whole number or a string.
pub(super) fn id(claims: &Map<String, Value>) -> Option<String> {
    match claims.get("id")? {
        Value::Number(number) if number.is_u64() || number.is_i64() => Some(number.to_string()),
        _ => text(claims, "id"),
    }
}
