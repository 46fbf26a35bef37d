//! What is wrong with a configuration, and where.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};

/// A configuration that cannot be used. The program ends with exit code 8.
#[derive(Debug, thiserror::Error)]
#[error("{problem}{place}")]
pub struct ConfigError {
    /// What is wrong.
    pub problem: Problem,
    /// Where it stands.
    pub place: Place,
}

/// What is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The file is not TOML.
    #[error("not valid TOML: {reason}")]
    Syntax {
        /// What the parser says; no text of the file.
        reason: String,
    },
    /// No such key or variable.
    #[error("unknown key `{key}`{}", did_you_mean(nearest.as_deref()))]
    UnknownKey {
        /// As it was written.
        key: String,
        /// The known key most like it, if one is alike at all.
        nearest: Option<String>,
    },
    /// The value is not of its kind.
    #[error("`{key}`: expected {expected}{}", found_instead(found.as_deref()))]
    Invalid {
        /// The key.
        key: String,
        /// What would be accepted.
        expected: String,
        /// What was found; nothing where that is a secret.
        found: Option<String>,
    },
    /// A value that has no default is not set.
    #[error("`{key}` is missing: expected {expected}")]
    Missing {
        /// The key.
        key: String,
        /// What would be accepted, and why it is needed.
        expected: String,
    },
    /// The value and the file that holds it are both given.
    #[error("`{key}` is given twice: expected either the value or the file that holds it")]
    Twice {
        /// The key.
        key: String,
    },
    /// A declared table does not say enough to be of use.
    #[error("`{key}`: {reason}")]
    Incomplete {
        /// The table and the name.
        key: String,
        /// What is expected.
        reason: String,
    },
    /// Two declared tables have the same name.
    #[error("`{key}` is declared twice")]
    Duplicate {
        /// The table and the name.
        key: String,
    },
    /// A file cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!(", did you mean `{name}`?"))
}

fn found_instead(found: Option<&str>) -> String {
    found.map_or_else(String::new, |found| format!(", found {found}"))
}

/// Where something of the configuration stands.
#[derive(Clone, Debug)]
pub enum Place {
    /// In the file.
    File(Box<Excerpt>),
    /// In an environment variable.
    Variable(String),
    /// In the flag for a key.
    Flag,
    /// Nowhere: it is the default, or absent.
    Unset,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(excerpt) => write!(
                f,
                " ({}:{}:{})",
                excerpt.source.name(),
                excerpt.line,
                excerpt.column
            ),
            Self::Variable(name) => write!(f, " ({name})"),
            Self::Flag => f.write_str(" (command line)"),
            Self::Unset => Ok(()),
        }
    }
}

/// A place in the file, with as much of its text as may be shown.
#[derive(Clone, Debug)]
pub struct Excerpt {
    /// Counted from 1.
    pub line: usize,
    /// Counted in characters from 1.
    pub column: usize,
    source: NamedSource<String>,
    span: Range<usize>,
}

impl Excerpt {
    /// The place `span` of the file. Whatever else stands in the file is blanked out: it may
    /// hold secrets. With `shown` false even the place itself is.
    pub(super) fn new(name: &str, text: &str, span: Range<usize>, shown: bool) -> Self {
        let start = text.floor_char_boundary(span.start.min(text.len()));
        let end = text.ceil_char_boundary(span.end.clamp(start, text.len()));
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let visible = if shown { start..end } else { start..start };
        let blanked: String = text
            .char_indices()
            .flat_map(|(at, character)| {
                let keep = character == '\n' || visible.contains(&at);
                let blanks = if keep { 0 } else { character.len_utf8() };
                std::iter::repeat_n(' ', blanks).chain(keep.then_some(character))
            })
            .collect();
        Self {
            line: text[..start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            source: NamedSource::new(name, blanked),
            span: start..end,
        }
    }
}

impl Diagnostic for ConfigError {
    fn source_code(&self) -> Option<&dyn SourceCode> {
        match &self.place {
            Place::File(excerpt) => Some(&excerpt.source),
            Place::Variable(_) | Place::Flag | Place::Unset => None,
        }
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        match &self.place {
            Place::File(excerpt) => Some(Box::new(std::iter::once(LabeledSpan::underline(
                excerpt.span.clone(),
            )))),
            Place::Variable(_) | Place::Flag | Place::Unset => None,
        }
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(
            "docs/configuration.md lists every key with its default; `grantlog init` writes them all",
        ))
    }
}

impl ConfigError {
    pub(super) fn unreadable(path: &Path, error: &io::Error) -> Self {
        Self {
            problem: Problem::Unreadable {
                path: path.to_owned(),
                reason: error.to_string(),
            },
            place: Place::Unset,
        }
    }
}
