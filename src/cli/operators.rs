//! `grantlog operator` and `grantlog api-key`: who and what is let in. Tokens and keys are printed
//! once, when they are made.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::Environment;
use super::administration::{list, remove};
use super::exit::Failure;
use super::list::{self, id};
use super::output::{Column, Format, Output, note};
use super::remote::Remote;
use super::source::{ServerArgs, Source};

/// What to do with operators.
#[derive(Debug, Args)]
pub struct OperatorArgs {
    #[command(subcommand)]
    command: OperatorCommand,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Subcommand)]
enum OperatorCommand {
    /// List operators
    List,
    /// Print one operator
    Show {
        /// Their id
        #[arg(value_parser = id)]
        operator: String,
    },
    /// Let somebody in; prints their token, once
    Add {
        /// What they are called in the record
        name: String,
        /// What they may do
        #[arg(long, value_parser = ROLES)]
        role: String,
    },
    /// Change somebody's name or role
    Set {
        /// Their id
        #[arg(value_parser = id)]
        operator: String,
        /// What they are called in the record
        #[arg(long)]
        name: Option<String>,
        /// What they may do
        #[arg(long, value_parser = ROLES, required_unless_present = "name")]
        role: Option<String>,
    },
    /// Let somebody in no more
    Remove {
        /// Their id
        #[arg(value_parser = id)]
        operator: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

const ROLES: [&str; 3] = ["admin", "auditor", "responder"];
const OPERATORS: &str = "/api/v1/operators";
pub(super) const OPERATOR_COLUMNS: &[Column] = &[
    ("ID", "/id"),
    ("NAME", "/name"),
    ("ROLE", "/role"),
    ("ADDED", "/added_at"),
    ("REMOVED", "/removed_at"),
];

/// Looks after operators.
///
/// # Errors
/// See [`Failure`].
pub async fn operator(
    args: OperatorArgs,
    environment: &Environment,
    output: &mut Output,
) -> Result<(), Failure> {
    let source = Source::server_of(&args.server, environment)?;
    let server = source.server()?;
    match args.command {
        OperatorCommand::List => list(&source, OPERATORS, OPERATOR_COLUMNS, output).await,
        OperatorCommand::Show { operator } => {
            let all = list::fetch(&source, OPERATORS, &[], usize::MAX).await?;
            let mut all = all["data"].as_array().into_iter().flatten();
            match all.find(|one| one["id"] == operator.as_str()) {
                Some(found) => Ok(output.document(found)?),
                None => Err(Failure::NotFound("there is no such operator".to_owned())),
            }
        }
        OperatorCommand::Add { name, role } => {
            let body = json!({"name": name, "role": role});
            issue(server, OPERATORS, &body, output).await
        }
        OperatorCommand::Set {
            operator,
            name,
            role,
        } => {
            let members = [("name", name), ("role", role)];
            let body: Map<String, Value> = members
                .into_iter()
                .filter_map(|(member, value)| Some((member.to_owned(), Value::from(value?))))
                .collect();
            let path = format!("{OPERATORS}/{operator}");
            let changed = server
                .send(Method::PATCH, &path, &[], Some(&body.into()))
                .await?;
            Ok(output.document(&changed)?)
        }
        OperatorCommand::Remove { operator, yes } => {
            let path = format!("{OPERATORS}/{operator}");
            remove(server, &path, &format!("operator {operator}"), yes, output).await
        }
    }
}

/// What to do with API keys.
#[derive(Debug, Args)]
pub struct ApiKeyArgs {
    #[command(subcommand)]
    command: ApiKeyCommand,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Subcommand)]
enum ApiKeyCommand {
    /// List API keys
    List,
    /// Make a key that admits a script to one proxy; prints it, once
    Add {
        /// What operators call it
        name: String,
        /// The proxy that admits it
        #[arg(long, value_name = "N")]
        proxy: u32,
        /// What it may do there: scopes of the proxy, space-separated
        #[arg(long)]
        scopes: Option<String>,
        /// When it ends (RFC 3339)
        #[arg(long, value_name = "TIME")]
        expires_at: Option<String>,
    },
    /// End a key now
    Remove {
        /// Its id
        #[arg(value_parser = id)]
        key: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

const API_KEYS: &str = "/api/v1/api-keys";
pub(super) const API_KEY_COLUMNS: &[Column] = &[
    ("ID", "/id"),
    ("NAME", "/name"),
    ("PROXY", "/proxy_id"),
    ("SCOPES", "/scopes"),
    ("EXPIRES", "/expires_at"),
    ("REVOKED", "/revoked_at"),
];

/// Looks after API keys.
///
/// # Errors
/// See [`Failure`].
pub async fn api_key(
    args: ApiKeyArgs,
    environment: &Environment,
    output: &mut Output,
) -> Result<(), Failure> {
    let source = Source::server_of(&args.server, environment)?;
    let server = source.server()?;
    match args.command {
        ApiKeyCommand::List => list(&source, API_KEYS, API_KEY_COLUMNS, output).await,
        ApiKeyCommand::Add {
            name,
            proxy,
            scopes,
            expires_at,
        } => {
            let mut body = json!({"name": name, "proxy_id": proxy});
            if let Some(scopes) = scopes {
                body["scopes"] = scopes.into();
            }
            if let Some(expires_at) = expires_at {
                body["expires_at"] = expires_at.into();
            }
            issue(server, API_KEYS, &body, output).await
        }
        ApiKeyCommand::Remove { key, yes } => {
            let path = format!("{API_KEYS}/{key}");
            remove(server, &path, &format!("API key {key}"), yes, output).await
        }
    }
}

async fn issue(
    server: &Remote,
    path: &str,
    body: &Value,
    output: &mut Output,
) -> Result<(), Failure> {
    let issued = server.send(Method::POST, path, &[], Some(body)).await?;
    output.document(&issued)?;
    if output.format() == Format::Plain {
        note("this is shown once: keep it now");
    }
    Ok(())
}
