//! Refresh tokens (RFC 6749 §1.5): `gw_refresh_<grant id>.<n>.<MAC>`.
//!
//! The MAC is HMAC-SHA256 under the vault's refresh key over grant id, n and a salt of the grant.
//! Nothing redeemable is stored anywhere, and the n-th token of a grant is the same however often
//! it is computed: that is what lets a retried refresh answer identically.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::id::GrantId;

use super::Malformed;
use super::secret::{hex_id, is_random_part};
use crate::secret::Secret;

const PREFIX: &str = "gw_refresh_";

/// Random per grant, kept in the grant: without it the key alone makes no token.
pub type Salt = [u8; 16];

/// A presented refresh token, not verified yet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RefreshToken {
    /// The grant it claims to be of.
    pub grant_id: GrantId,
    /// Which generation of it, counted from 0 or 1 as the grant does.
    pub n: u32,
    mac: [u8; 32],
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshToken")
            .field("grant_id", &self.grant_id)
            .field("n", &self.n)
            .finish_non_exhaustive()
    }
}

impl RefreshToken {
    /// The `n`-th refresh token of a grant.
    #[must_use]
    pub fn compute(key: &hmac::Key, grant_id: GrantId, n: u32, salt: &Salt) -> Secret {
        let mac = URL_SAFE_NO_PAD.encode(hmac::sign(key, &message(grant_id, n, salt)));
        Secret::new(format!("{PREFIX}{grant_id}.{n}.{mac}"))
    }

    /// Reads a presented token; only its one canonical spelling is accepted.
    ///
    /// # Errors
    /// It is not of this form.
    pub fn parse(presented: &str) -> Result<Self, Malformed> {
        Self::read(presented).ok_or(Malformed {
            expected: "a refresh token, gw_refresh_…",
        })
    }

    fn read(presented: &str) -> Option<Self> {
        let mut parts = presented.strip_prefix(PREFIX)?.split('.');
        let (id, n, mac) = (parts.next()?, parts.next()?, parts.next()?);
        let canonical = n.bytes().all(|b| b.is_ascii_digit()) && (n == "0" || !n.starts_with('0'));
        if parts.next().is_some() || !canonical || !is_random_part(mac) {
            return None;
        }
        Some(Self {
            grant_id: GrantId(hex_id(id)?),
            n: n.parse().ok()?,
            mac: URL_SAFE_NO_PAD.decode(mac).ok()?.try_into().ok()?,
        })
    }

    /// Whether we made this token for a grant with that salt. Takes constant time.
    #[must_use]
    pub fn verify(&self, key: &hmac::Key, salt: &Salt) -> bool {
        hmac::verify(key, &message(self.grant_id, self.n, salt), &self.mac).is_ok()
    }
}

/// Fixed lengths, so no two inputs share a message.
fn message(grant_id: GrantId, n: u32, salt: &Salt) -> [u8; 36] {
    let mut message = [0; 36];
    message[..16].copy_from_slice(grant_id.0.as_bytes());
    message[16..20].copy_from_slice(&n.to_be_bytes());
    message[20..].copy_from_slice(salt);
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn key() -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &[5; 32])
    }

    proptest! {
        #[test]
        fn verifies_for_its_own_grant_generation_and_salt(id: u128, n: u32, salt: Salt) {
            let grant_id = GrantId(Uuid::from_u128(id));
            let token = RefreshToken::compute(&key(), grant_id, n, &salt);
            let again = RefreshToken::compute(&key(), grant_id, n, &salt);
            prop_assert_eq!(token.expose(), again.expose());
            let parsed = RefreshToken::parse(token.expose()).expect("parses");
            prop_assert_eq!((parsed.grant_id, parsed.n), (grant_id, n));
            prop_assert!(parsed.verify(&key(), &salt));
            let mut other_salt = salt;
            other_salt[0] ^= 1;
            prop_assert!(!parsed.verify(&key(), &other_salt));
            let other_n = RefreshToken { n: n ^ 1, ..parsed };
            prop_assert!(!other_n.verify(&key(), &salt));
            let grant_id = GrantId(Uuid::from_u128(id ^ 1));
            let other_grant = RefreshToken { grant_id, ..parsed };
            prop_assert!(!other_grant.verify(&key(), &salt));
        }

        #[test]
        fn a_changed_character_never_verifies(
            n: u32, at in any::<prop::sample::Index>(), with in "[-_A-Za-z0-9.]",
        ) {
            let salt = [1; 16];
            let token = RefreshToken::compute(&key(), GrantId(Uuid::from_u128(7)), n, &salt);
            let mut text = token.expose().to_owned();
            let at = at.index(text.len());
            text.replace_range(at..=at, &with);
            prop_assume!(text != token.expose());
            let accepted = RefreshToken::parse(&text).is_ok_and(|parsed| parsed.verify(&key(), &salt));
            prop_assert!(!accepted, "{}", text);
        }
    }

    #[test]
    fn refuses_other_spellings() {
        let token = RefreshToken::compute(&key(), GrantId(Uuid::from_u128(7)), 3, &[1; 16]);
        let text = token.expose();
        for presented in [
            text.replace(".3.", ".03."),
            text.replace(".3.", ".+3."),
            text.replace(".3.", ".."),
            text.replace(".3.", ".4294967296."),
            format!("{text}.x"),
            format!("{text}="),
            text.to_uppercase(),
        ] {
            assert!(RefreshToken::parse(&presented).is_err(), "{presented:?}");
        }
    }

    #[test]
    fn debug_hides_the_mac() {
        let token = RefreshToken::compute(&key(), GrantId(Uuid::from_u128(7)), 3, &[1; 16]);
        let parsed = RefreshToken::parse(token.expose()).expect("parses");
        assert!(!format!("{parsed:?}").contains("mac"));
    }
}
