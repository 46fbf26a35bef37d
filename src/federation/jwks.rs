//! Providers' public keys (RFC 7517) and the signatures they make (RFC 7515).
//!
//! A key is only used for the algorithms its own type, curve and `alg` allow, and none of them is
//! symmetric: a public key can never serve as a shared secret.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use domain::Timestamp;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::{Map, Value};
use url::Url;

use super::Federation;
use super::failure::LoginFailure;
use super::transport::{self, Unreachable};

/// What a provider may sign with.
pub(super) const ASYMMETRIC: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

const MAX_AGE: TimeDelta = TimeDelta::minutes(15);
/// How often at most an unknown key makes us ask again: anybody can make one up.
const REFETCH_AFTER: TimeDelta = TimeDelta::seconds(30);
const KEYS_MAX: usize = 64;

/// A provider's key set.
pub(super) struct Keys(Vec<Key>);

struct Key {
    jwk: Jwk,
    /// Entra ID's shared key sets say for which issuer each key signs.
    issuer: Option<String>,
}

/// The protected header of a JWS, as far as it is heeded.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

/// A token whose signature is the provider's.
pub(super) struct Signed {
    pub(super) algorithm: Algorithm,
    pub(super) claims: Map<String, Value>,
    /// For which issuer the key signs, if the key set says.
    pub(super) key_issuer: Option<String>,
}

impl Federation {
    /// Verifies a token's signature, asking for the keys again if it may be by a new one.
    pub(super) async fn verify_signature(
        &self,
        token: &str,
        jwks_uri: &Url,
        algorithms: &[Algorithm],
        now: Timestamp,
    ) -> Result<Signed, LoginFailure> {
        let header = header(token)?;
        if header.crit.is_some() {
            return Err(LoginFailure::IdTokenUnknownCrit);
        }
        let algorithm = header
            .alg
            .parse()
            .ok()
            .filter(|algorithm| algorithms.contains(algorithm) && ASYMMETRIC.contains(algorithm))
            .ok_or(LoginFailure::IdTokenAlgRefused)?;
        let kid = header.kid.as_deref();
        let keys = self.usable_keys(jwks_uri, now, MAX_AGE).await?;
        let verified = keys.verify(token, kid, algorithm);
        if matches!(
            verified,
            Err(LoginFailure::IdTokenUnknownKey | LoginFailure::IdTokenBadSignature)
        ) {
            let newer = self.usable_keys(jwks_uri, now, REFETCH_AFTER).await?;
            if !Arc::ptr_eq(&keys, &newer) {
                return newer.verify(token, kid, algorithm);
            }
        }
        verified
    }

    async fn usable_keys(
        &self,
        jwks_uri: &Url,
        now: Timestamp,
        max_age: TimeDelta,
    ) -> Result<Arc<Keys>, LoginFailure> {
        let keys = self.keys(jwks_uri, now, max_age).await;
        let keys = keys.map_err(|_| LoginFailure::UpstreamUnavailable)?;
        match keys.0.is_empty() {
            true => Err(LoginFailure::JwksFailed),
            false => Ok(keys),
        }
    }

    /// The keys at `jwks_uri`; none if what is there is not a key set.
    async fn keys(
        &self,
        jwks_uri: &Url,
        now: Timestamp,
        max_age: TimeDelta,
    ) -> Result<Arc<Keys>, Unreachable> {
        let max_age = |keys: &Keys| match keys.0.is_empty() {
            true => REFETCH_AFTER,
            false => max_age,
        };
        let fetch = self.fetch_keys(jwks_uri);
        self.key_sets.get(jwks_uri, now, max_age, fetch).await
    }

    /// Asks for the keys, whatever is in hand.
    pub(super) async fn fetch_keys(&self, jwks_uri: &Url) -> Result<Keys, Unreachable> {
        let reply = transport::send("key set", self.client.get(jwks_uri.clone())).await?;
        Ok(reply.document().map_or(Keys(Vec::new()), Keys::of))
    }
}

