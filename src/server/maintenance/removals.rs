//! Removals that broke off half-way, or met somebody who was logging in.

use domain::Timestamp;
use domain::grant::RevocationReason;
use projections::Of;

use crate::app::{Context, Unavailable};
use crate::http::Shared;

/// Revokes the grants of what was removed, where that broke off or somebody was logging in.
pub(super) async fn finish(
    shared: &Shared,
    since: Timestamp,
    now: Timestamp,
) -> Result<(), Unavailable> {
    shared.app.read_model_is_current().await?;
    let reader = shared.reader.clone();
    let unfinished = tokio::task::spawn_blocking(move || reader.removed_with_grants(since, now));
    let unfinished = unfinished.await.map_err(|_| Unavailable::BrokenOff)?;
    let mut finished = Ok(());
    for of in unfinished? {
        let reason = match of {
            Of::Client(_) => RevocationReason::ClientRemoved,
            Of::Proxy(_) => RevocationReason::ProxyRemoved,
            Of::Provider(_) => RevocationReason::ProviderRemoved,
            // People are not removed.
            Of::Subject(_) => continue,
        };
        let (app, system) = (&shared.app, Context::system(now));
        match app.revoke_all(&shared.reader, of, &reason, &system).await {
            // A grant that stands in the way of one does not in that of the others.
            Err(error) if error.is_of_one() => finished = Err(error),
            revoked => revoked?,
        }
    }
    finished
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use domain::client::{self, Client, Command};
    use domain::grant::Grant;
    use domain::id::OperatorId;
    use uuid::Uuid;

    use super::*;
    use crate::clock;
    use crate::server::rig::{authorize, register, start};

    #[tokio::test]
    async fn a_removal_that_broke_off_is_finished() {
        let folder = tempfile::tempdir().unwrap();
        let (shared, follower) = start(folder.path()).await;
        let now = clock::now();
        let context = Context::system(now);
        let [removed, stays] = [register(&shared, now).await, register(&shared, now).await];
        let [of_removed, live] = [
            authorize(&shared, removed, now).await,
            authorize(&shared, stays, now).await,
        ];
        let command = Command::Remove(client::Remover::Operator(OperatorId(Uuid::nil())));
        let gone = shared
            .app
            .execute::<Client>(removed, command, &context)
            .await;
        assert!(gone.is_ok());
        let is_in_force = async |grant| {
            shared
                .app
                .fresh::<Grant>(grant)
                .await
                .unwrap()
                .is_in_force(now)
        };
        assert!(is_in_force(of_removed).await, "it broke off here");
        let refused = |grant, client| shared.app.revocations.contains(grant, client);
        assert!(refused(of_removed, removed) && !refused(live, stays));
        shared.app.read_model_is_current().await.unwrap();
        let known = shared.reader.removed_clients(now - TimeDelta::days(1));
        assert_eq!(known.unwrap(), [(removed, now)]);

        for _ in 0..2 {
            finish(&shared, Timestamp::UNIX_EPOCH, now).await.unwrap();
            assert!(!is_in_force(of_removed).await);
            assert!(is_in_force(live).await);
        }
        shared.app.log.close().await;
        follower.end().await;
    }
}
