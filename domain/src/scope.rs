//! Scopes (RFC 6749 §3.3): a set of case-sensitive tokens, written space-separated.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A set of scope tokens, in the order they were first named. May be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scope(Vec<Box<str>>);

/// A scope token holds a character outside %x21 / %x23-5B / %x5D-7E (RFC 6749 §3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected scope tokens of printable ASCII without quotes or backslashes")]
pub struct InvalidScope;

impl Scope {
    /// Whether every token of `other` is in this scope.
    #[must_use]
    pub fn contains(&self, other: &Scope) -> bool {
        other.0.iter().all(|token| self.0.contains(token))
    }

    /// Whether no token is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is left of this scope once other tokens than these are taken out.
    #[must_use]
    pub fn retain(mut self, keep: impl Fn(&str) -> bool) -> Self {
        self.0.retain(|token| keep(token));
        self
    }

    /// The tokens, in order.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }
}

impl FromStr for Scope {
    type Err = InvalidScope;
    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        let mut known = HashSet::new();
        let mut tokens: Vec<Box<str>> = Vec::new();
        for token in text.split(' ').filter(|token| !token.is_empty()) {
            if !token
                .bytes()
                .all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
            {
                return Err(InvalidScope);
            }
            if known.insert(token) {
                tokens.push(token.into());
            }
        }
        Ok(Self(tokens))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

impl Serialize for Scope {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::deserialize(deserializer, "scope tokens with spaces between", str::parse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_order_and_drops_repeats() {
        let scope: Scope = "write read  write".parse().expect("valid");
        assert_eq!(scope.to_string(), "write read");
        assert!(scope.contains(&"read".parse().expect("valid")));
        assert!(!scope.contains(&"Read".parse().expect("valid")));
    }

    #[test]
    fn many_tokens_are_told_apart_as_fast_as_few() {
        let text: Vec<_> = (0..100_000).map(|n| n.to_string()).collect();
        let scope: Scope = text.join(" ").parse().expect("valid");
        assert_eq!(scope.tokens().count(), 100_000);
    }

    #[test]
    fn refuses_quotes_backslashes_and_controls() {
        for text in ["a\"b", "a\\b", "a\tb", "é"] {
            assert_eq!(text.parse::<Scope>(), Err(InvalidScope), "{text:?}");
        }
    }
}
