//! Every read of the record is an event. A walk through pages, a poll or a tail counts once, when
//! it begins.

use axum::http::StatusCode;
use chrono::TimeDelta;
use domain::Timestamp;
use domain::audit::{Event, Read};
use domain::event::Correlation;
use domain::id::OperatorId;
use domain::secret::redacted;
use quick_cache::sync::Cache;

use super::authentication::Authenticated;
use super::problem::Problem;
use super::{Parts, list::Query};
use crate::app::Context;

/// Who read what lately.
pub struct RecentReads(Cache<(OperatorId, &'static str, String), Last>);

/// The last of the requests that make one read.
#[derive(Clone, Copy)]
struct Last {
    at: Timestamp,
    after: Option<u64>,
}

impl Default for RecentReads {
    fn default() -> Self {
        Self(Cache::new(REMEMBERED))
    }
}

const REMEMBERED: usize = 1024;
/// A walk or a poll that pauses longer begins anew.
const PAUSE_MAX: TimeDelta = TimeDelta::minutes(10);
/// A query is kept for ever, so no more of it than a person would write.
const QUERY_BYTES_MAX: usize = 2048;

/// Parameters by which one read is told in several requests; whoever goes back with `after` reads anew.
const CONTINUING: [&str; 3] = ["cursor", "after", "min_position"];

impl Parts {
    /// Records that an operator reads, unless this goes on with a read that was recorded.
    ///
    /// # Errors
    /// It cannot be recorded; then nothing may be shown.
    pub(super) async fn record_read(
        &self,
        operator: &Authenticated,
        route: &'static str,
        query: &Query,
    ) -> Result<(), Problem> {
        let resumes = query.resumed_after.is_some() || query.has_any(&CONTINUING);
        let after_sent = || query.pairs().find(|(name, _)| *name == "after");
        let after = query.begins_behind.or(query.resumed_after);
        let after = after.or_else(|| after_sent()?.1.parse().ok());
        let searched = query.without(&CONTINUING);
        let told = query.without(&["cursor", "min_position"]);
        if told.len() > QUERY_BYTES_MAX {
            return Err(Problem::new(
                StatusCode::URI_TOO_LONG,
                "query_too_long",
                "expected a query of at most 2048 bytes",
            ));
        }
        let now = operator.context.now;
        let key = (operator.id, route, searched.clone());
        let recent = self.reads.0.get(&key);
        let goes_on = |last: Last| resumes && now - last.at <= PAUSE_MAX && last.after <= after;
        if !recent.is_some_and(goes_on) {
            self.record(operator, route, &told).await?;
        }
        self.reads.0.insert(key, Last { at: now, after });
        Ok(())
    }

    /// Records that an operator reads what was `searched`.
    ///
    /// # Errors
    /// It cannot be recorded; then nothing may be shown.
    pub(super) async fn record(
        &self,
        operator: &Authenticated,
        route: &'static str,
        searched: &str,
    ) -> Result<(), Problem> {
        let read = Event::Read(Read {
            route: route.to_owned(),
        });
        let context = Context {
            query: (!searched.is_empty()).then(|| redacted(searched)),
            ..operator.context.clone()
        };
        self.shared
            .app
            .record("audit", read.into(), Correlation::default(), &context)
            .await?;
        Ok(())
    }
}
