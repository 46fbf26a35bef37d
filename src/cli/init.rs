//! `grantlog init`: a commented configuration, keys and the first operator, once.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::exit::Failure;
use super::output::{Format, Output, note};
use super::serve;
use crate::config::{self, Config, DEFAULT_FILE};
use crate::secret::Secret;

/// Where things are put, and what is known already.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The configuration file to write
    #[arg(long, value_name = "FILE", default_value = DEFAULT_FILE)]
    config: PathBuf,
    /// The data folder to make (store.data_dir)
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Origin of the authorization server (server.public_url)
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Origin of the MCP gateway (gateway.public_url)
    #[arg(long, value_name = "URL")]
    gateway_public_url: Option<String>,
}

/// Writes the file and makes the rest; leaves nothing behind if it fails.
///
/// # Errors
/// The file or the store exists already; the configuration cannot be used; see [`Failure`].
pub async fn run(args: InitArgs, output: &mut Output) -> Result<(), Failure> {
    let text = filled_in(&args);
    create(&args.config, &text)?;
    let made = make(&args).await;
    let (config, token) = match made {
        Ok(made) => made,
        Err(failure) => {
            fs::remove_file(&args.config)?;
            return Err(failure);
        }
    };
    let mut document = json!({
        "config": args.config.display().to_string(),
        "data_dir": config.store.data_dir.display().to_string(),
    });
    if let Some(token) = &token {
        document["operator_token"] = token.expose().into();
    }
    output.document(&document)?;
    if output.format() == Format::Plain {
        if token.is_some() {
            note("the operator's token is shown once: keep it now, GRANTLOG_TOKEN takes it");
        }
        note(
            "next: declare a [[provider]] and a [[proxy]] in the file, then `grantlog doctor`, then `grantlog serve`",
        );
    }
    Ok(())
}

async fn make(args: &InitArgs) -> Result<(Config, Option<Secret>), Failure> {
    let config = config::load(Some(&args.config), &std::collections::BTreeMap::new())?;
    let data = &config.store.data_dir;
    if config.store.database_url.is_none() && is_occupied(data)? {
        let reason = format!("{} is not empty: nothing was overwritten", data.display());
        return Err(Failure::Error(reason));
    }
    let token = serve::prepare(&config).await?;
    Ok((config, token))
}

fn is_occupied(folder: &Path) -> io::Result<bool> {
    match fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The commented file, with what the command line says in place of the defaults.
fn filled_in(args: &InitArgs) -> String {
    let data = args.data.as_ref().map(|dir| dir.display().to_string());
    let given = [
        ("[server]", "public_url", args.public_url.clone()),
        ("[gateway]", "public_url", args.gateway_public_url.clone()),
        ("[store]", "data_dir", data),
    ];
    let mut section = "";
    let default = config::commented_default();
    let lines = default.lines().map(|line| {
        if line.starts_with('[') {
            section = line;
        }
        let value = given.iter().find_map(|(of, key, value)| {
            let is_line = *of == section && line.starts_with(&format!("#{key} = "));
            value.as_ref().filter(|_| is_line).map(|value| (key, value))
        });
        match value {
            Some((key, value)) => format!("{key} = {}\n", toml::Value::from(value.as_str())),
            None => format!("{line}\n"),
        }
    });
    lines.collect()
}

/// For the owner only, because secrets may be written into it later.
fn create(path: &Path, text: &str) -> Result<(), Failure> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::Error(format!(
            "{} exists already: nothing was overwritten",
            path.display()
        )),
        _ => Failure::Error(format!("cannot write {}: {error}", path.display())),
    })?;
    Ok(file.write_all(text.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_filled_in() {
        let text = filled_in(&InitArgs {
            config: PathBuf::new(),
            data: Some("/var/lib/a \"b\"".into()),
            public_url: None,
            gateway_public_url: Some("https://mcp.example.com".to_owned()),
        });
        assert!(text.contains("\n#public_url = \"http://127.0.0.1:8080\"\n"));
        assert!(text.contains("\npublic_url = \"https://mcp.example.com\"\n"));
        let parsed: toml::Table = text.parse().expect("TOML");
        assert_eq!(
            parsed["store"]["data_dir"].as_str(),
            Some("/var/lib/a \"b\"")
        );
    }
}
