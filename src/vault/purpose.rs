//! Keys by purpose, derived with HKDF (RFC 5869) from one root secret of the vault.
//!
//! The root is not the master key: rotating the master key changes none of these, so refresh
//! tokens and the subject index survive it.

use aws_lc_rs::{hkdf, hmac};
use zeroize::Zeroizing;

use super::aead::AeadKey;

/// One key for each purpose; none serves two.
#[derive(Debug)]
pub struct PurposeKeys {
    /// Seals what travels through the browser: the authorization transaction, forms.
    pub state: AeadKey,
    /// Authenticates refresh tokens.
    pub refresh: hmac::Key,
    /// Hides upstream identities in the subject index.
    pub(super) index: hmac::Key,
    /// Seals the log's entries.
    pub(super) seal: hmac::Key,
}

impl PurposeKeys {
    /// The keys of a root secret of 32 random bytes.
    pub(crate) fn derive(root: &[u8]) -> Self {
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, b"grantlog vault").extract(root);
        let derive = |purpose: &str| {
            let mut key = Zeroizing::new([0; 32]);
            root.expand(&[purpose.as_bytes()], hkdf::HKDF_SHA256)
                .and_then(|okm| okm.fill(key.as_mut_slice()))
                .expect("HKDF-SHA256 gives 32 bytes");
            key
        };
        let mac = |purpose| hmac::Key::new(hmac::HMAC_SHA256, derive(purpose).as_slice());
        Self {
            state: AeadKey::misuse_resistant(&derive("state")),
            refresh: mac("refresh"),
            index: mac("index"),
            seal: mac("seal"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn are_stable_and_distinct() {
        let (once, again) = (PurposeKeys::derive(&[1; 32]), PurposeKeys::derive(&[1; 32]));
        let tags = |keys: &PurposeKeys| {
            [&keys.refresh, &keys.index, &keys.seal]
                .map(|key| hmac::sign(key, b"x").as_ref().to_vec())
        };
        assert_eq!(tags(&once), tags(&again));
        assert_ne!(tags(&once), tags(&PurposeKeys::derive(&[2; 32])));
        let distinct = HashSet::from(tags(&once));
        assert_eq!(distinct.len(), 3);
        let sealed = once.state.seal(b"", b"", &[b"x"]);
        assert!(again.state.open(0, b"", &sealed).is_ok());
    }
}
