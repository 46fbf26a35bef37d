//! Secrets from the configuration.

use std::fmt;

use zeroize::Zeroizing;

/// A secret. It is wiped from memory when dropped, and `Debug` hides it.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes over a secret.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The secret itself: for the place that uses it, never for a log or an error.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether this is what examples and documentation say instead of a secret.
    pub(super) fn is_placeholder(&self) -> bool {
        let text = self.0.trim().to_ascii_lowercase().replace(['_', ' '], "-");
        let marked = text.starts_with('<') && text.ends_with('>');
        marked
            || PLACEHOLDERS.contains(&text.as_str())
            || ["your-", "change-me", "changeme", "replace-me"]
                .iter()
                .any(|start| text.starts_with(start))
    }

    /// How many different characters it has: few, and it was typed rather than drawn.
    pub(super) fn distinct_characters(&self) -> usize {
        let characters: std::collections::BTreeSet<_> = self.0.chars().collect();
        characters.len()
    }
}

impl<'de> serde::Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

const PLACEHOLDERS: [&str; 8] = [
    "secret",
    "password",
    "client-secret",
    "example",
    "test",
    "todo",
    "xxx",
    "…",
];
