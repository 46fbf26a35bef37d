//! Values that travel through the browser, sealed under the vault's `state` key: the
//! authorization transaction, the consent form.
//!
//! Whoever carries them can neither read nor change them, nor use one for another purpose. They
//! do not expire by themselves and are not single-use: put times and bindings into the value.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::vault::{AeadKey, Tampered};

/// Seals a value for one purpose, such as `authorization`, as base64url.
///
/// # Errors
/// The value has no JSON form.
pub fn seal<T: Serialize>(
    key: &AeadKey,
    purpose: &str,
    value: &T,
) -> Result<String, serde_json::Error> {
    let plain = Zeroizing::new(serde_json::to_vec(value)?);
    Ok(URL_SAFE_NO_PAD.encode(key.seal(&[], purpose.as_bytes(), &[&plain])))
}

/// Opens what [`seal`] returned for the same purpose.
///
/// # Errors
/// The text was changed, made for another purpose or by another vault, or holds another type.
pub fn unseal<T: DeserializeOwned>(
    key: &AeadKey,
    purpose: &str,
    text: &str,
) -> Result<T, Tampered> {
    let sealed = URL_SAFE_NO_PAD.decode(text).map_err(|_| Tampered)?;
    let plain = key.open(0, purpose.as_bytes(), &sealed)?;
    serde_json::from_slice(&plain).map_err(|_| Tampered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::PurposeKeys;

    #[test]
    fn opens_for_its_purpose_alone() {
        let key = PurposeKeys::derive(&[3; 32]).state;
        let text = seal(&key, "authorization", &("state", 7)).expect("sealed");
        assert_eq!(
            unseal(&key, "authorization", &text),
            Ok(("state".to_owned(), 7))
        );
        assert_eq!(
            unseal::<(String, u8)>(&key, "consent", &text),
            Err(Tampered)
        );
        assert_eq!(
            unseal::<Vec<u8>>(&key, "authorization", &text),
            Err(Tampered)
        );
        let other = PurposeKeys::derive(&[4; 32]).state;
        assert_eq!(
            unseal::<(String, u8)>(&other, "authorization", &text),
            Err(Tampered)
        );
    }

    #[test]
    fn any_changed_character_is_refused() {
        let key = PurposeKeys::derive(&[3; 32]).state;
        let text = seal(&key, "form", &"value").expect("sealed");
        for at in 0..text.len() {
            let with = if &text[at..=at] == "A" { "B" } else { "A" };
            let mut changed = text.clone();
            changed.replace_range(at..=at, with);
            assert_eq!(
                unseal::<String>(&key, "form", &changed),
                Err(Tampered),
                "{at}"
            );
        }
        assert_eq!(unseal::<String>(&key, "form", ""), Err(Tampered));
    }
}
