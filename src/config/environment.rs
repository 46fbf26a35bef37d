//! The only place that reads the process environment.

use std::collections::BTreeMap;

/// The environment variables that begin with `GRANTLOG_`, and `PGPASSWORD`, that hold Unicode.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the place")]
pub fn variables() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with("GRANTLOG_") || name == "PGPASSWORD")
        .collect()
}
