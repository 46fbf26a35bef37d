//! Configuration as users write it, and every error text.

mod documents;
mod errors;
mod values;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::{Config, ConfigError, Sources};

/// What a configuration is made from, with short names.
#[derive(Default)]
struct Given<'a> {
    flags: &'a [(&'static str, &'a str)],
    environment: &'a [(&'a str, &'a str)],
    file: &'a str,
}

impl Given<'_> {
    fn resolve(&self) -> Result<Config, ConfigError> {
        let flags = self
            .flags
            .iter()
            .map(|(key, value)| (*key, (*value).to_owned()))
            .collect();
        let environment: BTreeMap<String, String> = self
            .environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Config::resolve(Sources {
            flags: &flags,
            environment: &environment,
            file: Some(("grantlog.toml", self.file)),
            read: &read,
        })
    }

    fn config(&self) -> Config {
        self.resolve().expect("a configuration")
    }
}

fn file(text: &str) -> Result<Config, ConfigError> {
    Given {
        file: text,
        ..Given::default()
    }
    .resolve()
}

/// A disk with a few files.
fn read(path: &Path) -> io::Result<String> {
    match path.to_str() {
        Some("/secrets/token") => Ok(format!("{TOKEN}\n")),
        Some("/secrets/client") => Ok("s3cr3t-from-file\n".to_owned()),
        Some("/secrets/headers") => Ok(r#"{"X-Api-Key":"k1"}"#.to_owned()),
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    }
}

const TOKEN: &str = "gw_admin_0123456789abcdef0123456789abcdef";

const PROVIDER: &str = r#"
[[provider]]
name = "company"
type = "oidc"
client_id = "grantlog"
client_secret = "s3cr3t-in-clear"
issuer = "https://login.example.com"
"#;
