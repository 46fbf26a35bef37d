//! What has to be done from time to time: keys ahead of time, forgetting what has ended, clients
//! that registered and never came back, and removals that broke off half-way.

use std::time::Duration;

use chrono::TimeDelta;
use domain::Timestamp;
use domain::client::{Client, Command};
use domain::grant::{Grant, RevocationReason};
use domain::id::GrantId;
use projections::Of;
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

use crate::app::{Context, Unavailable};
use crate::clock;
use crate::http::{AUTHORIZATION_MAX, Shared};
use crate::vault::VaultError;

const EVERY: Duration = Duration::from_secs(60);
/// A key destroyed or retired elsewhere is of use here no longer than this and a reading.
const CATCH_UP_EVERY: Duration = Duration::from_millis(500);
const EXPIRE_AT_ONCE: usize = 500;
const SWEPT_AT_ONCE: u32 = 500;
/// Whoever is logging in has stored the tokens before the grant is there.
const UNTOUCHED: TimeDelta = TimeDelta::hours(1);
/// Tokens that are forgotten do not come back, should the clock go back.
const ENDED_SINCE: TimeDelta = TimeDelta::days(1);
/// After a look at all removals, those of this time are looked at again: somebody may have logged in meanwhile.
const LOOK_BACK: TimeDelta = TimeDelta::days(1);

/// Runs until the service stops, whatever the stores are doing then.
pub async fn run(shared: Shared) {
    let stopping = shared.stopping.clone();
    let minutes = async {
        let mut minutes = tokio::time::interval(EVERY);
        let mut removed_since = Timestamp::UNIX_EPOCH;
        let mut swept = GrantId(Uuid::nil());
        loop {
            minutes.tick().await;
            look_after(&shared).await;
            match sweep_upstream_tokens(&shared, swept, clock::now()).await {
                Ok(last) => swept = last,
                Err(error) => tracing::warn!(%error, "upstream tokens could not be looked through"),
            }
            let now = clock::now();
            match finish_removals(&shared, removed_since, now).await {
                Ok(()) => removed_since = now - LOOK_BACK,
                Err(error) => tracing::warn!(%error, "removals could not be finished"),
            }
        }
    };
    stopping.run_until_cancelled(minutes).await;
}

async fn look_after(shared: &Shared) {
    let now = clock::now();
    shared.rates.prune();
    shared.callbacks.prune();
    shared.app.revocations.prune(now);
    if let Err(error) = shared.app.vault.prepare(now).await {
        tracing::warn!(%error, "keys could not be prepared");
    }
    let system = Context::system(now);
    if let Err(error) = shared.app.record_signing_keys(&system).await {
        tracing::warn!(%error, "signing keys could not be recorded");
    }
    if let Some(unused) = shared.unused_client {
        expire_unused(shared, now, unused).await;
    }
}

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
        Some(Err(error)) => tracing::error!(%error, "data keys could not be wrapped anew"),
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
                tracing::warn!(%error, "the vault cannot be followed");
            }
        }
    };
    shared.stopping.run_until_cancelled(seconds).await;
}

