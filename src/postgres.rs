//! Connections to PostgreSQL, for those who keep something there: the event log and the vault.
//!
//! The driver is tokio-postgres rather than sqlx: it pipelines, so that a transaction of several statements takes two round
//! trips instead of five while the log's head row is held, and it knows statements without a name and with given types
//! ([`query_typed`](Client::query_typed), one round trip), the only kind that every transaction-pooling proxy lets pass.
//!
//! # What holds
//! - **TLS is verified or off.** Unlike in libpq, `sslmode=require` checks the certificate and its name as `verify-full` does,
//!   against the system's roots or `sslrootcert`; there is no mode that can be talked out of TLS. Without `sslmode`, TLS is
//!   used unless every host is a Unix socket or this machine.
//! - **Only transactions carry settings.** What is set for a session is lost or leaks behind a transaction-pooling proxy, so
//!   time-outs are part of [`BEGIN_READ`] and [`BEGIN_WRITE`]. Nothing relies on session state, or leaves any: no named
//!   statement, no advisory lock, no temporary table, no `search_path` (name the schema in every statement), and no `LISTEN`:
//!   PgBouncer 1.18 gives one client another one's answer where a notification arrives while it tries a session out.
//! - **Nothing is sent ahead** of the answer that ends a transaction: the session behind it may be another one's by then.
//! - **A connection that failed is not used again.** A [`Lease`] goes back to the pool only by [`Lease::release`]; a future
//!   dropped half-way closes its connection, and the server rolls back.
//! - **Nothing waits for ever.** Connecting, waiting for a connection and every [`within`] end by themselves.
//! - The URL, which may hold a password, is in no error and no Debug output.
//!
//! Sockets and timers live on threads of their own: a [`Postgres`] may be used from any runtime, or from a thread without one.

mod url;

pub use url::check;

use std::fmt;
use std::future::poll_fn;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::error::{Severity, SqlState};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, NoTls, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::causes::chain;

/// How long connecting to one host may take, in all steps, and how long a connection is waited for.
const CONNECT: Duration = Duration::from_secs(3);
const LEASE: Duration = Duration::from_secs(5);

/// How long any one exchange is waited for; longer than the server's own time-outs, so that its answer comes first.
const ANSWER: Duration = Duration::from_secs(20);

/// A peer that is gone is noticed after so long, also while nothing is asked of it.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// Begins a transaction that reads, with the time-outs that end it.
pub const BEGIN_READ: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; \
    SET LOCAL statement_timeout = '15s'; SET LOCAL idle_in_transaction_session_timeout = '5s'";

/// Begins a transaction that writes, with the time-outs that end it: a process that stops in the middle (or its network) holds
/// its locks for 5 s at most, and others wait longer than that. A commit is answered when it is durable, whatever the server's
/// default; `remote_apply`, which promises more than `on`, is left.
pub const BEGIN_WRITE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; \
    SET LOCAL statement_timeout = '15s'; SET LOCAL idle_in_transaction_session_timeout = '5s'; SET LOCAL lock_timeout = '8s'; \
    SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') <> 'remote_apply'";

/// A PostgreSQL server and a bounded pool of connections to it; clones share both.
#[derive(Clone)]
pub struct Postgres(Arc<Inner>);

struct Inner {
    /// One for each host of the URL, in the order in which they are tried.
    hosts: Vec<Config>,
    tls: Option<MakeRustlsConnect>,
    connections: usize,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
    /// Taken only when this is dropped.
    runtime: Option<Runtime>,
}

/// A connection for one user at a time. Dropping it closes it; [`release`](Self::release) gives it back.
pub struct Lease {
    /// Taken only by `release`.
    connection: Option<Connection>,
    pool: Arc<Inner>,
    _permit: OwnedSemaphorePermit,
}

/// An open connection; dropping it closes the socket at once, so that the server rolls back what was begun.
struct Connection {
    client: Client,
    driver: AbortHandle,
}

