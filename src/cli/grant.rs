//! `grantlog grant`: live and past grants, the story of one, its end.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::Environment;
use super::exit::Failure;
use super::list::{self, ListArgs, id, query};
use super::output::{Column, Format, Output, confirm, note};
use super::source::{ServerArgs, Source, StoreArgs};

/// What to do with grants.
#[derive(Debug, Args)]
pub struct GrantArgs {
    #[command(subcommand)]
    command: GrantCommand,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Subcommand)]
enum GrantCommand {
    /// List grants
    List {
        /// Only of this subject
        #[arg(long)]
        subject: Option<String>,
        /// Only of this client
        #[arg(long, value_name = "CLIENT_ID")]
        client: Option<String>,
        /// Only of this proxy
        #[arg(long, value_name = "N")]
        proxy: Option<u32>,
        /// Only those that are live, or are not
        #[arg(long, value_name = "BOOL")]
        live: Option<bool>,
        #[command(flatten)]
        list: ListArgs,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Print one grant
    Show {
        /// Its id
        #[arg(value_parser = id)]
        grant: String,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Print what happened to one grant, in order
    Story {
        /// Its id
        #[arg(value_parser = id)]
        grant: String,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// End a grant: its tokens are refused within a second
    Revoke {
        /// Its id
        #[arg(value_parser = id)]
        grant: String,
        /// Why, for the record
        #[arg(long, default_value = "revoked by an operator")]
        reason: String,
        /// Only tell what would end
        #[arg(long)]
        dry_run: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

const GRANTS: &str = "/api/v1/grants";

pub(super) const COLUMNS: &[Column] = &[
    ("GRANT", "/grant_id"),
    ("LIVE", "/live"),
    ("CREATED", "/created_at"),
    ("SUBJECT", "/subject"),
    ("EMAIL", "/email"),
    ("CLIENT", "/client_id"),
    ("PROXY", "/proxy_id"),
    ("SCOPE", "/scope"),
];

const STORY: &[Column] = &[
    ("AT", "/at"),
    ("POSITION", "/position"),
    ("TYPE", "/type"),
    ("IP", "/source/ip"),
    ("EXPLAIN", "/explain"),
];

/// What a story comes to; that of a login that failed is told, too.
fn outcome(story: &Value) -> &'static str {
    let items = story["items"].as_array();
    let tells = |name| items.is_some_and(|items| items.iter().any(|item| item["type"] == name));
    if !tells("grant.login_succeeded") {
        "no grant came of it"
    } else if story["live"] == true && !tells("grant.revoked") {
        "the grant is live"
    } else {
        "the grant has ended"
    }
}

/// Prints or ends grants.
///
/// # Errors
/// See [`Failure`].
pub async fn run(
    args: GrantArgs,
    environment: &Environment,
    output: &mut Output,
) -> Result<(), Failure> {
    let server = &args.server;
    let open = |store| Source::open(server, &store, environment);
    match args.command {
        GrantCommand::List {
            subject,
            client,
            proxy,
            live,
            list,
            store,
        } => {
            let mut filters = query([
                ("subject", subject),
                ("client_id", client),
                ("proxy_id", proxy.map(|n| n.to_string())),
                ("live", live.map(|live| live.to_string())),
            ]);
            filters.extend(list.query());
            list::print(
                &open(store)?,
                output,
                COLUMNS,
                GRANTS,
                &filters,
                list.limit.get(),
            )
            .await
        }
        GrantCommand::Show { grant, store } => {
            let grant = open(store)?.get(&format!("{GRANTS}/{grant}"), &[]).await?;
            Ok(output.document(&grant)?)
        }
        GrantCommand::Story { grant, store } => {
            let story = open(store)?
                .get(&format!("{GRANTS}/{grant}/timeline"), &[])
                .await?;
            output.list(STORY, &story, "items")?;
            if output.format() == Format::Plain {
                note(outcome(&story));
            }
            Ok(())
        }
        GrantCommand::Revoke {
            grant,
            reason,
            dry_run,
            yes,
        } => {
            let source = Source::server_of(server, environment)?;
            let server = source.server()?;
            confirm(&format!("Revoke grant {grant}?"), yes || dry_run)?;
            let body = json!({"grant": grant, "reason": reason, "dry_run": dry_run});
            let path = "/api/v1/revocations";
            let revoked = server.send(Method::POST, path, &[], Some(&body)).await?;
            output.document(&revoked)?;
            if revoked["counts"]["grants"] == 0 {
                note("the grant had ended already");
            }
            Ok(())
        }
    }
}
