//! Reading the read models: blocking functions over read-only connections.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use domain::Timestamp;
use domain::id::{ClientId, GrantId, ProviderId, ProxyId, SubjectId};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};

use crate::events;
use crate::filter::Paging;
use crate::model::{next, open_read_only};
use crate::sql::{Columns, micros};
use crate::{
    ApiKey, Client, ClientFilter, EventFilter, EventRow, GrantAt, GrantFilter, Login, LoginFilter,
    Operator, Page, Provider, Proxy, ReadModelError, api_keys, clients, grants, logins, operators,
    providers, proxies,
};

/// Reads a read model while it is being written; cheap to clone. Each answer comes from one state
/// of all tables. Everything blocks: call it where blocking is allowed.
#[derive(Clone)]
pub struct Reader {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

const IDLE_MAX: usize = 8;

/// Whose grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Those given to a client.
    Client(ClientId),
    /// Those given at a proxy.
    Proxy(ProxyId),
    /// Those whose login came through a provider.
    Provider(ProviderId),
    /// Those a person gave.
    Subject(SubjectId),
}

impl Reader {
    /// Opens a read model that exists.
    ///
    /// # Errors
    /// The file is missing, something else, of another version, or cannot be used.
    pub fn open(path: &Path) -> Result<Self, ReadModelError> {
        let shared = Shared {
            path: path.to_owned(),
            idle: Mutex::new(vec![open_read_only(path)?]),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// The next position that will be folded: everything below it is known here.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn position(&self) -> Result<u64, ReadModelError> {
        self.read(next)
    }

    /// The instant of the past that the file shows, by which its grants are to be judged. `None`: it
    /// follows the log, or has all of it.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn as_of(&self) -> Result<Option<Timestamp>, ReadModelError> {
        self.read(|db| {
            db.query_row("SELECT at FROM as_of", [], |row| row.at("at"))
                .optional()
        })
    }

