//! Errors and what led to them.

use std::error::Error;

/// An error with its causes, on one line: what a log line in JSON would otherwise leave out, and often
/// all that says what went wrong.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// Whether an error, or one that led to it, is such.
pub fn any(
    error: &(dyn Error + 'static),
    is_such: impl Fn(&(dyn Error + 'static)) -> bool,
) -> bool {
    let mut next = Some(error);
    while let Some(cause) = next {
        if is_such(cause) {
            return true;
        }
        next = cause.source();
    }
    false
}
