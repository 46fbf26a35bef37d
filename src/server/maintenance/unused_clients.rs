//! Clients that registered and never came back.

use chrono::TimeDelta;
use domain::Timestamp;
use domain::client::{Client, Command};

use crate::app::Context;
use crate::causes::chain;
use crate::http::{AUTHORIZATION_MAX, Shared};

const AT_ONCE: usize = 500;

/// The read model only suggests; each client's own stream decides. Nobody begins an authorization with
/// a client that is so old, at any node; who began in time, at any node, has ended before it goes.
pub(super) async fn expire(shared: &Shared, now: Timestamp, unused: TimeDelta) {
    let registered_before = now - unused - AUTHORIZATION_MAX;
    let reader = shared.reader.clone();
    let unused = move || reader.unused_clients(registered_before, AT_ONCE);
    let clients = match tokio::task::spawn_blocking(unused).await {
        Ok(Ok(clients)) => clients,
        Ok(Err(error)) => {
            return tracing::warn!(error = chain(&error), "unused clients could not be listed");
        }
        Err(error) => {
            return tracing::warn!(error = chain(&error), "unused clients could not be listed");
        }
    };
    for client in clients {
        let command = Command::Expire { registered_before };
        let context = Context::system(now);
        if let Err(error) = shared
            .app
            .execute::<Client>(client, command, &context)
            .await
        {
            tracing::debug!(%client, error = chain(&error), "an unused client was kept");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::server::rig::{register, start};

    #[tokio::test]
    async fn unused_clients_expire_and_those_in_use_or_under_way_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let (shared, follower) = start(folder.path()).await;
        let then = clock::now();
        let [unused, used] = [register(&shared, then).await, register(&shared, then).await];
        let context = Context::system(then);
        let first = Command::RecordFirstAuthorization;
        let first = shared.app.execute::<Client>(used, first, &context);
        assert!(first.await.is_ok());
        let later = then + TimeDelta::hours(25);
        let young = register(&shared, later - TimeDelta::hours(23)).await;
        // Somebody may have begun with it, at any node, just before it was a day old.
        let day = TimeDelta::hours(24);
        let under_way = register(&shared, later - day - TimeDelta::minutes(19)).await;
        shared.app.read_model_is_current().await.unwrap();

        expire(&shared, later, day).await;
        let is_there = async |client| {
            let state = shared.app.fresh::<Client>(client).await.unwrap();
            state.registration().is_some()
        };
        assert!(!is_there(unused).await);
        for client in [used, under_way, young] {
            assert!(is_there(client).await, "{client}");
        }
        // A second look finds the one that nobody answered in time, and records nothing twice.
        let head = shared.app.log.head();
        shared.app.read_model_is_current().await.unwrap();
        expire(&shared, later + TimeDelta::minutes(5), day).await;
        assert!(!is_there(under_way).await);
        assert_eq!(shared.app.log.head(), head + 1);
        shared.app.log.close().await;
        follower.end().await;
    }
}
