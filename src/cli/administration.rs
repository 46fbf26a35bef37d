//! `grantlog provider` and `grantlog proxy`: the administration API from the command line, member
//! for member.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::Environment;
use super::exit::Failure;
use super::list;
use super::member::{self, Member};
use super::output::{Column, Output, confirm, done};
use super::remote::Remote;
use super::source::{ServerArgs, Source};
use crate::config::{Key, PROVIDER_MEMBERS, PROXY_CONFIG_MEMBERS, PROXY_MEMBERS};

/// What to do with providers or proxies.
#[derive(Debug, Args)]
pub struct CollectionArgs {
    #[command(subcommand)]
    command: CollectionCommand,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Subcommand)]
enum CollectionCommand {
    /// List them
    List,
    /// Print one
    Show {
        /// Its number
        number: u32,
    },
    /// Add one; members as in the administration API (docs/configuration.md)
    Add {
        #[command(flatten)]
        members: Members,
    },
    /// Change members of one; an empty value takes a member away
    Set {
        /// Its number
        number: u32,
        #[command(flatten)]
        members: Members,
    },
    /// Remove one, with all that depends on it
    Remove {
        /// Its number
        number: u32,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
struct Members {
    /// Such as name=docs. Items of a list have commas between, as in
    /// oauth_proxy_allowed_redirects=cursor://*,http://localhost:*; scopes have spaces
    #[arg(value_name = "NAME=VALUE", value_parser = member::parse)]
    members: Vec<Member>,
    /// A file with the client secret of a provider, or with the upstream headers of a proxy as a
    /// JSON object; `-` is standard input
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

/// A collection of the administration API.
pub struct Collection {
    path: &'static str,
    singular: &'static str,
    columns: &'static [Column],
    known: &'static [&'static [Key]],
    secret: &'static str,
    variable: &'static str,
    secret_is_wanted: bool,
}

/// `/api/v1/providers`.
pub const PROVIDERS: Collection = Collection {
    path: "/api/v1/providers",
    singular: "provider",
    columns: &[
        ("ID", "/id"),
        ("NAME", "/name"),
        ("TYPE", "/type"),
        ("ISSUER", "/issuer"),
        ("CLIENT ID", "/client_id"),
        ("CALLBACK URL", "/callback_url"),
    ],
    known: &[PROVIDER_MEMBERS],
    secret: "client_secret",
    variable: "GRANTLOG_CLIENT_SECRET",
    secret_is_wanted: true,
};

/// `/api/v1/proxies`.
pub const PROXIES: Collection = Collection {
    path: "/api/v1/proxies",
    singular: "proxy",
    columns: &[
        ("ID", "/id"),
        ("NAME", "/name"),
        ("ENABLED", "/config/oauth_proxy_enabled"),
        ("PROVIDER", "/config/oauth_proxy_provider_id"),
        ("UPSTREAM", "/upstream_url"),
        ("MCP URL", "/mcp_url"),
    ],
    known: &[PROXY_MEMBERS, PROXY_CONFIG_MEMBERS],
    secret: "oauth_proxy_upstream_headers",
    variable: "GRANTLOG_UPSTREAM_HEADERS",
    secret_is_wanted: false,
};

impl Collection {
    /// Does what was asked.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn run(
        &self,
        args: CollectionArgs,
        environment: &Environment,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let source = Source::server_of(&args.server, environment)?;
        let server = source.server()?;
        let one = |number: u32| format!("{}/{number}", self.path);
        match args.command {
            CollectionCommand::List => list(&source, self.path, self.columns, output).await,
            CollectionCommand::Show { number } => {
                let shown = server.send(Method::GET, &one(number), &[], None).await?;
                Ok(output.document(&shown)?)
            }
            CollectionCommand::Add { members } => {
                let body = self.body(members, environment, self.secret_is_wanted)?;
                let added = server
                    .send(Method::POST, self.path, &[], Some(&body))
                    .await?;
                Ok(output.document(&added)?)
            }
            CollectionCommand::Set { number, members } => {
                let body = self.body(members, environment, false)?;
                let path = one(number);
                let changed = server.send(Method::PATCH, &path, &[], Some(&body)).await?;
                Ok(output.document(&changed)?)
            }
            CollectionCommand::Remove { number, yes } => {
                let what = format!("{} {number}", self.singular);
                remove(server, &one(number), &what, yes, output).await
            }
        }
    }

    fn body(
        &self,
        members: Members,
        environment: &Environment,
        secret_is_wanted: bool,
    ) -> Result<Value, Failure> {
        let mut body = member::document(members.members, self.known)?;
        let file = members.secret_file.as_deref();
        if let Some(secret) = member::secret(file, self.variable, environment, secret_is_wanted)? {
            if self.secret.starts_with("oauth_proxy_") {
                let headers: Map<String, Value> = serde_json::from_str(&secret).map_err(|_| {
                    Failure::Usage("the upstream headers: expected a JSON object".to_owned())
                })?;
                body.entry("config").or_insert_with(|| json!({}))[self.secret] = headers.into();
            } else {
                body.insert(self.secret.to_owned(), Value::from(secret.as_str()));
            }
        }
        if let Some(Value::String(provider)) = body.remove("provider") {
            let reason = format!(
                "`provider={provider}`: expected oauth_proxy_provider_id=N (see `grantlog provider list`)"
            );
            return Err(Failure::Usage(reason));
        }
        if body.is_empty() {
            return Err(Failure::Usage(
                "expected at least one name=value".to_owned(),
            ));
        }
        Ok(Value::Object(body))
    }
}

pub(super) async fn list(
    source: &Source,
    path: &str,
    columns: &[Column],
    output: &mut Output,
) -> Result<(), Failure> {
    list::print(source, output, columns, path, &[], usize::MAX).await
}

pub(super) async fn remove(
    server: &Remote,
    path: &str,
    what: &str,
    yes: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    confirm(&format!("Remove {what}?"), yes)?;
    server.send(Method::DELETE, path, &[], None).await?;
    Ok(output.result(&format!("removed {what}"), &done("removed", what))?)
}
