//! Secrets that Grantlog hands out: prefix, perhaps an id, and 256 random bits in base64url.
//!
//! The prefixes are known to secret scanners. Never change them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::id::{ApiKeyId, OperatorId};
use domain::secret::SecretHash;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::Malformed;
use crate::clock;
use crate::secret::Secret;

/// Characters of 32 bytes in base64url without padding.
const ENCODED_LEN: usize = 43;

impl Secret {
    /// A client secret (RFC 7591 `client_secret`): `gw_secret_…`.
    #[must_use]
    pub fn for_client() -> Self {
        Self::random("gw_secret_")
    }

    /// A registration access token (RFC 7592): `gw_registration_…`.
    #[must_use]
    pub fn for_registration() -> Self {
        Self::random("gw_registration_")
    }

    /// Something only one browser, or one transaction, knows: without a prefix.
    #[must_use]
    pub fn for_browser() -> Self {
        Self::random("")
    }

    /// `prefix` and 256 random bits.
    pub(super) fn random(prefix: &str) -> Self {
        let bytes = Zeroizing::new(clock::random::<32>());
        let mut text = Zeroizing::new(String::with_capacity(prefix.len() + ENCODED_LEN));
        text.push_str(prefix);
        URL_SAFE_NO_PAD.encode_string(bytes.as_slice(), &mut text);
        text.into()
    }
}

/// Declares a kind of token that names its record: `<prefix><32 hex>.<43 base64url>`.
macro_rules! named_token {
    ($(#[$doc:meta])* $name:ident, $id:ident, $prefix:literal, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name {
            /// Whose it claims to be.
            pub id: $id,
            /// What its record must hold for the claim to be true.
            pub hash: SecretHash,
        }

        impl $name {
            /// A new token for `id`.
            #[must_use]
            pub fn generate(id: $id) -> Secret {
                Secret::random(&format!(concat!($prefix, "{}."), id.0.simple()))
            }

            /// Reads a presented token.
            ///
            /// # Errors
            /// It is not of this form.
            pub fn parse(presented: &str) -> Result<Self, Malformed> {
                split(presented, $prefix)
                    .map(|id| Self { id: $id(id), hash: SecretHash::of(presented) })
                    .ok_or(Malformed { expected: $expected })
            }
        }
    };
}

named_token! {
    /// An operator's token: `gw_admin_…`.
    OperatorToken, OperatorId, "gw_admin_", "an operator token, gw_admin_…"
}
named_token! {
    /// An API key: `gw_key_…`.
    ApiKey, ApiKeyId, "gw_key_", "an API key, gw_key_…"
}

fn split(presented: &str, prefix: &str) -> Option<Uuid> {
    let (id, secret) = presented.strip_prefix(prefix)?.split_once('.')?;
    is_random_part(secret).then(|| hex_id(id)).flatten()
}

/// 32 lower-case hexadecimal digits.
pub(super) fn hex_id(text: &str) -> Option<Uuid> {
    let canonical =
        text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    canonical.then(|| Uuid::try_parse(text).ok()).flatten()
}

/// Whether a text can be the encoding of 256 bits.
pub(super) fn is_random_part(text: &str) -> bool {
    text.len() == ENCODED_LEN
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_token_names_its_record_and_matches_its_hash() {
        let id = OperatorId(Uuid::from_bytes(clock::random()));
        let token = OperatorToken::generate(id);
        let parsed = OperatorToken::parse(token.expose()).expect("parses");
        assert_eq!((parsed.id, parsed.hash), (id, token.hash()));
        assert!(ApiKey::parse(token.expose()).is_err());
        assert_eq!(token.expose().len(), "gw_admin_".len() + 32 + 1 + 43);
    }

    #[test]
    fn secrets_are_distinct_and_hidden() {
        let (one, other) = (Secret::for_client(), Secret::for_client());
        assert_ne!(one.expose(), other.expose());
        assert!(one.expose().starts_with("gw_secret_"));
        assert_eq!(format!("{one:?}"), "Secret(…)");
    }

    proptest! {
        #[test]
        fn other_texts_are_refused(text in ".*", tail in "[-A-Za-z0-9_.]{0,90}") {
            prop_assert!(ApiKey::parse(&text).is_err());
            let close = format!("gw_key_{tail}");
            if let Ok(key) = ApiKey::parse(&close) {
                let canonical = format!("gw_key_{}.", key.id.0.simple());
                prop_assert!(close.starts_with(&canonical));
            }
        }
    }
}
