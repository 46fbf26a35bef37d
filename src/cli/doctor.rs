//! `grantlog doctor`: is everything as it must be, and if not, what to do. One line a check.

mod local;
mod reach;
mod store;

use clap::Args;
use serde_json::{Value, json};

use super::configured::ConfigArgs;
use super::exit::Failure;
use super::output::{Column, Output};

/// Which configuration is examined.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    configuration: ConfigArgs,
}

/// What one check found.
struct Check {
    name: String,
    status: Status,
    found: String,
    fix: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    /// As it must be.
    Ok,
    /// It works, but is likely not what is meant; or could not be looked at.
    Warning,
    /// It does not work.
    Failed,
}

impl Check {
    fn ok(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(name, Status::Ok, found, "")
    }

    fn warning(name: impl Into<String>, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(name, Status::Warning, found, fix)
    }

    fn failed(name: impl Into<String>, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(name, Status::Failed, found, fix)
    }

    fn new(
        name: impl Into<String>,
        status: Status,
        found: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            status,
            found: found.into(),
            fix: fix.into(),
        }
    }

    fn row(&self) -> Value {
        let status = match self.status {
            Status::Ok => "ok",
            Status::Warning => "warning",
            Status::Failed => "failed",
        };
        json!({"check": self.name, "status": status, "found": self.found, "fix": self.fix})
    }
}

const COLUMNS: &[Column] = &[
    ("STATUS", "/status"),
    ("CHECK", "/check"),
    ("FOUND", "/found"),
    ("FIX", "/fix"),
];

/// Examines everything, prints one line a check.
///
/// # Errors
/// The configuration cannot be used; a check failed.
pub async fn run(args: DoctorArgs, output: &mut Output) -> Result<(), Failure> {
    let config = args.configuration.load()?;
    let mut checks = vec![Check::ok("configuration", "can be used")];
    checks.extend(local::checks(&config));
    checks.extend(reach::checks(&config).await);
    let failed = checks
        .iter()
        .filter(|check| check.status == Status::Failed)
        .count();
    let rows: Vec<Value> = checks.iter().map(Check::row).collect();
    let document = json!({"healthy": failed == 0, "checks": rows});
    output.list(COLUMNS, &document, "checks")?;
    match failed {
        0 => Ok(()),
        _ => Err(Failure::Error(format!(
            "{failed} of {} checks failed",
            checks.len()
        ))),
    }
}
