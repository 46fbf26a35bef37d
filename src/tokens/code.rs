//! Authorization codes (RFC 6749 §4.1.2): `gw_code_<grant id>.<256 random bits>`.
//!
//! A code names its grant, so its stream is found without a lookup table. Only the hash of the
//! whole code is kept.

use domain::id::GrantId;
use domain::secret::SecretHash;

use super::Malformed;
use super::secret::{hex_id, is_random_part};
use crate::secret::Secret;

const PREFIX: &str = "gw_code_";

/// A presented code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// The grant it claims to be of.
    pub grant_id: GrantId,
    /// What the grant must hold for the claim to be true.
    pub hash: SecretHash,
}

impl Code {
    /// A new code for a grant.
    #[must_use]
    pub fn generate(grant_id: GrantId) -> Secret {
        Secret::random(&format!("{PREFIX}{grant_id}."))
    }

    /// Reads a presented code.
    ///
    /// # Errors
    /// It is not of this form.
    pub fn parse(presented: &str) -> Result<Self, Malformed> {
        presented
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split_once('.'))
            .filter(|(_, secret)| is_random_part(secret))
            .and_then(|(id, _)| hex_id(id))
            .map(|id| Self {
                grant_id: GrantId(id),
                hash: SecretHash::of(presented),
            })
            .ok_or(Malformed {
                expected: "an authorization code, gw_code_…",
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use uuid::Uuid;

    #[test]
    fn names_its_grant_and_matches_its_hash() {
        let grant_id = GrantId(Uuid::from_bytes(clock::random()));
        let code = Code::generate(grant_id);
        let parsed = Code::parse(code.expose()).expect("parses");
        assert_eq!((parsed.grant_id, parsed.hash), (grant_id, code.hash()));
    }

    #[test]
    fn refuses_other_forms() {
        let code = Code::generate(GrantId(Uuid::from_bytes(clock::random())));
        let code = code.expose();
        for presented in [
            "",
            "gw_code_",
            &code[..code.len() - 1],
            &format!("{code}A"),
            &format!(" {code}"),
            &code.replace('.', "="),
            &code.replace("gw_code_", "gw_refresh_"),
            &code.replace("gw_code_", "gw_code_-"),
        ] {
            assert!(Code::parse(presented).is_err(), "{presented:?}");
        }
    }
}
