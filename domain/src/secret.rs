//! Secrets that somebody presents, and the hashes that are kept of them.
//!
//! Presented and stored secrets are different types: only the hash serializes. Every secret
//! Grantlog hands out holds 256 random bits, so a plain SHA-256 is enough (no dictionary helps).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The SHA-256 of a secret, the only form in which a secret of ours is kept.
#[derive(Clone, Copy, Debug)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// Hashes a secret as it was presented or is about to be handed out.
    #[must_use]
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }
}

/// A text that people wrote, without the credentials that they put into it: the record is for ever, and a token that was found
/// somewhere ends up in searches and notes. What stays says of which kind it was. Strangers write such texts, too: one pass.
#[must_use]
pub fn redacted(text: &str) -> String {
    let is_apart = |c| !is_of_credentials(c);
    let mut shown = String::with_capacity(text.len());
    for piece in text.split_inclusive(is_apart) {
        let word = piece.trim_end_matches(is_apart);
        match credential_kind(word) {
            Some(kind) => shown.extend([kind, "(redacted)", &piece[word.len()..]]),
            None => shown.push_str(piece),
        }
    }
    shown
}

/// What a credential of ours (`gw_refresh_…`) or anybody's JWT begins with, if the word is one.
fn credential_kind(word: &str) -> Option<&str> {
    let ours = || {
        let credential = &word[word.find("gw_")?..];
        let kind = "gw_".len() + credential["gw_".len()..].find('_')? + 1;
        let is_long = credential.len() - kind >= CREDENTIAL_CHARS_MIN;
        is_long.then(|| &credential[..kind])
    };
    let jwt = || {
        let credential = &word[word.find("eyJ")?..];
        let is_one = credential.matches('.').count() >= 2;
        (is_one && credential.len() >= CREDENTIAL_CHARS_MIN).then_some("eyJ")
    };
    ours().or_else(jwt)
}

fn is_of_credentials(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

/// Nothing shorter lets anybody in; a client's id is `gateway_…` and stays.
const CREDENTIAL_CHARS_MIN: usize = 22;

/// Compares in constant time, so that a wrong guess tells nothing by its duration.
impl PartialEq for SecretHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SecretHash {}

impl Serialize for SecretHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for SecretHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "32 bytes as base64url";
        crate::text::deserialize(deserializer, expected, |text| {
            let mut hash = [0; 32];
            match URL_SAFE_NO_PAD.decode_slice(text, &mut hash) {
                Ok(length) if length == hash.len() => Ok(Self(hash)),
                Ok(_) | Err(_) => Err(expected),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection, prop_assert_eq, proptest};

    use super::*;

    #[test]
    fn credentials_are_taken_out_of_what_people_write() {
        let secret = "q83vASNFZ4mrze8BI0VniavN7wEjRWeJ";
        for (text, shown) in [
            ("stolen laptop", "stolen laptop".to_owned()),
            ("", String::new()),
            ("gateway_0193e1c2a4b07d4e8f6a5b4c3d2e1f00", String::new()),
            ("gw_refresh_ and eyJ", String::new()),
            (
                &format!("leak of gw_refresh_{secret}, again"),
                "leak of gw_refresh_(redacted), again".to_owned(),
            ),
            (
                &format!("reason=eyJhbGciOiJIUzI1NiJ9.{secret}.{secret}&x=1"),
                "reason=eyJ(redacted)&x=1".to_owned(),
            ),
            (
                &format!("gw_x.eyJhbGciOiJIUzI1NiJ9.{secret}.{secret}"),
                "eyJ(redacted)".to_owned(),
            ),
            (
                &format!("x.gw_secret_{secret}"),
                "gw_secret_(redacted)".to_owned(),
            ),
            (
                &format!("gw_code_a.{secret} gw_key_{secret}"),
                "gw_code_(redacted) gw_key_(redacted)".to_owned(),
            ),
        ] {
            let shown = if shown.is_empty() { text } else { &shown };
            assert_eq!(redacted(text), shown);
            assert!(!redacted(text).contains(secret));
        }
    }

    #[test]
    fn a_credential_that_begins_like_another_is_taken_out_to_its_end() {
        let short = format!("gw_code_{}", "q".repeat(CREDENTIAL_CHARS_MIN));
        let text = format!("{short} {short}vASNFZ");
        assert_eq!(redacted(&text), "gw_code_(redacted) gw_code_(redacted)");
    }

    proptest! {
        #[test]
        fn each_word_is_judged_by_itself(
            words in collection::vec("(x|gw_[a-z]{1,3}_|eyJ)[a-c.]{0,30}", 0..6),
            apart in "[ ,é=]",
        ) {
            let each: Vec<_> = words.iter().map(|word| redacted(word)).collect();
            prop_assert_eq!(redacted(&words.join(&apart)), each.join(&apart));
        }
    }
}
