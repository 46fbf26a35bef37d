//! What is known of a key besides its type.

/// A key of a section or a member of a declared table.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// How it is written in the file.
    pub name: &'static str,
    /// What holds where it is not set, as it would be written in the environment; empty: nothing.
    pub default: &'static str,
    /// What is accepted, for error texts.
    pub expected: &'static str,
    /// Whether its value must never be shown, and may stand in a file of its own.
    pub secret: bool,
}

impl Key {
    /// A key whose value may be shown.
    pub(super) const fn plain(
        name: &'static str,
        default: &'static str,
        expected: &'static str,
    ) -> Self {
        Self {
            name,
            default,
            expected,
            secret: false,
        }
    }

    /// A key whose value must never be shown; it has a twin with `_file` behind its name.
    pub(super) const fn secret(name: &'static str, expected: &'static str) -> Self {
        Self {
            name,
            default: "",
            expected,
            secret: true,
        }
    }

    /// The name in environment variables.
    #[must_use]
    pub fn variable(&self) -> String {
        self.name.to_ascii_uppercase()
    }
}

/// Names under which these keys may appear in a file.
pub(super) fn names(keys: &[Key]) -> impl Iterator<Item = String> {
    keys.iter().flat_map(|key| {
        let file = key.secret.then(|| format!("{}_file", key.name));
        std::iter::once(key.name.to_owned()).chain(file)
    })
}

/// The known name most like `unknown`, if one is alike at all.
pub fn nearest(unknown: &str, known: impl IntoIterator<Item = String>) -> Option<String> {
    known
        .into_iter()
        .map(|name| (strsim::normalized_damerau_levenshtein(unknown, &name), name))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}

/// Below this a suggestion confuses more than it helps.
const LIKENESS_MIN: f64 = 0.5;
