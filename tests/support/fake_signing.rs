//! The fake provider's keys, and ID tokens with and without defects.

use std::sync::OnceLock;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256, Sha512};

/// What is wrong with an ID token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// There is none.
    Absent,
    /// It is not a JWT.
    Garbage,
    /// Unsigned.
    AlgNone,
    /// Signed with the public key as a shared secret.
    Hs256WithPublicKey,
    /// Signed with the client secret.
    Hs256WithClientSecret,
    /// Signed by an algorithm the provider does not announce, with a key of its own.
    OtherAlgorithm,
    /// Signed with a key of somebody else, under the provider's key id.
    WrongKey,
    /// Signed with a key of somebody else that nobody published.
    UnknownKey,
    UnknownCrit,
    WrongIssuer,
    NoIssuer,
    WrongAudience,
    NoAudience,
    SeveralAudiencesWithoutAzp,
    WrongAzp,
    NoExp,
    NoIat,
    Expired,
    FromTheFuture,
    WrongNonce,
    NoNonce,
    WrongAtHash,
    NoSub,
    /// Entra ID: issued by another tenant than `tid` says.
    WrongTenant,
}

struct Keys {
    rsa: EncodingKey,
    ec: EncodingKey,
    ed: EncodingKey,
}

impl Keys {
    fn generate() -> Self {
        let random = SystemRandom::new();
        let rsa = aws_lc_rs::rsa::KeyPair::generate(KeySize::Rsa2048).expect("an RSA key");
        let pkcs8 = rsa.as_der().expect("PKCS #8");
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(pkcs8.as_ref())
        );
        let ec = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random);
        let ed = Ed25519KeyPair::generate_pkcs8v1(&random);
        Self {
            rsa: EncodingKey::from_rsa_pem(pem.as_bytes()).expect("an RSA key"),
            ec: EncodingKey::from_ec_der(ec.expect("an EC key").as_ref()),
            ed: EncodingKey::from_ed_der(ed.expect("an Ed25519 key").as_ref()),
        }
    }

    fn signing(&self, algorithm: Algorithm) -> &EncodingKey {
        match algorithm {
            Algorithm::RS256 | Algorithm::PS256 => &self.rsa,
            Algorithm::ES256 => &self.ec,
            Algorithm::EdDSA => &self.ed,
            other => panic!("the fake provider does not sign with {other:?}"),
        }
    }
}

/// Two generations of the provider's keys. Made once: RSA keys take a while.
fn keys(generation: usize) -> &'static Keys {
    static KEYS: OnceLock<[Keys; 2]> = OnceLock::new();
    &KEYS.get_or_init(|| std::array::from_fn(|_| Keys::generate()))[generation % 2]
}

fn strangers_keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(Keys::generate)
}

pub(super) fn name(algorithm: Algorithm) -> String {
    format!("{algorithm:?}")
}

fn kid(family: Algorithm, generation: usize) -> String {
    match family {
        // One RSA key signs by both.
        Algorithm::PS256 => format!("RS256-{generation}"),
        other => format!("{other:?}-{generation}"),
    }
}

/// What the provider publishes, with a key nobody here can read among them.
pub(super) fn key_set(generation: usize) -> Value {
    let mut set = vec![json!({ "kty": "LWE", "kid": "of-tomorrow", "use": "sig" })];
    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
        let key = keys(generation).signing(algorithm);
        let jwk = Jwk::from_encoding_key(key, algorithm).expect("a public key");
        let mut jwk = serde_json::to_value(jwk).expect("JSON");
        jwk["kid"] = json!(kid(algorithm, generation));
        jwk["use"] = json!("sig");
        // The RSA key signs by RS256 and PS256: only the type says what it is for.
        jwk.as_object_mut().expect("an object").remove("alg");
        set.push(jwk);
    }
    json!({ "keys": set })
}

pub(super) fn at_hash(algorithm: Algorithm, access_token: &str) -> String {
    let hash = match algorithm {
        Algorithm::EdDSA => Sha512::digest(access_token).to_vec(),
        _ => Sha256::digest(access_token).to_vec(),
    };
    URL_SAFE_NO_PAD.encode(&hash[..hash.len() / 2])
}

