//! Tokens: how they look, are made and are read. No store, no clock, no rule.

pub mod access;
pub mod code;
pub mod refresh;
pub mod sealed;
pub mod secret;

/// A presented value is not of the expected form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}")]
pub struct Malformed {
    /// The form that would have been accepted.
    pub expected: &'static str,
}
