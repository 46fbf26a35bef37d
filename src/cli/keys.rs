//! `grantlog keys`: the keys that access tokens are signed with.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::json;

use super::Environment;
use super::administration::list;
use super::exit::Failure;
use super::output::{Column, Output, confirm};
use super::source::{ServerArgs, Source};

/// What to do with signing keys.
#[derive(Debug, Args)]
pub struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// List signing keys, without what is secret of them
    List,
    /// Sign with a new key from now on; what the old one signed stays valid until it ends
    Rotate {
        /// The algorithm whose key is replaced
        #[arg(value_parser = ["HS256", "ES256", "EdDSA", "RS256"])]
        alg: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

const KEYS: &str = "/api/v1/keys";

const COLUMNS: &[Column] = &[
    ("KID", "/kid"),
    ("ALG", "/alg"),
    ("CREATED", "/created_at"),
    ("RETIRES", "/retires_at"),
    ("IN USE", "/in_use"),
];

/// Lists or rotates signing keys.
///
/// # Errors
/// See [`Failure`].
pub async fn run(
    args: KeysArgs,
    environment: &Environment,
    output: &mut Output,
) -> Result<(), Failure> {
    let source = Source::server_of(&args.server, environment)?;
    match args.command {
        KeysCommand::List => list(&source, KEYS, COLUMNS, output).await,
        KeysCommand::Rotate { alg, yes } => {
            confirm(&format!("Replace the signing key for {alg}?"), yes)?;
            let body = json!({ "alg": alg });
            let path = "/api/v1/keys/rotate";
            let rotated = source
                .server()?
                .send(Method::POST, path, &[], Some(&body))
                .await?;
            Ok(output.document(&rotated)?)
        }
    }
}
