//! `grantlog serve`, `demo`, and what `init` has the first start make.

use std::pin::pin;

use tracing_subscriber::EnvFilter;

use super::exit::Failure;
use super::output::note;
use crate::app::LoadError;
use crate::causes::chain;
use crate::config::Config;
use crate::demo;
use crate::log::OpenError;
use crate::secret::Secret;
use crate::server::{self, Running, StartError};

/// Serves until SIGINT or SIGTERM.
///
/// # Errors
/// The service cannot start.
pub async fn serve(config: Config) -> Result<(), Failure> {
    log_to_stderr("info");
    server::raise_descriptor_limit();
    // Before anybody can see that it is ready, and end it.
    let mut stopped = pin!(server::stopped());
    let bound = tokio::select! {
        bound = server::bind(config) => bound?,
        // A store that does not answer may keep it waiting.
        () = &mut stopped => return Ok(()),
    };
    let running = bound.start().await?;
    announce(&running);
    stopped.await;
    running.stop().await;
    Ok(())
}

/// Shows the whole job, then serves on; or, with `exit`, ends.
///
/// # Errors
/// A step of the story did not hold.
pub async fn demo(exit: bool) -> Result<(), Failure> {
    log_to_stderr("error");
    demo::run(exit)
        .await
        .map_err(|error| Failure::Error(chain(&error)))
}

/// Makes what the first start would make: data folder, keys, first operator. Returns the
/// operator's token where one was drawn rather than configured.
///
/// # Errors
/// As for a start, but nothing is listened at.
pub async fn prepare(config: &Config) -> Result<Option<Secret>, Failure> {
    Ok(server::prepare(config).await?)
}

fn announce(running: &Running) {
    tracing::info!(
        server = %running.server_addr,
        gateway = %running.gateway_addr,
        ops = %running.ops_addr,
        version = env!("CARGO_PKG_VERSION"),
        "grantlog serves"
    );
    if let Some(token) = &running.new_bootstrap_token {
        note(&format!(
            "first operator's token, shown this once (GRANTLOG_TOKEN takes it): {}",
            token.expose()
        ));
    }
}

/// Messages are JSON for machines, text on a terminal; `GRANTLOG_LOG` chooses which.
pub(super) fn log_to_stderr(default: &str) {
    use std::io::IsTerminal;
    let environment = crate::config::environment();
    let chosen = environment.get("GRANTLOG_LOG").map(EnvFilter::try_new);
    let filter = match chosen {
        Some(Ok(filter)) => filter,
        Some(Err(_)) => {
            note("GRANTLOG_LOG: expected a filter such as info,grantlog=debug");
            EnvFilter::new(default)
        }
        None => EnvFilter::new(default),
    };
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // Complaining on stderr that stderr cannot be written would panic.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    // A second start in one process keeps the first one's choice.
    let _ = if std::io::stderr().is_terminal() {
        subscriber.try_init()
    } else {
        subscriber.json().flatten_event(true).try_init()
    };
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let text = chain(&error);
        match error {
            StartError::Log(OpenError::Read(error)) => error.into(),
            StartError::Store(error) | StartError::Load(LoadError::Log(error)) => error.into(),
            StartError::MasterKey(_) => Self::Secret(text),
            StartError::Vault(error) if error.is_configuration() => Self::Secret(text),
            StartError::Declared(_) => Self::Secret(text),
            StartError::InUse(_)
            | StartError::LogMissing
            | StartError::VaultMissing { .. }
            | StartError::Log(_)
            | StartError::Vault(_)
            | StartError::Load(LoadError::ReadModel(_))
            | StartError::Stopped
            | StartError::DataFolder(_) => Self::Unavailable(text),
            StartError::Listen { .. } | StartError::Tls(_) => Self::Error(text),
        }
    }
}
