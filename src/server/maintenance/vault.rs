//! What a node does for its vault: wraps data keys anew once the master key was rotated, and learns what other nodes changed.

use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::causes::chain;
use crate::http::Shared;
use crate::vault::VaultError;

/// A key destroyed or retired elsewhere is of use here no longer than this and a reading.
const CATCH_UP_EVERY: Duration = Duration::from_millis(500);

/// Wraps data keys under the first master key that are wrapped by another: the rotation of the master key.
pub async fn rewrap(shared: Shared) {
    let vault = shared.app.vault.clone();
    let rewrapping = async {
        let data_keys = vault.rewrap().await?;
        if data_keys == 0 {
            return Ok((0, true));
        }
        let vault = vault.clone();
        let all = tokio::task::spawn_blocking(move || vault.is_rewrapped()).await;
        Ok::<_, VaultError>((data_keys, all.unwrap_or(Err(VaultError::Stopped))?))
    };
    match shared.stopping.run_until_cancelled(rewrapping).await {
        Some(Ok((0, _))) | None => {}
        Some(Ok((data_keys, true))) => {
            tracing::info!(
                data_keys,
                "all data keys are wrapped by the first master key now"
            );
        }
        Some(Ok((data_keys, false))) => {
            tracing::warn!(
                data_keys,
                "another node puts another master key first: keep all of them"
            );
        }
        Some(Err(error)) => {
            tracing::error!(error = chain(&error), "data keys could not be wrapped anew")
        }
    }
}

/// Learns what other nodes changed in a shared vault, until the service stops.
pub async fn catch_up(shared: Shared) {
    if !shared.app.log.is_shared() {
        return;
    }
    let seconds = async {
        let mut seconds = tokio::time::interval(CATCH_UP_EVERY);
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            seconds.tick().await;
            if let Err(error) = shared.app.vault.catch_up().await {
                tracing::warn!(error = chain(&error), "the vault cannot be followed");
            }
        }
    };
    shared.stopping.run_until_cancelled(seconds).await;
}
