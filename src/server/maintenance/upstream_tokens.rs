//! Upstream tokens that nothing needs any more.

use chrono::TimeDelta;
use domain::Timestamp;
use domain::grant::Grant;
use domain::id::GrantId;
use uuid::Uuid;

use crate::app::Unavailable;
use crate::causes::chain;
use crate::http::Shared;

const AT_ONCE: u32 = 500;
/// Whoever is logging in has stored the tokens before the grant is there.
const UNTOUCHED: TimeDelta = TimeDelta::hours(1);
/// Tokens that are forgotten do not come back, should the clock go back.
const ENDED_SINCE: TimeDelta = TimeDelta::days(1);

/// Forgets upstream tokens of grants that have ended by themselves, or that a login never came to; a part of them at a time, from
/// `after` on. The read model only suggests; each grant's own stream decides. Returns from where to go on.
pub(super) async fn sweep(
    shared: &Shared,
    after: GrantId,
    now: Timestamp,
) -> Result<GrantId, Unavailable> {
    let vault = &shared.app.vault;
    let grants = vault.grants_with_upstream(after, now - UNTOUCHED, AT_ONCE);
    let mut grants = grants.await?;
    let is_end = grants.len() < AT_ONCE as usize;
    let last = grants.last().copied().filter(|_| !is_end);
    let reader = shared.reader.clone();
    let past = now - ENDED_SINCE;
    let ended = tokio::task::spawn_blocking(move || {
        grants.retain(|id| !matches!(reader.grant(*id, past), Ok(Some(grant)) if grant.live));
        grants
    });
    for id in ended.await.map_err(|_| Unavailable::BrokenOff)? {
        match shared.app.fresh::<Grant>(id).await {
            Ok(grant) if grant.live_until().is_some_and(|end| past < end) => {}
            Ok(_) => shared.app.forget_upstream_tokens(id).await,
            Err(error) if error.is_of_one() => {
                tracing::warn!(grant = %id, error = chain(&error), "a grant cannot be read");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(last.unwrap_or(GrantId(Uuid::nil())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::server::rig::{authorize, register, start};

    #[tokio::test]
    async fn upstream_tokens_go_when_their_grant_has_ended_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let (shared, follower) = start(folder.path()).await;
        let now = clock::now();
        let client = register(&shared, now).await;
        let ends = authorize(&shared, client, now).await;
        let later = now + TimeDelta::hours(20);
        let live = authorize(&shared, client, later).await;
        let none = GrantId(Uuid::nil());
        let kept = async |grant| shared.app.vault.upstream(grant).await.unwrap().is_some();
        let ended = now + TimeDelta::minutes(2) + ENDED_SINCE;
        for (at, ended) in [(now, false), (later, false), (ended, true)] {
            let swept = sweep(&shared, none, at).await.unwrap();
            assert_eq!(swept, none, "they were all that there are");
            assert_eq!((kept(ends).await, kept(live).await), (!ended, true));
        }
        shared.app.log.close().await;
        follower.end().await;
    }
}
