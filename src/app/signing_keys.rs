//! Signing keys, their use and their record.
//!
//! The vault has a key first, and what follows may break off. So the record is compared with the vault whenever a key may be new,
//! at each start and each minute, and what is missing is appended: one stream a key, so that one of several nodes does.

use chrono::TimeDelta;
use domain::Timestamp;
use domain::event::{Correlation, Event};
use domain::key::{self, Algorithm};

use super::follower::decode_entry;
use super::{App, Context, Unavailable};
use crate::keys::{KeyInfo, SigningKeys};
use crate::log::AppendError;
use crate::tokens::access::Rejection;

/// What happened to a key longer ago is on record, perhaps where another version of this program put it.
const COMPARED: TimeDelta = TimeDelta::days(1);

impl App {
    /// Makes sure that every proxy's access tokens can be signed; a new key is an event.
    ///
    /// # Errors
    /// A store failed.
    pub async fn ensure_signing_keys(&self, context: &Context) -> Result<(), Unavailable> {
        let mut algorithms = vec![Algorithm::default()];
        for (_, proxy) in self.directory.proxies() {
            if !algorithms.contains(&proxy.settings.token_alg) {
                algorithms.push(proxy.settings.token_alg);
            }
        }
        for alg in algorithms {
            self.vault.ensure_signing_key(alg, context.now).await?;
        }
        self.record_signing_keys(context).await
    }

    /// Makes sure that access tokens can be signed with `alg` before anything is spent on one: another node may have added a proxy,
    /// and its key, just now.
    ///
    /// # Errors
    /// A store failed.
    pub async fn ensure_signs(&self, alg: Algorithm, context: &Context) -> Result<(), Unavailable> {
        if self.vault.signing_keys().in_use(alg, context.now).is_some() {
            return Ok(());
        }
        Box::pin(self.ensure_signing_keys(context)).await
    }

    /// Judges a token by the signing keys; one that this node does not know yet may be another's
    /// new one.
    ///
    /// # Errors
    /// Whether it is cannot be told now.
    pub async fn by_signing_keys<T>(
        &self,
        judge: impl Fn(&SigningKeys) -> Result<T, Rejection>,
    ) -> Result<Result<T, Rejection>, Unavailable> {
        match judge(&self.vault.signing_keys()) {
            Err(Rejection::UnknownKey) if self.log.is_shared() => {
                self.vault.catch_up_now().await?;
                Ok(judge(&self.vault.signing_keys()))
            }
            judged => Ok(judged),
        }
    }

    /// Records what is missing.
    ///
    /// # Errors
    /// A store failed; what is missing then is recorded when this is called again.
    pub async fn record_signing_keys(&self, context: &Context) -> Result<(), Unavailable> {
        let keys = self.vault.signing_keys();
        let infos: Vec<&KeyInfo> = keys.infos().collect();
        let is_recent = |at: Timestamp| context.now - COMPARED < at;
        // Successors are created before their predecessors retire.
        for info in infos.iter().filter(|info| is_recent(info.created_at)) {
            let (kid, alg) = (info.kid.clone(), info.alg);
            let created = key::Event::Created(key::Created { kid, alg });
            self.record_of_key(&info.kid, created, context).await?;
        }
        for info in &infos {
            let successors = infos.iter().filter(|other| other.alg == info.alg);
            let later = successors.map(|other| other.created_at);
            let replaced_at = later.filter(|at| *at > info.created_at).min();
            if replaced_at.is_some_and(is_recent) {
                let kid = info.kid.clone();
                let retired = key::Event::Retired(key::Retired { kid });
                self.record_of_key(&info.kid, retired, context).await?;
            }
        }
        Ok(())
    }

    /// Records what happened to a key, unless it is on record.
    async fn record_of_key(
        &self,
        kid: &str,
        event: key::Event,
        context: &Context,
    ) -> Result<(), Unavailable> {
        let (stream, event) = (format!("signing-key-{kid}"), Event::from(event));
        let known = self.log.read_stream(&stream).await?;
        for stored in &known {
            let entry = decode_entry(stored)?;
            if entry.event.name() == event.name() {
                return Ok(());
            }
        }
        let version = known.len() as u64;
        let recorded = self.record_in(stream, version, event, Correlation::default(), context);
        match recorded.await {
            Ok(()) | Err(Unavailable::Append(AppendError::Conflict { .. })) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
