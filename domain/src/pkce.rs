//! Proof Key for Code Exchange (RFC 7636), method S256 only.
//!
//! Invariant: there is no `plain`; a challenge is the only thing kept, and tells nothing about
//! its verifier.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// A `code_challenge`: the base64url SHA-256 of a verifier that the client keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CodeChallenge(Box<str>);

/// The text is not a `code_challenge` of method S256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a code_challenge of 43 base64url characters without padding")]
pub struct InvalidChallenge;

impl CodeChallenge {
    /// Whether a presented verifier is 43 to 128 unreserved characters and the one this challenge
    /// was made from, in a time that does not depend on how close it comes.
    #[must_use]
    pub fn is_answered_by(&self, verifier: &str) -> bool {
        let unreserved =
            |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
        let computed = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()));
        (43..=128).contains(&verifier.len())
            && verifier.bytes().all(unreserved)
            && computed.as_bytes().ct_eq(self.0.as_bytes()).into()
    }
}

impl FromStr for CodeChallenge {
    type Err = InvalidChallenge;
    fn from_str(text: &str) -> Result<Self, InvalidChallenge> {
        let base64url = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        if text.len() == 43 && text.bytes().all(base64url) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidChallenge)
        }
    }
}

impl fmt::Display for CodeChallenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7636 appendix B.
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    #[track_caller]
    fn check(verifier: &str, expected: bool) {
        let challenge: CodeChallenge = CHALLENGE.parse().expect("the RFC's");
        assert_eq!(challenge.is_answered_by(verifier), expected, "{verifier}");
    }

    #[test]
    fn the_verifier_of_the_rfc_answers_its_challenge() {
        check(VERIFIER, true);
    }

    #[test]
    fn another_verifier_answers_nothing() {
        check(&VERIFIER.replace('d', "e"), false);
        check(&"~._-".repeat(32), false);
        check(CHALLENGE, false);
    }

    #[test]
    fn a_malformed_verifier_answers_not_even_its_own_challenge() {
        for verifier in [
            String::new(),
            "a".repeat(42),
            "a".repeat(129),
            format!("{}+", &VERIFIER[1..]),
            format!("{}\u{e9}", &VERIFIER[2..]),
        ] {
            let text = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()));
            let own: CodeChallenge = text.parse().expect("a digest");
            assert!(!own.is_answered_by(&verifier), "{verifier}");
        }
    }

    #[test]
    fn a_challenge_is_43_characters_of_base64url() {
        for text in [
            "",
            &CHALLENGE[1..],
            &format!("{CHALLENGE}="),
            &CHALLENGE.replace('-', "+"),
        ] {
            assert_eq!(
                text.parse::<CodeChallenge>(),
                Err(InvalidChallenge),
                "{text:?}"
            );
        }
    }
}
