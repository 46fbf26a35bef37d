//! Every read of the record is an event. A walk through pages, a poll or a tail counts once, when
//! it begins.

use axum::http::StatusCode;
use chrono::TimeDelta;
use domain::Timestamp;
use domain::audit::{Event, Read};
use domain::event::Correlation;
use domain::id::OperatorId;
use quick_cache::sync::Cache;

use super::authentication::Authenticated;
use super::problem::Problem;
use super::{Parts, list::Query};
use crate::app::Context;

/// Who read what lately.
pub struct RecentReads(Cache<(OperatorId, &'static str, String), Timestamp>);

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

/// Parameters that go on with a read instead of beginning one.
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
        let continues = query.resumes || query.has_any(&CONTINUING);
        let searched = query.without(&CONTINUING);
        if searched.len() > QUERY_BYTES_MAX {
            return Err(Problem::new(
                StatusCode::URI_TOO_LONG,
                "query_too_long",
                "expected a query of at most 2048 bytes",
            ));
        }
        let now = operator.context.now;
        let key = (operator.id, route, searched.clone());
        let recent = self.reads.0.get(&key);
        if !continues || recent.is_none_or(|at| now - at > PAUSE_MAX) {
            let read = Event::Read(Read {
                route: route.to_owned(),
            });
            let context = Context {
                query: (!searched.is_empty()).then_some(searched),
                ..operator.context.clone()
            };
            self.shared
                .app
                .record("audit", read.into(), Correlation::default(), &context)
                .await?;
        }
        self.reads.0.insert(key, now);
        Ok(())
    }
}
