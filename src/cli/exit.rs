//! How the program ends: one code per kind of failure, and the words that go with it.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use crate::app;
use crate::causes::chain;
use crate::config::ConfigError;
use crate::log::ReadError;

/// The exit codes. They are part of the contract with scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It did what was asked.
    Ok = 0,
    /// It failed, for none of the reasons below.
    Error = 1,
    /// The command line, or a value in it, is not understood.
    Usage = 2,
    /// What was asked for is not there.
    NotFound = 3,
    /// The log is not what was written.
    Integrity = 4,
    /// The read models are not what the log says.
    Mismatch = 5,
    /// The store or the server cannot be reached, or needs a migration.
    Unavailable = 6,
    /// The operator's token is missing, unknown, or may not do this.
    Unauthorized = 7,
    /// The configuration cannot be used.
    Configuration = 8,
}

/// What `--help` and the manual say about exit codes.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  ok
  1  error
  2  usage: the command line, or a value in it, is not understood
  3  not found
  4  integrity violation: the log is not what was written
  5  replay mismatch: the read models are not what the log says
  6  store or server unavailable, or the store needs migration
  7  not authorized
  8  bad configuration";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// See [`Exit::Error`].
    #[error("{0}")]
    Error(String),
    /// See [`Exit::Usage`].
    #[error("{0}")]
    Usage(String),
    /// See [`Exit::NotFound`].
    #[error("{0}")]
    NotFound(String),
    /// See [`Exit::Integrity`].
    #[error("{0}")]
    Integrity(String),
    /// See [`Exit::Mismatch`].
    #[error("{0}")]
    Mismatch(String),
    /// See [`Exit::Unavailable`].
    #[error("{0}")]
    Unavailable(String),
    /// See [`Exit::Unauthorized`].
    #[error("{0}")]
    Unauthorized(String),
    /// See [`Exit::Configuration`].
    #[error(transparent)]
    Configuration(#[from] Box<ConfigError>),
    /// A secret of the configuration is found unusable only when it is used.
    #[error("{0}")]
    Secret(String),
    /// The answer could not be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Configuration(Box::new(error))
    }
}

/// A log that answers wrongly is damaged, one that does not answer is away.
impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Corrupt { .. } => Self::Integrity(error.to_string()),
            ReadError::Unavailable(_) => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<app::Unavailable> for Failure {
    fn from(error: app::Unavailable) -> Self {
        match error {
            app::Unavailable::Read(error) => error.into(),
            app::Unavailable::Entry(error) => error.into(),
            other => Self::Unavailable(chain(&other)),
        }
    }
}

/// A store that fails.
pub fn unavailable(error: &dyn std::error::Error) -> Failure {
    Failure::Unavailable(chain(error))
}

/// Nothing is overwritten.
///
/// # Errors
/// Something is there already.
pub fn refuse_existing(path: &Path) -> Result<(), Failure> {
    if path.exists() {
        let reason = format!("{} exists already: nothing was overwritten", path.display());
        return Err(Failure::Error(reason));
    }
    Ok(())
}

/// A damaged log, or a program that is too old for it.
impl From<app::Unreadable> for Failure {
    fn from(error: app::Unreadable) -> Self {
        if error.is_damage() {
            Self::Integrity(chain(&error))
        } else {
            Self::Unavailable(chain(&error))
        }
    }
}

impl Failure {
    /// The code the program ends with. A reader that went away (`| head`) is no failure.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Error(_) => Exit::Error,
            Self::Usage(_) => Exit::Usage,
            Self::NotFound(_) => Exit::NotFound,
            Self::Integrity(_) => Exit::Integrity,
            Self::Mismatch(_) => Exit::Mismatch,
            Self::Unavailable(_) => Exit::Unavailable,
            Self::Unauthorized(_) => Exit::Unauthorized,
            Self::Configuration(_) | Self::Secret(_) => Exit::Configuration,
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Ok,
            Self::Output(_) => Exit::Error,
        }
    }

    /// What a person reads on stderr; nothing where nobody reads any more.
    #[must_use]
    pub fn report(&self) -> String {
        match self {
            Self::Configuration(error) => {
                let mut report = String::new();
                // other lines of the file may hold secrets
                let handler = miette::GraphicalReportHandler::new().with_context_lines(0);
                match handler.render_report(&mut report, error.as_ref()) {
                    Ok(()) => report,
                    Err(_) => format!("error: {error}\n"),
                }
            }
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => String::new(),
            other => format!("error: {other}\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_has_its_code() {
        let text = || "x".to_owned();
        let unreadable = crate::config::load(
            Some(std::path::Path::new("/nowhere/grantlog.toml")),
            &std::collections::BTreeMap::new(),
        );
        for (failure, code) in [
            (Failure::Error(text()), 1),
            (Failure::Usage(text()), 2),
            (Failure::NotFound(text()), 3),
            (Failure::Integrity(text()), 4),
            (Failure::Mismatch(text()), 5),
            (Failure::Unavailable(text()), 6),
            (Failure::Unauthorized(text()), 7),
            (unreadable.expect_err("no such file").into(), 8),
            (Failure::Secret(text()), 8),
            (Failure::Output(io::ErrorKind::BrokenPipe.into()), 0),
            (Failure::Output(io::ErrorKind::StorageFull.into()), 1),
        ] {
            assert_eq!(failure.exit() as u8, code, "{failure}");
            assert!(EXIT_CODES.contains(&format!("\n  {code}  ")));
        }
    }

    #[test]
    fn a_reader_that_went_away_is_told_nothing() {
        assert_eq!(
            Failure::Output(io::ErrorKind::BrokenPipe.into()).report(),
            ""
        );
        assert_eq!(Failure::NotFound("no".to_owned()).report(), "error: no\n");
    }
}
