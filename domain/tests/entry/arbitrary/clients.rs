//! Anything that can have happened to a client.

use domain::client;
use domain::event::Event;
use domain::id::{ClientId, OperatorId};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::{events, hash, instant, proxy_id, scope, text, uuid};

fn client_metadata() -> impl Strategy<Value = client::metadata::ClientMetadata> + Clone {
    use client::metadata::{AuthMethod, ClientMetadata, GrantType};
    let method = option::of(select(vec![
        AuthMethod::None,
        AuthMethod::ClientSecretBasic,
        AuthMethod::ClientSecretPost,
    ]));
    let grant_types = vec(
        select(vec![GrantType::AuthorizationCode, GrantType::RefreshToken]),
        0..3,
    );
    (
        vec(text(), 0..3),
        method,
        grant_types,
        scope(),
        vec(option::of(text()), 8),
    )
        .prop_map(
            |(uris, token_endpoint_auth_method, grant_types, scope, mut texts)| {
                let mut text = || texts.pop().flatten();
                ClientMetadata {
                    redirect_uris: serde_json::from_value(uris.into()).expect("reads any text"),
                    token_endpoint_auth_method,
                    grant_types,
                    client_name: text(),
                    client_uri: text(),
                    logo_uri: text(),
                    tos_uri: text(),
                    policy_uri: text(),
                    scope,
                    software_id: text(),
                    software_version: text(),
                    application_type: text(),
                }
            },
        )
}

pub fn client_events() -> Vec<BoxedStrategy<Event>> {
    use client::{Event as E, Expired, FirstAuthorized, KeptSecret, Registered, Removed, Updated};
    let secret = option::of(
        (hash(), option::of(instant()))
            .prop_map(|(hash, expires_at)| KeptSecret { hash, expires_at }),
    );
    let registered = (
        uuid(),
        proxy_id(),
        client_metadata(),
        secret.clone(),
        hash(),
    )
        .prop_map(
            |(client_id, proxy_id, metadata, secret, registration_token)| {
                E::Registered(Box::new(Registered {
                    client_id: ClientId(client_id),
                    proxy_id,
                    metadata,
                    secret,
                    registration_token,
                }))
            },
        );
    let updated =
        (client_metadata(), secret, hash()).prop_map(|(metadata, secret, registration_token)| {
            E::Updated(Box::new(Updated {
                metadata,
                secret,
                registration_token,
            }))
        });
    let removed = option::of(uuid().prop_map(OperatorId)).prop_map(|by| Removed { by });
    vec![
        events(registered, |event| event),
        events(updated, |event| event),
        events(Just(FirstAuthorized {}), E::FirstAuthorized),
        events(removed, E::Removed),
        events(Just(Expired {}), E::Expired),
    ]
}
