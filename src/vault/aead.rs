//! AES-256-GCM with a random nonce per message: `nonce (12) | ciphertext | tag (16)`.
//!
//! Nonces are drawn by the cryptographic library, never here, so one cannot be repeated by mistake.

use aws_lc_rs::aead::{
    AES_256_GCM, AES_256_GCM_SIV, Aad, Algorithm, NONCE_LEN, Nonce, RandomizedNonceKey,
};
use zeroize::Zeroizing;

/// Bytes that sealing adds.
pub(crate) const OVERHEAD: usize = NONCE_LEN + 16;

/// The bytes did not open: changed, cut short, or sealed with another key or associated data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sealed bytes do not open: changed, or sealed elsewhere")]
pub struct Tampered;

/// A key that seals and opens. Its bytes cannot be read back; they are cleared when it is dropped.
#[derive(Debug)]
pub struct AeadKey(RandomizedNonceKey);

impl AeadKey {
    /// A key for AES-256-GCM: at most 2³² messages, which a data key never sees.
    pub(crate) fn new(bytes: &[u8; 32]) -> Self {
        Self::with(&AES_256_GCM, bytes)
    }

    /// A key for AES-256-GCM-SIV (RFC 8452), for keys that seal without limit at strangers' wish:
    /// a repeated nonce there reveals no more than that two messages were equal.
    pub(crate) fn misuse_resistant(bytes: &[u8; 32]) -> Self {
        Self::with(&AES_256_GCM_SIV, bytes)
    }

    fn with(algorithm: &'static Algorithm, bytes: &[u8; 32]) -> Self {
        Self(RandomizedNonceKey::new(algorithm, bytes).expect("32 bytes are an AES-256 key"))
    }

    /// Seals the concatenation of `parts` behind `header`, which is authenticated but not hidden.
    /// The associated data is `header | aad`; both ends must agree on where one ends.
    pub(crate) fn seal(&self, header: &[u8], aad: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        let plain_len: usize = parts.iter().map(|part| part.len()).sum();
        let start = header.len() + NONCE_LEN;
        let mut out = Vec::with_capacity(header.len() + OVERHEAD + plain_len);
        out.extend_from_slice(header);
        out.extend_from_slice(&[0; NONCE_LEN]);
        for part in parts {
            out.extend_from_slice(part);
        }
        let (nonce, tag) = self
            .0
            .seal_in_place_separate_tag(Aad::from([header, aad].concat()), &mut out[start..])
            .expect("AES-GCM seals any message that fits in memory");
        out[header.len()..start].copy_from_slice(nonce.as_ref());
        out.extend_from_slice(tag.as_ref());
        out
    }

    /// Opens what [`AeadKey::seal`] returned for the same `header` length and `aad`.
    pub(crate) fn open(
        &self,
        header_len: usize,
        aad: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Tampered> {
        let (header, body) = sealed.split_at_checked(header_len).ok_or(Tampered)?;
        let (nonce, ciphertext) = body.split_at_checked(NONCE_LEN).ok_or(Tampered)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Tampered)?;
        let mut plain = Zeroizing::new(ciphertext.to_vec());
        let len = self
            .0
            .open_in_place(nonce, Aad::from([header, aad].concat()), &mut plain)
            .map_err(|_| Tampered)?
            .len();
        plain.truncate(len);
        Ok(plain)
    }
}

/// Associated data of several fields, each with its length before it, so no two lists look alike.
pub(crate) fn fields(fields: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(fields.iter().map(|field| field.len() + 8).sum());
    for field in fields {
        out.extend_from_slice(&(field.len() as u64).to_be_bytes());
        out.extend_from_slice(field);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn opens_only_what_was_sealed(
            plain: Vec<u8>, aad: Vec<u8>, flip in any::<prop::sample::Index>(), bit in 0..8u8, siv: bool,
        ) {
            let key = if siv { AeadKey::misuse_resistant(&[7; 32]) } else { AeadKey::new(&[7; 32]) };
            let sealed = key.seal(b"h", &aad, &[&plain]);
            prop_assert_eq!(sealed.len(), 1 + OVERHEAD + plain.len());
            let opened = key.open(1, &aad, &sealed);
            prop_assert_eq!(opened.as_deref(), Ok(&plain));
            let mut changed = sealed;
            let at = flip.index(changed.len());
            changed[at] ^= 1 << bit;
            prop_assert_eq!(key.open(1, &aad, &changed), Err(Tampered));
        }

        #[test]
        fn fields_are_unambiguous(a: Vec<Vec<u8>>, b: Vec<Vec<u8>>) {
            let encode = |list: &[Vec<u8>]| fields(&list.iter().map(Vec::as_slice).collect::<Vec<_>>());
            prop_assert_eq!(a == b, encode(&a) == encode(&b));
        }
    }

    #[test]
    fn too_short_does_not_open() {
        let key = AeadKey::new(&[7; 32]);
        let sealed = key.seal(b"", b"", &[b"plain"]);
        for len in 0..sealed.len() {
            assert_eq!(key.open(0, b"", &sealed[..len]), Err(Tampered), "{len}");
        }
    }
}