impl Keys {
    /// One key that we cannot read does not spoil the others.
    fn of(set: Value) -> Self {
        let keys = set.get("keys").and_then(Value::as_array);
        let keys = keys.into_iter().flatten().take(KEYS_MAX);
        Self(keys.filter_map(Key::of).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn verify(
        &self,
        token: &str,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Signed, LoginFailure> {
        let mut failure = LoginFailure::IdTokenUnknownKey;
        for key in self.0.iter().filter(|key| key.may_be(kid)) {
            if !key.makes(algorithm) {
                if failure == LoginFailure::IdTokenUnknownKey {
                    failure = LoginFailure::IdTokenAlgRefused;
                }
                continue;
            }
            match key.verify(token, algorithm) {
                Ok(claims) => {
                    return Ok(Signed {
                        algorithm,
                        claims,
                        key_issuer: key.issuer.clone(),
                    });
                }
                Err(tried) => failure = tried,
            }
        }
        Err(failure)
    }
}

impl Key {
    fn of(json: &Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(json.clone()).ok()?;
        let signs = !matches!(
            jwk.common.public_key_use,
            Some(PublicKeyUse::Encryption | PublicKeyUse::Other(_))
        );
        let issuer = json.get("issuer").and_then(Value::as_str);
        let key = Self {
            jwk,
            issuer: issuer.map(str::to_owned),
        };
        let usable = ASYMMETRIC.iter().any(|algorithm| key.makes(*algorithm));
        (signs && usable).then_some(key)
    }

    /// A token without `kid` may be by any key, a key without `kid` may have signed any token.
    fn may_be(&self, kid: Option<&str>) -> bool {
        match (&self.jwk.common.key_id, kid) {
            (Some(own), Some(asked)) => own == asked,
            (None, _) | (_, None) => true,
        }
    }

    fn makes(&self, algorithm: Algorithm) -> bool {
        let own = self.jwk.common.key_algorithm;
        if own.is_some_and(|own| own != KeyAlgorithm::from(algorithm)) {
            return false;
        }
        match (&self.jwk.algorithm, algorithm) {
            (
                AlgorithmParameters::RSA(_),
                Algorithm::RS256
                | Algorithm::RS384
                | Algorithm::RS512
                | Algorithm::PS256
                | Algorithm::PS384
                | Algorithm::PS512,
            ) => true,
            (AlgorithmParameters::EllipticCurve(key), Algorithm::ES256) => {
                key.curve == EllipticCurve::P256
            }
            (AlgorithmParameters::EllipticCurve(key), Algorithm::ES384) => {
                key.curve == EllipticCurve::P384
            }
            (AlgorithmParameters::OctetKeyPair(key), Algorithm::EdDSA) => {
                key.curve == EllipticCurve::Ed25519
            }
            _ => false,
        }
    }

    /// Only the signature: the claims are judged elsewhere, on our clock.
    fn verify(
        &self,
        token: &str,
        algorithm: Algorithm,
    ) -> Result<Map<String, Value>, LoginFailure> {
        let mut validation = Validation::new(algorithm);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        let key =
            DecodingKey::from_jwk(&self.jwk).map_err(|_| LoginFailure::IdTokenBadSignature)?;
        match jsonwebtoken::decode(token, &key, &validation) {
            Ok(token) => Ok(token.claims),
            Err(error) => Err(match error.kind() {
                ErrorKind::Json(_) | ErrorKind::Base64(_) | ErrorKind::Utf8(_) => {
                    LoginFailure::IdTokenMalformed
                }
                _ => LoginFailure::IdTokenBadSignature,
            }),
        }
    }
}

fn header(token: &str) -> Result<Header, LoginFailure> {
    let parts: Vec<&str> = token.split('.').collect();
    let [header, _, _] = parts.as_slice() else {
        return Err(LoginFailure::IdTokenMalformed);
    };
    URL_SAFE_NO_PAD
        .decode(header)
        .ok()
        .and_then(|json| serde_json::from_slice(&json).ok())
        .ok_or(LoginFailure::IdTokenMalformed)
}
