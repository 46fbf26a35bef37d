//! `grantlog client`: registered clients. They are added and changed through the endpoints that
//! clients use themselves (RFC 7591, RFC 7592), so the same rules hold.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value};

use super::Environment;
use super::administration::remove;
use super::exit::Failure;
use super::list::{self, ListArgs, id};
use super::member::{self, Member};
use super::output::{Column, Format, Output, note};
use super::remote::Remote;
use super::source::{ServerArgs, Source};
use crate::config::Key;

/// What to do with clients.
#[derive(Debug, Args)]
pub struct ClientArgs {
    #[command(subcommand)]
    command: ClientCommand,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Subcommand)]
enum ClientCommand {
    /// List clients
    List {
        #[command(flatten)]
        list: ListArgs,
    },
    /// Print one client
    Show {
        /// Its client_id
        #[arg(value_parser = id)]
        client: String,
    },
    /// Register a client; prints its secrets, once
    Add {
        /// The proxy it is for
        #[arg(long, value_name = "N")]
        proxy: u32,
        /// Client metadata (RFC 7591), such as `redirect_uris=https://app.example.com/callback`; items of
        /// a list have commas between
        #[arg(value_name = "NAME=VALUE", value_parser = member::parse, required = true)]
        members: Vec<Member>,
    },
    /// Change a client's metadata; an empty value takes a member away
    Set {
        /// Its client_id
        #[arg(value_parser = id)]
        client: String,
        /// The proxy it is for
        #[arg(long, value_name = "N")]
        proxy: u32,
        /// Client metadata (RFC 7591)
        #[arg(value_name = "NAME=VALUE", value_parser = member::parse, required = true)]
        members: Vec<Member>,
        /// A file with the client's registration_access_token; `-` is standard input
        #[arg(long, value_name = "FILE")]
        secret_file: Option<PathBuf>,
    },
    /// Remove a client: its grants end
    Remove {
        /// Its client_id
        #[arg(value_parser = id)]
        client: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

const CLIENTS: &str = "/api/v1/clients";

pub(super) const COLUMNS: &[Column] = &[
    ("CLIENT ID", "/client_id"),
    ("NAME", "/client_name"),
    ("PROXY", "/proxy_id"),
    ("REGISTERED", "/registered_at"),
    ("REDIRECT URIS", "/metadata/redirect_uris"),
];

const METADATA: &[Key] = &[
    metadata("redirect_uris"),
    metadata("client_name"),
    metadata("token_endpoint_auth_method"),
    metadata("grant_types"),
    metadata("response_types"),
    metadata("scope"),
    metadata("client_uri"),
    metadata("logo_uri"),
    metadata("tos_uri"),
    metadata("policy_uri"),
    metadata("contacts"),
    metadata("software_id"),
    metadata("software_version"),
];

const fn metadata(name: &'static str) -> Key {
    Key {
        name,
        default: "",
        expected: "client metadata",
        secret: false,
    }
}

/// Prints, registers, changes or removes clients.
///
/// # Errors
/// See [`Failure`].
pub async fn run(
    args: ClientArgs,
    environment: &Environment,
    output: &mut Output,
) -> Result<(), Failure> {
    let source = Source::server_of(&args.server, environment)?;
    match args.command {
        ClientCommand::List { list } => {
            list::print(
                &source,
                output,
                COLUMNS,
                CLIENTS,
                &list.query(),
                list.limit.get(),
            )
            .await
        }
        ClientCommand::Show { client } => {
            let client = source.get(&format!("{CLIENTS}/{client}"), &[]).await?;
            Ok(output.document(&client)?)
        }
        ClientCommand::Add { proxy, members } => {
            let metadata = Value::Object(member::document(members, &[METADATA])?);
            let path = register(proxy);
            let server = source.server()?;
            let added = server
                .send(Method::POST, &path, &[], Some(&metadata))
                .await?;
            output.document(&added)?;
            if output.format() == Format::Plain {
                note("its secrets are shown once: keep them now");
            }
            Ok(())
        }
        ClientCommand::Set {
            client,
            proxy,
            members,
            secret_file,
        } => {
            let variable = "GRANTLOG_REGISTRATION_TOKEN";
            let file = secret_file.as_deref();
            let token = member::secret(file, variable, environment, true)?.unwrap_or_default();
            let server = source.server()?.with_token(token);
            let path = format!("{}/{client}", register(proxy));
            let changes = member::document(members, &[METADATA])?;
            let changed = change(&server, &path, changes).await?;
            Ok(output.document(&changed)?)
        }
        ClientCommand::Remove { client, yes } => {
            let path = format!("{CLIENTS}/{client}");
            remove(
                source.server()?,
                &path,
                &format!("client {client}"),
                yes,
                output,
            )
            .await
        }
    }
}

fn register(proxy: u32) -> String {
    format!("/api/v1/oauth-proxy/{proxy}/register")
}

/// RFC 7592 §2.2: an update states the whole metadata, without what only the server says.
async fn change(
    server: &Remote,
    path: &str,
    changes: Map<String, Value>,
) -> Result<Value, Failure> {
    let current = server.send(Method::GET, path, &[], None).await?;
    let mut whole = current.as_object().cloned().unwrap_or_default();
    let stated = |name: &str| name == "client_id" || METADATA.iter().any(|key| key.name == name);
    whole.retain(|name, _| stated(name));
    for (name, value) in changes {
        if value.is_null() {
            whole.remove(&name);
        } else {
            whole.insert(name, value);
        }
    }
    server
        .send(Method::PUT, path, &[], Some(&whole.into()))
        .await
}
