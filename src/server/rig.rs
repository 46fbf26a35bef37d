//! A service without listeners, and what happens at it.

use std::collections::BTreeMap;
use std::path::Path;

use chrono::TimeDelta;
use domain::Timestamp;
use domain::client::metadata::ClientMetadata;
use domain::client::{self, Client, Command};
use domain::entry::Actor;
use domain::grant::{self, Grant};
use domain::id::{ClientId, GrantId, ProviderId, ProxyId};
use domain::secret::SecretHash;

use crate::app::Context;
use crate::clock;
use crate::config::{Config, Sources};
use crate::http::Shared;
use crate::secret::Secret;
use crate::server::{Follower, assemble};
use crate::vault::{Identity, UpstreamTokens};

/// The service over a new store, and what follows its log.
pub async fn start(folder: &Path) -> (Shared, Follower) {
    assemble(&config(folder)).await.unwrap()
}

pub fn config(folder: &Path) -> Config {
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

pub async fn register(shared: &Shared, now: Timestamp) -> ClientId {
    let id = ClientId(clock::event_id().0);
    let metadata = serde_json::json!({"redirect_uris": ["http://localhost/cb"]});
    let token = SecretHash::of("token");
    let command = Command::Register(Box::new(client::Register {
        client_id: id,
        proxy_id: ProxyId(1),
        metadata: ClientMetadata::parse(&metadata, &Default::default()).unwrap(),
        secret: client::KeptSecret {
            hash: token,
            expires_at: None,
        },
        registration_token: token,
    }));
    let context = Context::system(now).by(Actor::Client(id));
    assert!(
        shared
            .app
            .create::<Client>(id, command, &context, None)
            .await
            .is_ok()
    );
    id
}

/// Somebody logs in with a client.
pub async fn authorize(shared: &Shared, client_id: ClientId, now: Timestamp) -> GrantId {
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
        refresh_expires_at: None,
        origin: None,
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
