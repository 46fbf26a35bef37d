//! What tells a secret from a word that somebody typed.

use crate::secret::Secret;

impl Secret {
    /// Whether this is what examples and documentation say instead of a secret.
    pub(super) fn is_placeholder(&self) -> bool {
        let text = self
            .expose()
            .trim()
            .to_ascii_lowercase()
            .replace(['_', ' '], "-");
        let marked = text.starts_with('<') && text.ends_with('>');
        marked
            || PLACEHOLDERS.contains(&text.as_str())
            || ["your-", "change-me", "changeme", "replace-me"]
                .iter()
                .any(|start| text.starts_with(start))
    }

    /// How many different characters it has: few, and it was typed rather than drawn.
    pub(super) fn distinct_characters(&self) -> usize {
        let characters: std::collections::BTreeSet<_> = self.expose().chars().collect();
        characters.len()
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
