//! `grantlog events`: the record itself.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use domain::event::Event;
use serde_json::{Value, json};

use super::exit::Failure;
use super::list::{self, ListArgs, query};
use super::output::{Column, Format, Output, note};
use super::remote::Remote;
use super::source::{ServerArgs, Source, StoreArgs};
use super::{Environment, export};
use crate::config::nearest;

/// What to do with events.
#[derive(Debug, Args)]
pub struct EventsArgs {
    #[command(subcommand)]
    command: EventsCommand,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Subcommand)]
enum EventsCommand {
    /// List events
    List {
        #[command(flatten)]
        filter: Box<FilterArgs>,
        #[command(flatten)]
        list: ListArgs,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Print one event
    Get {
        /// Its position
        position: u64,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Print events as they happen, without end
    Tail {
        #[command(flatten)]
        filter: Box<FilterArgs>,
    },
    /// Print every event that passes, oldest first
    Export {
        #[command(flatten)]
        filter: Box<FilterArgs>,
        /// How; one JSON document with `--json`
        #[arg(long, value_enum, default_value_t = ExportFormat::Jsonl, conflicts_with = "json")]
        format: ExportFormat,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// List the types of events
    Types,
}

/// How events are exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// One JSON document a line
    Jsonl,
    /// A table for spreadsheets, with a header
    Csv,
    /// One JSON document
    Json,
}

/// Filters of the record.
#[derive(Clone, Debug, Args)]
pub struct FilterArgs {
    /// Only this type, or these, separated by commas; `grant.*` is all that begin so
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Only this stream, such as grant-…
    #[arg(long)]
    stream: Option<String>,
    /// Only this grant
    #[arg(long, value_name = "GRANT_ID")]
    grant: Option<String>,
    /// Only this client
    #[arg(long, value_name = "CLIENT_ID")]
    client: Option<String>,
    /// Only this subject
    #[arg(long)]
    subject: Option<String>,
    /// Only this proxy
    #[arg(long, value_name = "N")]
    proxy: Option<u32>,
    /// Only from this address or network
    #[arg(long, value_name = "ADDRESS|CIDR")]
    ip: Option<String>,
    /// Only of this request
    #[arg(long, value_name = "REQUEST_ID")]
    request: Option<String>,
    /// Only after this position
    #[arg(long, value_name = "POSITION")]
    after: Option<u64>,
    /// From then on: a time, a date, or an age such as -24h
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    since: Option<String>,
    /// Until then
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    until: Option<String>,
}

impl FilterArgs {
    fn query(self) -> Vec<(&'static str, String)> {
        let kinds = self.kind.as_deref().into_iter();
        for reason in kinds
            .flat_map(|kinds| kinds.split(','))
            .filter_map(unknown_type)
        {
            note(&reason);
        }
        query([
            ("type", self.kind),
            ("stream", self.stream),
            ("grant_id", self.grant),
            ("client_id", self.client),
            ("subject", self.subject),
            ("proxy_id", self.proxy.map(|n| n.to_string())),
            ("ip", self.ip),
            ("request_id", self.request),
            ("after", self.after.map(|n| n.to_string())),
            ("since", self.since),
            ("until", self.until),
        ])
    }
}

/// A server that is newer than this program may know the type, so this is no error.
fn unknown_type(kind: &str) -> Option<String> {
    let types = || Event::TYPES.iter().map(|(name, _)| (*name).to_owned());
    let is_known = |name: String| match kind.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == kind,
    };
    if types().any(is_known) {
        return None;
    }
    let nearest = nearest(kind, types());
    let nearest = nearest.map_or_else(String::new, |name| format!(", did you mean `{name}`?"));
    Some(format!(
        "no event of this version has the type `{kind}`{nearest} (see `grantlog events types`)"
    ))
}

const COLUMNS: &[Column] = &[
    ("POSITION", "/position"),
    ("RECORDED", "/recorded_at"),
    ("TYPE", "/type"),
    ("ACTOR", "/actor/id"),
    ("IP", "/source/ip"),
    ("EXPLAIN", "/explain"),
];

/// A refused request may be a number in another event.
const COUNTED: &str = "nothing is recorded of this request by itself: refused requests of one cause are counted together per \
    minute, and only the first is recorded by itself (`grantlog events list --type request.refused`)";

const EVENTS: &str = "/api/v1/events";

/// Prints events.
///
/// # Errors
/// See [`Failure`].
pub async fn run(
    args: EventsArgs,
    environment: &Environment,
    output: &mut Output,
) -> Result<(), Failure> {
    let server = &args.server;
    let open = |store| Source::open(server, &store, environment);
    match args.command {
        EventsCommand::List {
            filter,
            list,
            store,
        } => {
            let source = open(store)?;
            let of_request = filter.request.is_some();
            let mut filters = filter.query();
            filters.extend(list.query());
            let page = list::fetch(&source, EVENTS, &filters, list.limit.get()).await?;
            output.list(COLUMNS, &page, "data")?;
            if of_request && page["data"].as_array().is_some_and(Vec::is_empty) {
                note(COUNTED);
            }
            Ok(())
        }
        EventsCommand::Get { position, store } => {
            let path = format!("{EVENTS}/{position}");
            let event = open(store)?.get(&path, &[]).await?;
            Ok(output.document(&event)?)
        }
        EventsCommand::Tail { filter } => {
            let source = Source::server_of(server, environment)?;
            tail(source.server()?, filter.query(), output).await
        }
        EventsCommand::Export {
            filter,
            format,
            store,
        } => {
            let source = open(store)?;
            let format = match output.format() {
                Format::Json => ExportFormat::Json,
                Format::Plain | Format::JsonLines => format,
            };
            export::run(&source, EVENTS, filter.query(), format, output).await
        }
        EventsCommand::Types => types(output),
    }
}

fn types(output: &mut Output) -> Result<(), Failure> {
    let types: Vec<Value> = Event::TYPES
        .iter()
        .map(|(name, schema)| json!({"type": name, "schema": schema}))
        .collect();
    let columns = [("TYPE", "/type"), ("SCHEMA", "/schema")];
    Ok(output.list(&columns, &json!({"data": types}), "data")?)
}

/// A server that restarts is back within this.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
const RETRIES_MAX: u32 = 60;

/// Follows the record. After a lost connection it goes on behind the last event shown.
async fn tail(
    remote: &Remote,
    filters: Vec<(&'static str, String)>,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut last: Option<String> = None;
    let mut retries = 0;
    loop {
        let path = "/api/v1/events/stream";
        let from = last.clone();
        let followed = remote
            .follow(path, &filters, from.as_deref(), |event, id| {
                retries = 0;
                last = id.or_else(|| last.take());
                // without a position it is no event but a word of the stream itself
                if event.get("position").is_some() {
                    output.row(COLUMNS, &event)?;
                }
                Ok(())
            })
            .await;
        match followed {
            // it never was there, or we said something wrong
            Err(Failure::Unavailable(reason)) if last.is_none() => {
                return Err(Failure::Unavailable(reason));
            }
            Ok(()) | Err(Failure::Unavailable(_)) if retries < RETRIES_MAX => {
                retries += 1;
                if retries == 1 && output.format() == Format::Plain {
                    note("connection lost, trying again");
                }
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
            Ok(()) => return Err(Failure::Unavailable("the stream ended".to_owned())),
            Err(failure) => return Err(failure),
        }
    }
}
