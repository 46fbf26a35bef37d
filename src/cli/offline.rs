//! The store opened without a server, read-only, for forensics: the reading requests of the
//! investigation API, answered with the same documents.

use std::collections::BTreeMap;
use std::path::Path;

use domain::id::GrantId;
use projections::{
    BadFilter, EventFilter, GrantFilter, LoginFilter, Page, ReadModelError, Reader, Until,
};
use serde::Serialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::exit::Failure;
use super::output::note;
use super::read_only::Stores;
use super::replay::rebuild;
use crate::causes::chain;
use crate::clock;
use crate::config::{self, Config};
use crate::investigation;
use crate::server::READ_MODEL_FILE;

/// A store, or a read model alone. Nothing is ever written to it.
pub struct Store {
    reader: Reader,
    /// Holds the read model of a store that has none.
    _folded: Option<TempDir>,
    /// Absent where a read model alone was named: it has no events.
    stores: Option<Stores>,
}

impl Store {
    /// The embedded store in a data folder, with its own read model or another one; or a read
    /// model alone.
    ///
    /// # Errors
    /// There is no such store.
    pub fn in_folder(data: Option<&Path>, read_model: Option<&Path>) -> Result<Self, Failure> {
        let Some(folder) = data else {
            let none = || Failure::Usage("expected --data or --read-model".to_owned());
            return Ok(Self {
                reader: reader(read_model.ok_or_else(none)?)?,
                stores: None,
                _folded: None,
            });
        };
        let config = configured("store.data_dir", folder.display().to_string())?;
        let stores = Stores::in_folder(&config, folder)?;
        let own = folder.join(READ_MODEL_FILE);
        // a copy has none
        let own = own.exists().then_some(own.as_path());
        Self::over(stores, read_model.or(own))
    }

    /// The store in a PostgreSQL database, with a read model of it.
    ///
    /// # Errors
    /// There is no such store, or its master key is not given (`GRANTLOG_KEYS__MASTER_KEY`).
    pub fn in_database(url: &str, read_model: Option<&Path>) -> Result<Self, Failure> {
        let stores = Stores::open(&configured("store.database_url", url.to_owned())?)?;
        Self::over(stores, read_model)
    }

    /// Without a read model the log is folded into a temporary file first.
    fn over(stores: Stores, read_model: Option<&Path>) -> Result<Self, Failure> {
        if let Some(path) = read_model {
            let reader = reader(path)?;
            let position = reader.position().map_err(unreadable)?;
            let behind = stores.log.head().saturating_sub(position);
            if behind > 0 && reader.as_of().map_err(unreadable)?.is_none() {
                note(&format!(
                    "incomplete: {} lacks the last {behind} entries of the log; `grantlog replay` makes a whole one",
                    path.display()
                ));
            }
            return Ok(Self {
                reader,
                stores: Some(stores),
                _folded: None,
            });
        }
        let folder = tempfile::tempdir()?;
        let path = folder.path().join(READ_MODEL_FILE);
        rebuild(&stores, &path, Until::End)?.place()?;
        Ok(Self {
            reader: reader(&path)?,
            stores: Some(stores),
            _folded: Some(folder),
        })
    }

    /// The answer to `GET {path}?{query}` of the investigation API (events, logins, grants,
    /// timeline).
    ///
    /// # Errors
    /// The path or a filter is not known; the store fails.
    pub async fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Value, Failure> {
        // Of a read model of the past everything is told as it was then.
        let as_of = self.reader.as_of().map_err(unreadable)?;
        let now = as_of.unwrap_or_else(clock::now);
        let pairs = || query.iter().map(|(name, value)| (*name, value.as_str()));
        let segments: Vec<&str> = path.trim_start_matches("/api/v1/").split('/').collect();
        match segments[..] {
            ["logins"] => {
                let filter = LoginFilter::parse(pairs(), now).map_err(bad)?;
                document(&self.reader.logins(&filter).map_err(unreadable)?)
            }
            ["grants"] => {
                let filter = GrantFilter::parse(pairs(), now).map_err(bad)?;
                document(&self.reader.grants(&filter, now).map_err(unreadable)?)
            }
            ["grants", id] => {
                let grant = self.reader.grant(grant_id(id)?, now).map_err(unreadable)?;
                document(&grant.ok_or_else(|| no_such("grant", id))?)
            }
            ["grants", id, "timeline"] => {
                let (stores, grant_id) = (self.stores()?, grant_id(id)?);
                let grant = self.reader.grant(grant_id, now).map_err(unreadable)?;
                // What happened after the instant that is shown contradicts how the grant stood then.
                let position = self.reader.position().map_err(unreadable)?;
                let end = as_of.map(|_| position);
                let (log, vault) = (&stores.log, &stores.vault);
                let story = investigation::timeline(log, vault, grant_id, grant.as_ref(), end);
                document(&story?.ok_or_else(|| no_such("grant", id))?)
            }
            ["events"] => {
                let filter = EventFilter::parse(pairs(), now).map_err(bad)?;
                let page = self.reader.events(&filter).map_err(unreadable)?;
                document(&Page {
                    rows: self.rendered(page.rows)?,
                    next: page.next,
                    watermark: page.watermark,
                })
            }
            ["events", position] => {
                let row = match position.parse() {
                    Ok(position) => self.reader.event(position).map_err(unreadable)?,
                    Err(_) => None,
                };
                let row = row.ok_or_else(|| no_such("event", position))?;
                document(&self.rendered(vec![row])?.pop())
            }
            ["event-types"] => {
                let types = domain::event::Event::TYPES.iter();
                let types = types.map(|(name, schema)| json!({"type": name, "schema": schema}));
                Ok(json!({ "data": types.collect::<Vec<_>>() }))
            }
            _ => Err(Failure::Usage(format!(
                "{path} is answered by a running server only"
            ))),
        }
    }

    fn rendered(
        &self,
        rows: Vec<projections::EventRow>,
    ) -> Result<Vec<investigation::RenderedEvent>, Failure> {
        let stores = self.stores()?;
        Ok(investigation::bodies_of(&stores.log, &stores.vault, rows)?)
    }

    fn stores(&self) -> Result<&Stores, Failure> {
        self.stores.as_ref().ok_or_else(|| {
            Failure::Usage("a read model alone has no events: name the log with --data".to_owned())
        })
    }
}

fn configured(key: &'static str, value: String) -> Result<Config, Failure> {
    Ok(config::load(None, &BTreeMap::from([(key, value)]))?)
}

fn reader(path: &Path) -> Result<Reader, Failure> {
    Reader::open(path).map_err(|error| {
        Failure::Unavailable(format!(
            "{}: {}; `grantlog replay` builds it from the log",
            path.display(),
            chain(&error)
        ))
    })
}

fn document<T: Serialize>(value: &T) -> Result<Value, Failure> {
    serde_json::to_value(value).map_err(|error| Failure::Error(error.to_string()))
}

fn grant_id(text: &str) -> Result<GrantId, Failure> {
    text.parse().map_err(|_| no_such("grant", text))
}

fn no_such(kind: &str, id: &str) -> Failure {
    Failure::NotFound(format!("there is no {kind} {id}"))
}

fn bad(filter: BadFilter) -> Failure {
    Failure::Usage(filter.to_string())
}

fn unreadable(error: ReadModelError) -> Failure {
    Failure::Unavailable(chain(&error))
}