/// Why something could not be done with PostgreSQL: text for the operator, never for a client.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The URL is not one, or asks for what is not there.
    #[error("the database URL is not usable: {0}")]
    Url(String),
    /// There is no answer, or none that tells what happened.
    #[error("PostgreSQL does not answer: {0}")]
    Unreachable(String),
    /// What is stored is not what is ever written.
    #[error("PostgreSQL holds {0}")]
    Unexpected(String),
    /// The server says no. Its details, which may hold values, are left out.
    #[error("PostgreSQL says {} {message}", .code.code())]
    Refused {
        /// What went wrong.
        code: SqlState,
        /// The session goes on, and its transaction has not been committed.
        survived: bool,
        /// The server's words.
        message: String,
    },
}

impl Error {
    /// Whether the transaction lost a race against another and the same work may succeed when it is begun anew.
    pub fn lost_race(&self) -> bool {
        self.is(&SqlState::T_R_SERIALIZATION_FAILURE) || self.is(&SqlState::T_R_DEADLOCK_DETECTED)
    }

    /// Whether the server answered with this code.
    pub fn is(&self, expected: &SqlState) -> bool {
        matches!(self, Self::Refused { code, .. } if code == expected)
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(refusal) => Self::Refused {
                code: refusal.code().clone(),
                survived: is_survived(
                    refusal.parsed_severity(),
                    refusal.severity(),
                    refusal.code(),
                ),
                message: refusal.message().to_owned(),
            },
            None => Self::Unreachable(chain(&error)),
        }
    }
}

/// Whether a refusal is the answer of a server that goes on; its severity may be told in the server's language only.
fn is_survived(severity: Option<Severity>, said: &str, code: &SqlState) -> bool {
    let is_error = severity.map_or(said == "ERROR", |severity| severity == Severity::Error);
    // A proxy may tell so that it has lost the server, which may have committed.
    let is_lost = ["08", "57P", "58"]
        .iter()
        .any(|class| code.code().starts_with(class));
    is_error && !is_lost
}

/// Waits for one exchange with the server, but not for ever.
///
/// # Errors
/// Those of the exchange, or that it took too long.
pub async fn within<T, E: Into<Error>>(
    exchange: impl Future<Output = Result<T, E>>,
) -> Result<T, Error> {
    let answer = tokio::time::timeout(ANSWER, exchange).await;
    answer.map_or_else(
        |_| Err(late("it has been asked", ANSWER)),
        |answer| answer.map_err(Into::into),
    )
}

fn late(since: &str, after: Duration) -> Error {
    Error::Unreachable(format!("no answer {} s after {since}", after.as_secs()))
}

impl Postgres {
    /// Reads a `postgres://` URL; nothing is connected yet. At most `connections` will be open at once.
    ///
    /// # Errors
    /// The URL is not one, or the roots that its TLS needs cannot be read.
    pub fn new(url: &str, connections: usize) -> Result<Self, Error> {
        let (mut hosts, asked) = url::parse(url)?;
        let tls = asked.tls(&hosts)?;
        for config in &mut hosts {
            prepare(config, tls.is_some());
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("postgres")
            .enable_all()
            .build()
            .map_err(|error| Error::Unreachable(format!("no threads to run on: {error}")))?;
        Ok(Self(Arc::new(Inner {
            hosts,
            tls,
            connections,
            permits: Arc::new(Semaphore::new(connections)),
            idle: Mutex::default(),
            runtime: Some(runtime),
        })))
    }

    /// A connection from the pool, or a new one.
    ///
    /// # Errors
    /// None becomes free in time, or the server cannot be reached or refuses.
    pub async fn lease(&self) -> Result<Lease, Error> {
        let pool = Arc::clone(&self.0);
        self.spawn(async move {
            let turn = tokio::time::timeout(LEASE, Arc::clone(&pool.permits).acquire_owned());
            let permit = turn
                .await
                .map_err(|_| late("a connection was wanted and all were in use", LEASE))?;
            // The semaphore is never closed.
            let permit = permit.map_err(|error| Error::Unreachable(error.to_string()))?;
            let idle = pool.idle().pop_if(|_| true);
            let connection = match idle {
                Some(connection) if !connection.client.is_closed() => connection,
                _ => pool.connect().await?,
            };
            Ok(Lease {
                connection: Some(connection),
                pool,
                _permit: permit,
            })
        })
        .await
    }

    /// Closes the connections that nobody uses.
    pub fn rest(&self) {
        self.0.idle().clear();
    }

    /// Runs a task on this store's threads; it goes on if the answer is no longer waited for.
    ///
    /// # Errors
    /// Those of the task, or that it ended without an answer.
    pub async fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let answer = self.0.runtime().spawn(task).await;
        answer.unwrap_or_else(|error| Err(Error::Unreachable(error.to_string())))
    }

