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

/// What happened at the very bottom, which is all that a person needs where the rest says how it was asked.
pub fn innermost<'e>(error: &'e (dyn Error + 'static)) -> &'e (dyn Error + 'static) {
    each(error).last().unwrap_or(error)
}

/// Whether an error, or one that led to it, is such.
pub fn any(
    error: &(dyn Error + 'static),
    is_such: impl FnMut(&(dyn Error + 'static)) -> bool,
) -> bool {
    each(error).any(is_such)
}

fn each<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (**error).source())
}
