//! What has to be done from time to time. Each look starts from what is there: what broke off, at this node or another, is
//! done at the next one.

mod removals;
mod seals;
mod unused_clients;
mod upstream_tokens;
mod vault;

use std::time::Duration;

use chrono::TimeDelta;
use domain::Timestamp;
use domain::id::GrantId;
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

use crate::app::Context;
use crate::causes::chain;
use crate::clock;
use crate::http::Shared;

pub use seals::{seal, seal_the_rest, seal_until};
pub use vault::{catch_up, rewrap};

const EVERY: Duration = Duration::from_secs(60);
/// After a look at all removals, those of this time are looked at again: somebody may have logged in meanwhile.
const LOOK_BACK: TimeDelta = TimeDelta::days(1);

/// Runs until the service stops, whatever the stores are doing then.
pub async fn run(shared: Shared) {
    let stopping = shared.stopping.clone();
    let minutes = async {
        let mut minutes = tokio::time::interval(EVERY);
        minutes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut removed_since = Timestamp::UNIX_EPOCH;
        let mut swept = GrantId(Uuid::nil());
        loop {
            minutes.tick().await;
            let now = clock::now();
            look_after(&shared, now).await;
            match upstream_tokens::sweep(&shared, swept, now).await {
                Ok(last) => swept = last,
                Err(error) => tracing::warn!(
                    error = chain(&error),
                    "upstream tokens could not be looked through"
                ),
            }
            match removals::finish(&shared, removed_since, now).await {
                Ok(()) => removed_since = now - LOOK_BACK,
                Err(error) => {
                    tracing::warn!(error = chain(&error), "removals could not be finished");
                }
            }
        }
    };
    stopping.run_until_cancelled(minutes).await;
}

async fn look_after(shared: &Shared, now: Timestamp) {
    shared.rates.prune();
    shared.callbacks.prune();
    shared.app.revocations.prune(now);
    if let Err(error) = shared.app.vault.prepare(now).await {
        tracing::warn!(error = chain(&error), "keys could not be prepared");
    }
    let system = Context::system(now);
    if let Err(error) = shared.app.record_signing_keys(&system).await {
        tracing::warn!(error = chain(&error), "signing keys could not be recorded");
    }
    if let Some(unused) = shared.unused_client {
        unused_clients::expire(shared, now, unused).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_signing_key_is_recorded_once_whatever_broke_off() {
        let folder = tempfile::tempdir().unwrap();
        let (shared, follower) = crate::server::rig::start(folder.path()).await;
        let (now, app) = (clock::now(), &shared.app);
        let rotation = crate::vault::Rotation {
            publish_ahead: Duration::ZERO,
            keep_old: Duration::ZERO,
        };
        let alg = domain::key::Algorithm::default();
        let kid = app.vault.rotate_signing_key(alg, rotation, now).await;
        let kid = kid.unwrap();
        let before = app.log.head();
        for _ in 0..2 {
            look_after(&shared, now).await;
            assert_eq!(app.log.head(), before + 2, "its start, the other's end");
        }
        let stream = format!("signing-key-{kid}");
        assert_eq!(app.log.read_stream(&stream).await.unwrap().len(), 1);
        shared.app.log.close().await;
        follower.end().await;
    }
}