    /// Login history.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn logins(&self, filter: &LoginFilter) -> Result<Page<Login>, ReadModelError> {
        self.read(|db| {
            let query = filter.sql(db)?;
            page(
                db,
                &filter.paging,
                rows(db, query, logins::read)?,
                |login| login.position,
            )
        })
    }

    /// Grants, live and past, as they stand at `now`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn grants(
        &self,
        filter: &GrantFilter,
        now: Timestamp,
    ) -> Result<Page<GrantAt>, ReadModelError> {
        self.read(|db| {
            let found = rows(db, filter.sql(db)?, grants::read)?;
            let page = page(db, &filter.paging, found, |grant| grant.first_position)?;
            Ok(page.map(|grant| grant.at(now)))
        })
    }

    /// A grant as it stands at `now`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn grant(&self, id: GrantId, now: Timestamp) -> Result<Option<GrantAt>, ReadModelError> {
        let grant = self.one("SELECT * FROM grants WHERE grant_id = ?", id, grants::read)?;
        Ok(grant.map(|grant| grant.at(now)))
    }

    /// Clients, gone ones included.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn clients(&self, filter: &ClientFilter) -> Result<Page<Client>, ReadModelError> {
        self.read(|db| {
            let query = filter.sql(db)?;
            page(
                db,
                &filter.paging,
                rows(db, query, clients::read)?,
                |client| client.position,
            )
        })
    }

    /// A client, gone or not.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn client(&self, id: ClientId) -> Result<Option<Client>, ReadModelError> {
        self.one(
            "SELECT * FROM clients WHERE client_id = ?",
            id,
            clients::read,
        )
    }

    /// What events can be found by; their bodies are in the log.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn events(&self, filter: &EventFilter) -> Result<Page<EventRow>, ReadModelError> {
        self.read(|db| {
            let mut found = Vec::new();
            events::search(db, &filter.search(), |row| {
                found.push(row);
                if found.len() > filter.paging.limit {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })?;
            page(db, &filter.paging, found, |event| event.position)
        })
    }

    /// What the event at a position can be found by.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn event(&self, position: u64) -> Result<Option<EventRow>, ReadModelError> {
        self.read(|db| events::load(db, position))
    }

    /// Every proxy that ever was, by number.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn proxies(&self) -> Result<Vec<Proxy>, ReadModelError> {
        self.all("SELECT * FROM proxies ORDER BY proxy_id", proxies::read)
    }

    /// Every provider that ever was, by number.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn providers(&self) -> Result<Vec<Provider>, ReadModelError> {
        self.all(
            "SELECT * FROM providers ORDER BY provider_id",
            providers::read,
        )
    }

    /// Every operator there ever was, the first ones first.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn operators(&self) -> Result<Vec<Operator>, ReadModelError> {
        self.all(
            "SELECT * FROM operators ORDER BY added_at, operator_id",
            operators::read,
        )
    }

    /// Every API key there ever was, the first ones first.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn api_keys(&self) -> Result<Vec<ApiKey>, ReadModelError> {
        self.all(
            "SELECT * FROM api_keys ORDER BY issued_at, api_key_id",
            api_keys::read,
        )
    }

    /// Revoked grants with access tokens that have not ended at `now`, each with the end of the
    /// last of them.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn revocations(&self, now: Timestamp) -> Result<Vec<(GrantId, Timestamp)>, ReadModelError> {
        self.read(|db| {
            let query = (REVOCATIONS.to_owned(), vec![Value::Integer(micros(now))]);
            rows(db, query, |row| {
                let grant = grants::read(row)?;
                Ok((grant.grant_id, grant.access_tokens_expire_at.unwrap_or(now)))
            })
        })
    }

    /// Clients that registered before an instant and that nobody ever authorized, the oldest
    /// first.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn unused_clients(
        &self,
        registered_before: Timestamp,
        limit: usize,
    ) -> Result<Vec<ClientId>, ReadModelError> {
        self.read(|db| {
            let values = [micros(registered_before), limit as i64];
            let query = (UNUSED.to_owned(), values.map(Value::Integer).to_vec());
            rows(db, query, |row| Ok(clients::read(row)?.client_id))
        })
    }

    /// The grants of somebody or something that are worth anything at `now`, in order.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn live_grants_of(&self, of: Of, now: Timestamp) -> Result<Vec<GrantId>, ReadModelError> {
        let (sql, value) = live_grants(of);
        self.read(|db| {
            let query = (sql, vec![value, Value::Integer(micros(now))]);
            rows(db, query, |row| Ok(grants::read(row)?.grant_id))
        })
    }

    fn all<T>(
        &self,
        sql: &str,
        read: fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, ReadModelError> {
        self.read(|db| rows(db, (sql.to_owned(), Vec::new()), read))
    }

    fn one<T>(
        &self,
        sql: &str,
        id: impl ToString,
        read: fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, ReadModelError> {
        self.read(|db| {
            db.prepare_cached(sql)?
                .query_row([id.to_string()], read)
                .optional()
        })
    }

    /// Runs a query in one transaction of a connection of its own.
    pub(crate) fn read<T>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, ReadModelError> {
        let idle = || {
            self.shared
                .idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        let kept = idle().pop();
        let db = match kept {
            Some(db) => db,
            None => open_read_only(&self.shared.path)?,
        };
        let transaction = db.unchecked_transaction()?;
        let answer = query(&transaction)?;
        transaction.commit()?;
        let mut idle = idle();
        if idle.len() < IDLE_MAX {
            idle.push(db);
        }
        Ok(answer)
    }
}

pub(crate) const REVOCATIONS: &str = "SELECT * FROM grants \
    WHERE revoked_at IS NOT NULL AND access_tokens_expire_at > ?";

pub(crate) const UNUSED: &str = "SELECT * FROM clients WHERE first_authorized_at IS NULL \
    AND ended_at IS NULL AND registered_at < ? ORDER BY registered_at LIMIT ?";

pub(crate) fn live_grants(of: Of) -> (String, Value) {
    let (column, value) = match of {
        Of::Client(id) => ("client_id", Value::Text(id.to_string())),
        Of::Proxy(id) => ("proxy_id", Value::Integer(id.0.into())),
        Of::Provider(id) => ("provider_id", Value::Integer(id.0.into())),
        Of::Subject(id) => ("subject", Value::Text(id.to_string())),
    };
    let sql = format!(
        "SELECT * FROM grants WHERE {column} = ? AND live_until > ? ORDER BY first_position"
    );
    (sql, value)
}

pub(crate) fn rows<T>(
    db: &Connection,
    (sql, values): (String, Vec<Value>),
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    db.prepare_cached(&sql)?
        .query_map(params_from_iter(values), read)?
        .collect()
}

/// A page of the rows that were found: at most one too many.
fn page<R>(
    db: &Connection,
    paging: &Paging,
    rows: Vec<R>,
    position: impl Fn(&R) -> u64,
) -> rusqlite::Result<Page<R>> {
    let watermark = next(db)?.checked_sub(1);
    Ok(paging.cut(rows, |row| position(row).to_be_bytes().to_vec(), watermark))
}
