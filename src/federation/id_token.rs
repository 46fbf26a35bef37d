//! The claims of an ID token whose signature is verified (OpenID Connect Core §3.1.3.7).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::Timestamp;
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::failure::LoginFailure;
use super::issuer::Issuer;
use super::jwks::Signed;
use super::login::text;

/// How far the provider's clock may be from ours.
const LEEWAY_S: i64 = 60;

/// What the token must say.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a Issuer,
    pub(super) client_id: &'a str,
    pub(super) nonce: &'a str,
    /// The access token that came with it.
    pub(super) access_token: &'a str,
    /// How long ago the person may have authenticated, if that was asked for.
    pub(super) max_age_s: Option<u32>,
}

/// Somebody an ID token speaks of.
pub(super) struct Identified {
    pub(super) issuer: String,
    pub(super) sub: String,
    pub(super) claims: Map<String, Value>,
}

/// Judges a token's claims at `now`.
pub(super) fn identify(
    mut token: Signed,
    expected: &Expected<'_>,
    now: Timestamp,
) -> Result<Identified, LoginFailure> {
    token.claims.retain(|_, value| !value.is_null());
    let claims = &token.claims;
    let issuer = check_issuer(&token, expected.issuer)?;
    check_audience(claims, expected.client_id)?;
    check_times(claims, now)?;
    if required(claims, "nonce")? != expected.nonce {
        return Err(LoginFailure::IdTokenWrongNonce);
    }
    check_at_hash(claims, token.algorithm, expected.access_token)?;
    check_age(claims, expected.max_age_s, now)?;
    let sub = required(claims, "sub")?;
    Ok(Identified {
        issuer,
        sub,
        claims: token.claims,
    })
}

fn check_issuer(token: &Signed, issuer: &Issuer) -> Result<String, LoginFailure> {
    let iss = required(&token.claims, "iss")?;
    let tenant = text(&token.claims, "tid");
    let name = issuer
        .named(&iss, tenant.as_deref())
        .ok_or(LoginFailure::IdTokenWrongIssuer)?;
    match &token.key_issuer {
        Some(signs_for)
            if Issuer::of_azure(signs_for)
                .named(&iss, tenant.as_deref())
                .is_none() =>
        {
            Err(LoginFailure::IdTokenWrongIssuer)
        }
        _ => Ok(name),
    }
}

/// Several audiences need `azp` to say which of them asked, and it must be us.
fn check_audience(claims: &Map<String, Value>, client_id: &str) -> Result<(), LoginFailure> {
    let audiences: Vec<&str> = match claims.get("aud") {
        Some(Value::String(audience)) => vec![audience],
        Some(Value::Array(audiences)) => audiences.iter().filter_map(Value::as_str).collect(),
        _ => return Err(LoginFailure::IdTokenMissingClaim),
    };
    if !audiences.contains(&client_id) {
        return Err(LoginFailure::IdTokenWrongAudience);
    }
    match claims.get("azp") {
        Some(azp) if azp.as_str() != Some(client_id) => Err(LoginFailure::IdTokenWrongAzp),
        None if audiences.len() > 1 => Err(LoginFailure::IdTokenMissingClaim),
        Some(_) | None => Ok(()),
    }
}

fn check_times(claims: &Map<String, Value>, now: Timestamp) -> Result<(), LoginFailure> {
    let now_s = now.timestamp();
    let missing = LoginFailure::IdTokenMissingClaim;
    let expires_s = seconds(claims, "exp")?.ok_or(missing)?;
    if expires_s.saturating_add(LEEWAY_S) <= now_s {
        return Err(LoginFailure::IdTokenExpired);
    }
    let issued_s = seconds(claims, "iat")?.ok_or(missing)?;
    let begins_s = seconds(claims, "nbf")?.unwrap_or(issued_s);
    if issued_s.max(begins_s) > now_s.saturating_add(LEEWAY_S) {
        return Err(LoginFailure::IdTokenNotYetValid);
    }
    Ok(())
}

/// `at_hash` (§3.1.3.6): the left half of the access token's hash, by the hash of the signature.
fn check_at_hash(
    claims: &Map<String, Value>,
    algorithm: Algorithm,
    access_token: &str,
) -> Result<(), LoginFailure> {
    let Some(at_hash) = claims.get("at_hash") else {
        return Ok(());
    };
    let token = access_token.as_bytes();
    let hash = match algorithm {
        Algorithm::RS256 | Algorithm::PS256 | Algorithm::ES256 => Sha256::digest(token).to_vec(),
        Algorithm::RS384 | Algorithm::PS384 | Algorithm::ES384 => Sha384::digest(token).to_vec(),
        Algorithm::RS512 | Algorithm::PS512 | Algorithm::EdDSA => Sha512::digest(token).to_vec(),
        _ => return Err(LoginFailure::IdTokenAlgRefused),
    };
    let (left, _) = hash.split_at(hash.len() / 2);
    match at_hash.as_str() == Some(&URL_SAFE_NO_PAD.encode(left)) {
        true => Ok(()),
        false => Err(LoginFailure::IdTokenWrongAtHash),
    }
}

fn check_age(
    claims: &Map<String, Value>,
    max_age_s: Option<u32>,
    now: Timestamp,
) -> Result<(), LoginFailure> {
    if let Some(max_age_s) = max_age_s {
        let authenticated_s = seconds(claims, "auth_time").ok().flatten();
        let authenticated_s = authenticated_s.ok_or(LoginFailure::IdTokenMissingClaim)?;
        let latest_s = now.timestamp() - i64::from(max_age_s) - LEEWAY_S;
        if authenticated_s < latest_s {
            return Err(LoginFailure::AuthenticationTooOld);
        }
    }
    Ok(())
}

fn required(claims: &Map<String, Value>, name: &str) -> Result<String, LoginFailure> {
    text(claims, name).ok_or(LoginFailure::IdTokenMissingClaim)
}

/// A NumericDate (RFC 7519 §2), fractions dropped; absent is fine, another type is not.
fn seconds(claims: &Map<String, Value>, name: &str) -> Result<Option<i64>, LoginFailure> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let whole = value.as_i64();
    #[expect(
        clippy::cast_possible_truncation,
        reason = "saturates, and no instant in use is near the ends"
    )]
    let second = whole.or_else(|| value.as_f64().map(|second| second as i64));
    second.map(Some).ok_or(LoginFailure::IdTokenMissingClaim)
}
