//! `grantlog logins`: who logged in, from where, with which client, and what came of it.

use clap::Args;

use super::Environment;
use super::exit::Failure;
use super::list::{self, ListArgs, query};
use super::output::{Column, Output};
use super::source::{ServerArgs, Source, StoreArgs};

/// Filters of the login history.
#[derive(Debug, Args)]
pub struct LoginsArgs {
    /// Only this subject
    #[arg(long)]
    subject: Option<String>,
    /// Only this e-mail address
    #[arg(long)]
    email: Option<String>,
    /// Only this client
    #[arg(long, value_name = "CLIENT_ID")]
    client: Option<String>,
    /// Only this proxy
    #[arg(long, value_name = "N")]
    proxy: Option<u32>,
    /// Only this provider
    #[arg(long, value_name = "N")]
    provider: Option<u32>,
    /// Only from this address or network
    #[arg(long, value_name = "ADDRESS|CIDR")]
    ip: Option<String>,
    /// Only with this outcome
    #[arg(long, value_parser = ["success", "failure", "denied"])]
    outcome: Option<String>,
    /// Only for this reason
    #[arg(long)]
    reason: Option<String>,
    /// From then on: a time, a date, or an age such as -24h
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    since: Option<String>,
    /// Until then
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    until: Option<String>,
    #[command(flatten)]
    list: ListArgs,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    store: StoreArgs,
}

pub(super) const COLUMNS: &[Column] = &[
    ("STARTED", "/started_at"),
    ("OUTCOME", "/outcome"),
    ("EMAIL", "/email"),
    ("CLIENT", "/client_name"),
    ("PROXY", "/proxy_id"),
    ("IP", "/ip"),
    ("REASON", "/reason"),
    ("SUBJECT", "/subject"),
    ("GRANT", "/grant_id"),
];

/// Prints the login history.
///
/// # Errors
/// See [`Failure`].
pub async fn run(
    args: LoginsArgs,
    environment: &Environment,
    output: &mut Output,
) -> Result<(), Failure> {
    let source = Source::open(&args.server, &args.store, environment)?;
    let mut filters = query([
        ("subject", args.subject),
        ("email", args.email),
        ("client_id", args.client),
        ("proxy_id", args.proxy.map(|n| n.to_string())),
        ("provider_id", args.provider.map(|n| n.to_string())),
        ("ip", args.ip),
        ("outcome", args.outcome),
        ("reason", args.reason),
        ("since", args.since),
        ("until", args.until),
    ]);
    filters.extend(args.list.query());
    let limit = args.list.limit.get();
    list::print(&source, output, COLUMNS, "/api/v1/logins", &filters, limit).await
}
