//! The command line: one file a group of commands.
//!
//! Invariants: stdout carries data only; secrets are never taken from arguments; text from
//! outside reaches a terminal without controls; the exit code says what kind of failure it was.

mod administration;
mod bench;
mod client;
mod configured;
mod copies;
mod doctor;
mod events;
mod exit;
mod export;
mod grant;
mod init;
mod keys;
mod list;
mod logins;
mod member;
mod migrate;
mod moving;
mod offline;
mod operators;
mod output;
mod program;
mod progress;
mod read_only;
mod remote;
mod replay;
mod serve;
mod source;
mod text;
mod verify;

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use exit::{EXIT_CODES, Exit, Failure};
pub use output::{Format, FormatArgs, Output};
pub use progress::Progress;

/// Variables that begin with `GRANTLOG_`.
type Environment = BTreeMap<String, String>;

/// Event-sourced OAuth 2.1 authorization server and MCP gateway.
///
/// Every registration, authorization, redemption, refresh and revocation is an immutable event.
/// Start with `grantlog demo`; for real, `grantlog init`, then `grantlog serve`.
///
/// Data goes to standard output (a table on a terminal, tab-separated lines in a pipe, JSON on
/// request), everything else to standard error. Secrets are never taken from arguments: they are
/// read from standard input, files or the environment.
#[derive(Debug, Parser)]
#[command(name = "grantlog", version, after_help = EXIT_CODES, subcommand_required = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the whole job, theft included, on a throw-away store
    Demo {
        /// End after the story; exit code 0 only if every step held
        #[arg(long)]
        exit: bool,
    },
    /// Run the service
    Serve(Box<configured::ServeArgs>),
    /// Write a commented configuration, keys and the first operator
    Init(init::InitArgs),
    /// Check configuration, store, clock, keys, providers and URLs
    Doctor(doctor::DoctorArgs),
    /// Investigate: who logged in, from where, and what came of it
    Logins(Box<logins::LoginsArgs>),
    /// Investigate: the record itself
    Events(events::EventsArgs),
    /// Investigate, or end, what somebody was granted
    Grant(grant::GrantArgs),
    /// Rebuild read models from the log, or compare them with it
    Replay(replay::ReplayArgs),
    /// Check the log's integrity
    Verify(verify::VerifyArgs),
    /// Look after proxies
    Proxy(administration::CollectionArgs),
    /// Look after providers
    Provider(administration::CollectionArgs),
    /// Look after clients
    Client(client::ClientArgs),
    /// Look after operators
    Operator(operators::OperatorArgs),
    /// Look after API keys
    ApiKey(operators::ApiKeyArgs),
    /// Look after signing keys
    Keys(keys::KeysArgs),
    /// Copy the store
    Backup(copies::BackupArgs),
    /// Put a copy of the store back
    Restore(copies::RestoreArgs),
    Move(moving::MoveArgs),
    /// Tell of migrations, or apply them
    Migrate(migrate::MigrateArgs),
    Bench(bench::BenchArgs),
    /// Print a completion script for a shell
    Completions(program::CompletionsArgs),
    /// Print or write the manual pages
    Man(program::ManArgs),
    /// Print the version
    Version,
}

/// Runs the program as the process's arguments and environment say.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let mut output = Output::stdout(cli.format.format());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => {
            let done = runtime.block_on(dispatch(cli.command, &mut output));
            // A thread that still asks a store is waited for by nobody.
            runtime.shutdown_background();
            done
        }
        Err(error) => Err(Failure::Error(format!("cannot start: {error}"))),
    };
    let exit = match done {
        Ok(()) => Exit::Ok,
        Err(failure) => {
            // nobody to tell is no reason for another code
            let _ = anstream::stderr().write_all(failure.report().as_bytes());
            failure.exit()
        }
    };
    exit.into()
}

async fn dispatch(command: Command, output: &mut Output) -> Result<(), Failure> {
    let environment = crate::config::environment();
    let environment = &environment;
    #[cfg(unix)]
    if !matches!(command, Command::Completions(_) | Command::Man(_)) {
        // What the others write holds names, addresses or keys: it is for its owner alone.
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    }
    let is_text = matches!(
        command,
        Command::Demo { .. } | Command::Serve(_) | Command::Completions(_) | Command::Man(_)
    );
    if is_text && output.format() != Format::Plain {
        let reason = "this command prints no data that could be JSON";
        return Err(Failure::Usage(reason.to_owned()));
    }
    match command {
        Command::Demo { exit } => serve::demo(exit).await,
        Command::Serve(args) => serve::serve(args.load()?).await,
        Command::Init(args) => init::run(args, output).await,
        Command::Doctor(args) => doctor::run(args, output).await,
        Command::Logins(args) => logins::run(*args, environment, output).await,
        Command::Events(args) => events::run(args, environment, output).await,
        Command::Grant(args) => grant::run(args, environment, output).await,
        Command::Replay(args) => replay::run(args, output),
        Command::Verify(args) => verify::run(args, output).await,
        Command::Proxy(args) => administration::PROXIES.run(args, environment, output).await,
        Command::Provider(args) => {
            administration::PROVIDERS
                .run(args, environment, output)
                .await
        }
        Command::Client(args) => client::run(args, environment, output).await,
        Command::Operator(args) => operators::operator(args, environment, output).await,
        Command::ApiKey(args) => operators::api_key(args, environment, output).await,
        Command::Keys(args) => keys::run(args, environment, output).await,
        Command::Backup(args) => copies::backup(args, output).await,
        Command::Restore(args) => copies::restore(args, output),
        Command::Move(args) => moving::run(&args, environment, output),
        Command::Migrate(args) => migrate::run(args, output),
        Command::Bench(args) => bench::run(args, environment, output).await,
        Command::Completions(args) => program::completions(&args, output),
        Command::Man(args) => program::man(&args, output),
        Command::Version => program::version(output),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    /// A column of a member that no row has would be empty for ever.
    #[test]
    fn columns_name_members_that_rows_have() {
        fn check<T: projections::Listed>(columns: &[super::output::Column]) {
            for (title, pointer) in columns {
                let member = pointer[1..].split('/').next();
                let known = member.is_some_and(|member| T::COLUMNS.contains(&member));
                assert!(known, "{title} of {}", std::any::type_name::<T>());
            }
        }
        check::<projections::Login>(super::logins::COLUMNS);
        check::<projections::GrantAt>(super::grant::COLUMNS);
        check::<projections::Client>(super::client::COLUMNS);
        check::<projections::Operator>(super::operators::OPERATOR_COLUMNS);
        check::<projections::ApiKey>(super::operators::API_KEY_COLUMNS);
    }

    #[test]
    fn the_map_of_commands_holds_together() {
        Cli::command().debug_assert();
    }
}