    /// Starts a task on this store's threads, which runs until it ends or is aborted.
    pub fn start(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        self.0.runtime().spawn(task).abort_handle()
    }

    /// Runs a future on the calling thread, which stands still meanwhile.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        let _timers = self.0.runtime().enter();
        // A thread of another runtime may have used up the budget after which futures wait for that runtime, which stands still.
        futures_executor::block_on(tokio::task::unconstrained(future))
    }
}

fn prepare(config: &mut Config, tls: bool) {
    config.ssl_mode(if tls {
        SslMode::Require
    } else {
        SslMode::Disable
    });
    config.connect_timeout(CONNECT).tcp_user_timeout(KEEPALIVE);
    config
        .keepalives_idle(KEEPALIVE)
        .keepalives_interval(KEEPALIVE / 5)
        .keepalives_retries(3);
    // After a failover a name or a list of hosts may still lead to what is now a standby.
    config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    if config.get_application_name().is_none() {
        config.application_name("grantlog");
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").finish_non_exhaustive()
    }
}

impl Lease {
    /// Gives the connection back, with no transaction open on it.
    pub fn release(mut self) {
        let mut idle = self.pool.idle();
        if let Some(connection) = self.connection.take()
            && idle.len() < self.pool.connections
        {
            idle.push(connection);
        }
    }

    fn connection(&self) -> &Connection {
        self.connection
            .as_ref()
            .expect("only release takes it, and takes the lease too")
    }
}

impl Deref for Lease {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.connection().client
    }
}

impl Inner {
    /// Connects to the first host that lets itself be written. The driver would try them all by itself, but has no limit for a host
    /// that accepts and says nothing.
    async fn connect(&self) -> Result<Connection, Error> {
        let mut outcome = Err(Error::Unreachable("there is no host".to_owned()));
        for config in &self.hosts {
            let connecting = async {
                match &self.tls {
                    Some(tls) => self.connect_by(config, tls.clone()).await,
                    None => self.connect_by(config, NoTls).await,
                }
            };
            // Those of a `host` parameter are still several.
            let limit = CONNECT * config.get_hosts().len().max(1) as u32;
            outcome = tokio::time::timeout(limit, connecting)
                .await
                .unwrap_or_else(|_| Err(late("connecting has begun", limit)));
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    async fn connect_by<T>(&self, config: &Config, tls: T) -> Result<Connection, Error>
    where
        T: MakeTlsConnect<Socket> + 'static,
        T::Stream: Send + 'static,
    {
        let (client, mut stream) = config.connect(tls).await?;
        let driver = self.runtime().spawn(async move {
            // An error here is also the answer to whoever waits for one.
            while let Some(Ok(_)) = poll_fn(|cx| stream.poll_message(cx)).await {}
        });
        Ok(Connection {
            client,
            driver: driver.abort_handle(),
        })
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn runtime(&self) -> &tokio::runtime::Handle {
        self.runtime.as_ref().expect("only drop takes it").handle()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_error_of_the_server_itself_says_that_nothing_was_committed() {
        let conflict = &SqlState::UNIQUE_VIOLATION;
        assert!(is_survived(Some(Severity::Error), "FEHLER", conflict));
        assert!(is_survived(None, "ERROR", conflict));
        assert!(!is_survived(Some(Severity::Fatal), "ERROR", conflict));
        assert!(!is_survived(None, "FATAL", conflict));
        for lost in [
            SqlState::CONNECTION_FAILURE,
            SqlState::PROTOCOL_VIOLATION,
            SqlState::ADMIN_SHUTDOWN,
            SqlState::SYSTEM_ERROR,
        ] {
            assert!(!is_survived(Some(Severity::Error), "ERROR", &lost));
        }
        // Cancelled, which ends before a commit or not at all.
        let cancelled = &SqlState::QUERY_CANCELED;
        assert!(is_survived(Some(Severity::Error), "ERROR", cancelled));
    }
}
