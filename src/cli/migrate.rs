//! `grantlog migrate`: how far the schemas of log and vault are, and bringing them up to date.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::configured::ConfigArgs;
use super::exit::Failure;
use super::output::{Column, Output};
use super::serve::log_to_stderr;
use crate::config::Config;
use crate::migrations::{Schema, Unfit};
use crate::server;

/// Brings log and vault to this program's schema, while nodes run.
#[derive(Debug, Args)]
pub struct MigrateArgs {
    #[command(subcommand)]
    command: MigrateCommand,
    #[command(flatten)]
    configuration: ConfigArgs,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum MigrateCommand {
    /// Tell which migrations are pending; exit code 6 if this program cannot serve without them
    Status,
    /// Apply pending migrations; programs before this one go on
    Up {
        /// Take away, too, what programs before this one use: when none of them runs any more
        #[arg(long)]
        contract: bool,
    },
}

const COLUMNS: &[Column] = &[
    ("STORE", "/store"),
    ("APPLIED", "/applied"),
    ("KNOWN", "/known"),
    ("STATE", "/state"),
];

/// Tells of migrations, after applying them if asked to.
///
/// # Errors
/// See [`Failure`]; [`Failure::Unavailable`] where this program cannot use a store as it is.
pub fn run(args: MigrateArgs, output: &mut Output) -> Result<(), Failure> {
    let config = args.configuration.load()?;
    if let MigrateCommand::Up { contract } = args.command {
        // which migration a database does without, for one
        log_to_stderr("warn");
        apply(&config, contract)?;
    }
    let schemas = schemas(&config)?;
    let rows: Vec<Value> = schemas.map(|(store, schema)| row(store, schema)).into();
    output.list(COLUMNS, &json!({ "stores": rows }), "stores")?;
    for (store, schema) in schemas {
        if let Err(unfit) = schema.check() {
            return Err(Failure::Unavailable(format!(
                "the {store} cannot be used: {unfit}"
            )));
        }
    }
    Ok(())
}

/// A store with nothing to apply is not opened for writing: a server may have it. A folder that is not there is a slip of
/// the pen.
fn apply(config: &Config, contract: bool) -> Result<(), Failure> {
    let folder = &config.store.data_dir;
    if config.store.database_url.is_none() && matches!(folder.try_exists(), Ok(false)) {
        return Err(Failure::Unavailable(format!(
            "there is no folder {}: the first start of `grantlog serve` makes it, or make it empty for a new store",
            folder.display()
        )));
    }
    let schemas = schemas(config)?;
    let is_pending = |schema: Schema| {
        let wanted = if contract {
            schema.known
        } else {
            schema.needed
        };
        schema.applied < wanted || schema.unfinished
    };
    if schemas.iter().any(|(_, schema)| is_pending(*schema)) {
        server::migrate(config, contract)?;
    }
    Ok(())
}

fn schemas(config: &Config) -> Result<[(&'static str, Schema); 2], Failure> {
    let store = &config.store;
    Ok(server::schemas(
        &store.data_dir,
        store.database_url.as_ref(),
    )?)
}

fn row(store: &str, schema: Schema) -> Value {
    let Schema { applied, known, .. } = schema;
    json!({ "store": store, "applied": applied, "known": known, "state": state(schema) })
}

fn state(schema: Schema) -> String {
    let Schema { applied, known, .. } = schema;
    match schema.check() {
        Err(Unfit::Behind { .. }) => format!("{} pending", known - applied),
        Err(Unfit::Ahead { .. }) => "needs a newer program".to_owned(),
        Err(Unfit::Unfinished) => "a move into it has not come to its end".to_owned(),
        Err(Unfit::Interrupted) => {
            "its writer was killed in the middle of a transaction".to_owned()
        }
        Ok(_) if schema.is_newer() => {
            "expanded by a newer program, which this one may use".to_owned()
        }
        Ok(_) if applied < known => {
            format!(
                "{} to contract, once no older program runs",
                known - applied
            )
        }
        Ok(_) => "up to date".to_owned(),
    }
}