/// The read model only suggests; each client's own stream decides. Nobody begins an authorization with
/// a client that is so old, at any node; who began in time, at any node, has ended before it goes.
async fn expire_unused(shared: &Shared, now: Timestamp, unused: TimeDelta) {
    let registered_before = now - unused - AUTHORIZATION_MAX;
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

/// Revokes the grants of what was removed, where that broke off or somebody was logging in.
async fn finish_removals(
    shared: &Shared,
    since: Timestamp,
    now: Timestamp,
) -> Result<(), Unavailable> {
    shared.app.read_model_is_current().await?;
    let reader = shared.reader.clone();
    let unfinished = tokio::task::spawn_blocking(move || reader.removed_with_grants(since, now));
    let unfinished = unfinished.await.map_err(|_| Unavailable::BrokenOff)?;
    let mut finished = Ok(());
    for of in unfinished.map_err(|_| Unavailable::ReadModel)? {
        let reason = match of {
            Of::Client(_) => RevocationReason::ClientRemoved,
            Of::Proxy(_) => RevocationReason::ProxyRemoved,
            Of::Provider(_) => RevocationReason::ProviderRemoved,
            // People are not removed.
            Of::Subject(_) => continue,
        };
        match shared.revoke_all(of, &reason, &Context::system(now)).await {
            // A grant that stands in the way of one does not in that of the others.
            Err(error @ Unavailable::Entry { .. }) => finished = Err(error),
            revoked => revoked?,
        }
    }
    finished
}

/// Forgets upstream tokens of grants that have ended by themselves, or that a login never came to; a part of them at a time, from
/// `after` on. The read model only suggests; each grant's own stream decides. Returns from where to go on.
async fn sweep_upstream_tokens(
    shared: &Shared,
    after: GrantId,
    now: Timestamp,
) -> Result<GrantId, Unavailable> {
    let vault = &shared.app.vault;
    let grants = vault.grants_with_upstream(after, now - UNTOUCHED, SWEPT_AT_ONCE);
    let mut grants = grants.await?;
    let is_end = grants.len() < SWEPT_AT_ONCE as usize;
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
            Ok(_) => shared.forget_upstream_tokens(id).await,
            Err(error @ Unavailable::Entry { .. }) => {
                tracing::warn!(grant = %id, %error, "a grant cannot be read");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(last.unwrap_or(GrantId(Uuid::nil())))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use domain::client::metadata::ClientMetadata;
    use domain::entry::Actor;
    use domain::id::{ClientId, OperatorId, ProviderId, ProxyId};
    use domain::secret::SecretHash;
    use domain::{client, grant};

    use super::*;
    use crate::config::{Config, Sources};
    use crate::tokens::Secret;
    use crate::vault::{Identity, UpstreamTokens};

    fn config(folder: &std::path::Path) -> Config {
        let environment = BTreeMap::from([(
            "GRANTLOG_STORE__DATA_DIR".to_owned(),
            folder.to_str().unwrap().to_owned(),
        )]);
        Config::resolve(Sources {
            flags: &BTreeMap::new(),
            environment: &environment,
            file: None,
            read: &|_| Err(std::io::Error::other("no files here")),
        })
        .unwrap()
    }

    async fn register(shared: &Shared, now: Timestamp) -> ClientId {
        let id = ClientId(clock::event_id().0);
        let metadata = serde_json::json!({"redirect_uris": ["http://localhost/cb"]});
        let token = SecretHash::of("token");
        let command = Command::Register(Box::new(client::Register {
            client_id: id,
            proxy_id: ProxyId(1),
            metadata: ClientMetadata::parse(&metadata, &Default::default()).unwrap(),
            secret: client::Secret {
                hash: token,
                expires_at: None,
            },
            registration_token: token,
        }));
        let context = Context::system(now).by(Actor::Client(id));
        assert!(
            shared
                .app
                .create::<Client>(id, command, &context)
                .await
                .is_ok()
        );
        id
    }

    #[tokio::test]
    async fn unused_clients_expire_and_those_in_use_or_under_way_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let (shared, follower, _) = super::super::assemble(&config).await.unwrap();
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

        expire_unused(&shared, later, day).await;
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
        expire_unused(&shared, later + TimeDelta::minutes(5), day).await;
        assert!(!is_there(under_way).await);
        assert_eq!(shared.app.log.head(), head + 1);
        shared.app.log.close().await;
        follower.end().await;
    }

    #[tokio::test]
    async fn a_removal_that_broke_off_is_finished() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let (shared, follower, _) = super::super::assemble(&config).await.unwrap();
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
        let is_live = async |grant| shared.app.fresh::<Grant>(grant).await.unwrap().is_live(now);
        assert!(is_live(of_removed).await, "it broke off here");
        let refused = |grant, client| shared.app.revocations.contains(grant, client);
        assert!(refused(of_removed, removed) && !refused(live, stays));
        shared.app.read_model_is_current().await.unwrap();
        let known = shared.reader.removed_clients(now - TimeDelta::days(1));
        assert_eq!(known.unwrap(), [(removed, now)]);

        for _ in 0..2 {
            finish_removals(&shared, Timestamp::UNIX_EPOCH, now)
                .await
                .unwrap();
            assert!(!is_live(of_removed).await);
            assert!(is_live(live).await);
        }
        shared.app.log.close().await;
        follower.end().await;
    }

    #[tokio::test]
    async fn upstream_tokens_go_when_their_grant_has_ended_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let (shared, follower, _) = super::super::assemble(&config).await.unwrap();
        let now = clock::now();
        let client = register(&shared, now).await;
        let ends = authorize(&shared, client, now).await;
        let later = now + TimeDelta::hours(20);
        let live = authorize(&shared, client, later).await;
        let none = GrantId(Uuid::nil());
        let kept = async |grant| shared.app.vault.upstream(grant).await.unwrap().is_some();
        let ended = now + TimeDelta::minutes(2) + ENDED_SINCE;
        for (at, ended) in [(now, false), (later, false), (ended, true)] {
            let swept = sweep_upstream_tokens(&shared, none, at).await.unwrap();
            assert_eq!(swept, none, "they were all that there are");
            assert_eq!((kept(ends).await, kept(live).await), (!ended, true));
        }
        shared.app.log.close().await;
        follower.end().await;
    }

    #[tokio::test]
    async fn a_signing_key_is_recorded_once_whatever_broke_off() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let (shared, follower, _) = super::super::assemble(&config).await.unwrap();
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
            look_after(&shared).await;
            assert_eq!(app.log.head(), before + 2, "its start, the other's end");
        }
        let stream = format!("signing-key-{kid}");
        assert_eq!(app.log.read_stream(&stream).await.unwrap().len(), 1);
        shared.app.log.close().await;
        follower.end().await;
    }

    /// Somebody logs in with a client.
    async fn authorize(shared: &Shared, client_id: ClientId, now: Timestamp) -> GrantId {
        let id = GrantId(clock::event_id().0);
        let request = grant::Requested {
            proxy_id: ProxyId(1),
            client_id,
            provider_id: ProviderId(1),
            redirect_uri: "http://localhost/cb".parse().unwrap(),
            scope: "read".parse().unwrap(),
            resource: shared.urls.resource(ProxyId(1)),
            requested_at: now,
        };
        let identity = Identity {
            provider: ProviderId(1),
            issuer: "nobody",
            sub: "somebody",
        };
        let tokens = UpstreamTokens {
            access_token: Secret::new("token"),
            refresh_token: None,
            expires_at: None,
            id_token: None,
            scope: None,
            token_type: "Bearer".to_owned(),
        };
        let vault = &shared.app.vault;
        let subject = vault
            .record_login(identity, id, &tokens, now)
            .await
            .unwrap();
        let command = grant::Command::Authorize(Box::new(grant::Authorize {
            request,
            subject,
            consent: grant::Consent::NotRequired,
            code: SecretHash::of("code"),
            code_lifetime: TimeDelta::seconds(60),
            code_challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
                .parse()
                .unwrap(),
            grant_lifetime: TimeDelta::days(1),
        }));
        let context = Context::system(now);
        let authorized = shared.app.execute::<Grant>(id, command, &context).await;
        assert!(authorized.is_ok());
        id
    }
}
