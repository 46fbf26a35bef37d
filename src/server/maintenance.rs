//! What has to be done from time to time: keys ahead of time, forgetting what has ended, and
//! clients that registered and never came back.

use std::time::Duration;

use chrono::TimeDelta;
use domain::Timestamp;
use domain::client::{Client, Command};

use crate::app::Context;
use crate::clock;
use crate::http::Shared;

const EVERY: Duration = Duration::from_secs(60);
const EXPIRE_AT_ONCE: usize = 500;

/// Runs until the service stops. `unused_client_hours` of 0 keeps unused clients for ever.
pub async fn run(shared: Shared, unused_client_hours: u32) {
    let mut minutes = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            _ = minutes.tick() => {}
            () = shared.stopping.cancelled() => return,
        }
        let now = clock::now();
        shared.rates.prune();
        shared.app.revocations.prune(now);
        if let Err(error) = shared.app.vault.prepare(now).await {
            tracing::warn!(%error, "keys could not be prepared");
        }
        if unused_client_hours > 0 {
            expire_unused(&shared, now, unused_client_hours).await;
        }
    }
}

/// The read model only suggests; each client's own stream decides.
async fn expire_unused(shared: &Shared, now: Timestamp, hours: u32) {
    let registered_before = now - TimeDelta::hours(hours.into());
    let reader = shared.reader.clone();
    let unused = move || reader.unused_clients(registered_before, EXPIRE_AT_ONCE);
    let clients = match tokio::task::spawn_blocking(unused).await {
        Ok(Ok(clients)) => clients,
        Ok(Err(error)) => return tracing::warn!(%error, "unused clients could not be listed"),
        Err(error) => return tracing::warn!(%error, "unused clients could not be listed"),
    };
    for client in clients {
        let command = Command::Expire { registered_before };
        let context = Context::system(now);
        if let Err(error) = shared
            .app
            .execute::<Client>(client, command, &context)
            .await
        {
            tracing::debug!(%client, %error, "an unused client was kept");
        }
    }
}
