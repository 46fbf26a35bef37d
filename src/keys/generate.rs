//! Making signing keys, and bringing them back from what the vault keeps of them.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{DecodingKey, EncodingKey, Header};
use zeroize::Zeroizing;

use super::{Algorithm, KeyInfo, SigningKey};
use crate::clock;

/// A key as it is stored: its life, and both parts of it.
#[derive(Clone)]
pub(crate) struct StoredKey {
    pub info: KeyInfo,
    /// The HMAC secret, or the private key as PKCS #8; empty once erased.
    pub private: Zeroizing<Vec<u8>>,
    /// The public key as JSON (RFC 7517); absent for HS256.
    pub public_jwk: Option<String>,
}

/// The material does not make a key of its algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stored signing key is not a key of its algorithm")]
pub struct NotAKey;

/// A new key. RSA takes a good part of a second.
pub(crate) fn generate(info: KeyInfo) -> Result<StoredKey, NotAKey> {
    let rng = SystemRandom::new();
    let private = Zeroizing::new(match info.alg {
        Algorithm::HS256 => clock::random::<32>().to_vec(),
        Algorithm::ES256 => EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &rng)
            .map_err(|_| NotAKey)?
            .as_ref()
            .to_vec(),
        Algorithm::EdDSA => Ed25519KeyPair::generate_pkcs8v1(&rng)
            .map_err(|_| NotAKey)?
            .as_ref()
            .to_vec(),
        Algorithm::RS256 => RsaKeyPair::generate(KeySize::Rsa2048)
            .and_then(|pair| pair.as_der())
            .map_err(|_| NotAKey)?
            .as_ref()
            .to_vec(),
    });
    let public_jwk = match info.alg {
        Algorithm::HS256 => None,
        Algorithm::ES256 | Algorithm::EdDSA | Algorithm::RS256 => {
            let private = encoding_key(info.alg, &private)?;
            let mut jwk =
                Jwk::from_encoding_key(&private, super::to_jwa(info.alg)).map_err(|_| NotAKey)?;
            jwk.common.public_key_use = Some(PublicKeyUse::Signature);
            jwk.common.key_id = Some(info.kid.clone());
            Some(serde_json::to_string(&jwk).map_err(|_| NotAKey)?)
        }
    };
    Ok(StoredKey {
        info,
        private,
        public_jwk,
    })
}

impl TryFrom<StoredKey> for SigningKey {
    type Error = NotAKey;
    fn try_from(stored: StoredKey) -> Result<Self, NotAKey> {
        let StoredKey {
            info,
            private,
            public_jwk,
        } = stored;
        let mut header = Header::new(super::to_jwa(info.alg));
        header.typ = Some(crate::tokens::access::TYPE.to_owned());
        header.kid = Some(info.kid.clone());
        let jwk: Option<Jwk> = match public_jwk {
            Some(json) => Some(serde_json::from_str(&json).map_err(|_| NotAKey)?),
            None => None,
        };
        let decoding = match &jwk {
            Some(jwk) => DecodingKey::from_jwk(jwk).map_err(|_| NotAKey)?,
            None if private.len() == 32 => DecodingKey::from_secret(&private),
            None => return Err(NotAKey),
        };
        if decoding.family() != header.alg.family() {
            return Err(NotAKey);
        }
        let encoding = if private.is_empty() {
            None
        } else {
            Some(encoding_key(info.alg, &private)?)
        };
        Ok(Self {
            info,
            header,
            encoding,
            decoding,
            jwk,
        })
    }
}

fn encoding_key(alg: Algorithm, private: &[u8]) -> Result<EncodingKey, NotAKey> {
    match alg {
        Algorithm::HS256 => Ok(EncodingKey::from_secret(private)),
        Algorithm::ES256 => Ok(EncodingKey::from_ec_der(private)),
        Algorithm::EdDSA => Ok(EncodingKey::from_ed_der(private)),
        // The library takes PKCS #8 as PEM alone for RSA.
        Algorithm::RS256 => {
            let pem = Zeroizing::new(format!(
                "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
                STANDARD.encode(private)
            ));
            EncodingKey::from_rsa_pem(pem.as_bytes()).map_err(|_| NotAKey)
        }
    }
}