/// An ID token by the key of an algorithm and a generation; nothing if the defect is its absence.
pub(super) fn id_token(
    claims: Value,
    (algorithm, generation): (Algorithm, usize),
    defect: Option<Defect>,
) -> Option<String> {
    let mut header = Header::new(algorithm);
    header.kid = Some(kid(algorithm, generation));
    let claims = spoil(claims, defect);
    let own = keys(generation);
    let sign = |header: &Header, key: &EncodingKey| {
        jsonwebtoken::encode(header, &claims, key).expect("a token")
    };
    Some(match defect {
        Some(Defect::Absent) => return None,
        Some(Defect::Garbage) => "not.a-jwt".to_owned(),
        Some(Defect::AlgNone) => unsigned(&claims),
        Some(Defect::Hs256WithPublicKey) => {
            let published = Jwk::from_encoding_key(own.signing(algorithm), algorithm);
            let secret = serde_json::to_vec(&published.expect("a public key")).expect("JSON");
            header.alg = Algorithm::HS256;
            sign(&header, &EncodingKey::from_secret(&secret))
        }
        Some(Defect::Hs256WithClientSecret) => {
            let secret = super::CLIENT_SECRET.as_bytes();
            header.alg = Algorithm::HS256;
            sign(&header, &EncodingKey::from_secret(secret))
        }
        Some(Defect::OtherAlgorithm) => {
            let other = match algorithm {
                Algorithm::ES256 => Algorithm::EdDSA,
                _ => Algorithm::ES256,
            };
            header.alg = other;
            header.kid = Some(kid(other, generation));
            sign(&header, own.signing(other))
        }
        Some(Defect::WrongKey) => sign(&header, strangers_keys().signing(algorithm)),
        Some(Defect::UnknownKey) => {
            header.kid = Some("strangers".to_owned());
            sign(&header, strangers_keys().signing(algorithm))
        }
        Some(Defect::UnknownCrit) => {
            header.crit = Some(vec!["exotic".to_owned()]);
            sign(&header, own.signing(algorithm))
        }
        _ => sign(&header, own.signing(algorithm)),
    })
}

fn unsigned(claims: &Value) -> String {
    let header = json!({ "alg": "none", "typ": "JWT" });
    let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    format!("{}.{}.", part(&header), part(claims))
}

/// The claims with what is wrong about them.
fn spoil(mut claims: Value, defect: Option<Defect>) -> Value {
    let Some(defect) = defect else {
        return claims;
    };
    let own = claims["aud"].clone();
    let now_s = claims["iat"].as_i64().expect("a number");
    let (name, value) = match defect {
        Defect::WrongIssuer => ("iss", json!("https://other.example")),
        Defect::NoIssuer => ("iss", Value::Null),
        Defect::WrongAudience => ("aud", json!("somebody-else")),
        Defect::NoAudience => ("aud", Value::Null),
        Defect::SeveralAudiencesWithoutAzp => ("aud", json!([own, "another"])),
        Defect::WrongAzp => ("azp", json!("another")),
        Defect::NoExp => ("exp", Value::Null),
        Defect::NoIat => ("iat", Value::Null),
        Defect::Expired => ("exp", json!(now_s - 120)),
        Defect::FromTheFuture => ("iat", json!(now_s + 120)),
        Defect::WrongNonce => ("nonce", json!("another")),
        Defect::NoNonce => ("nonce", Value::Null),
        Defect::WrongAtHash => ("at_hash", json!("AAAAAAAAAAAAAAAAAAAAAA")),
        Defect::NoSub => ("sub", Value::Null),
        Defect::WrongTenant => ("tid", json!("99999999-2222-3333-4444-555555555555")),
        Defect::Absent
        | Defect::Garbage
        | Defect::AlgNone
        | Defect::Hs256WithPublicKey
        | Defect::Hs256WithClientSecret
        | Defect::OtherAlgorithm
        | Defect::WrongKey
        | Defect::UnknownKey
        | Defect::UnknownCrit => return claims,
    };
    let members = claims.as_object_mut().expect("an object");
    match value {
        Value::Null => members.remove(name),
        value => members.insert(name.to_owned(), value),
    };
    claims
}
