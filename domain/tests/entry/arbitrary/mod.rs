//! Events with anything in them that their types can hold, also what no rule would let through:
//! what is stored has happened.

mod clients;
mod configuration;
mod grants;

use chrono::DateTime;
use domain::Timestamp;
use domain::entry::{Actor, Envelope, Identity, Personal};
use domain::event::{Correlation, Event};
use domain::id::{
    ApiKeyId, ClientId, EventId, GrantId, OperatorId, ProviderId, ProxyId, SubjectId,
};
use domain::scope::Scope;
use domain::secret::SecretHash;
use domain::{api_key, audit, grant, key, operator, subject};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde::de::DeserializeOwned;
use url::Url;
use uuid::Uuid;

/// One strategy for each type of event.
pub fn of_each_type() -> Vec<BoxedStrategy<Event>> {
    [
        configuration::provider_events(),
        configuration::proxy_events(),
        clients::client_events(),
        grants::login_events(),
        grants::token_events(),
        operator_events(),
        other_events(),
    ]
    .concat()
}

pub fn event() -> impl Strategy<Value = Event> {
    proptest::strategy::Union::new(of_each_type())
}

pub fn envelope() -> impl Strategy<Value = Envelope> {
    (
        event_id(),
        text(),
        any::<u64>(),
        instant(),
        actor(),
        (
            option::of(proxy_id()),
            option::of(uuid().prop_map(ClientId)),
            option::of(uuid().prop_map(SubjectId)),
        ),
        option::of(uuid()),
    )
        .prop_map(
            |(id, stream, version, recorded_at, actor, correlation, request_id)| Envelope {
                id,
                stream,
                version,
                recorded_at,
                actor,
                correlation: Correlation {
                    proxy_id: correlation.0,
                    client_id: correlation.1,
                    subject: correlation.2,
                },
                request_id,
            },
        )
}

/// A personal part that holds everything it can hold.
pub fn whole_personal() -> Personal {
    Personal {
        ip: Some(std::net::Ipv4Addr::LOCALHOST.into()),
        user_agent: Some("curl".to_owned()),
        identity: Some(Identity {
            email: Some("ada@example.com".to_owned()),
            email_verified: true,
            name: Some("Ada".to_owned()),
            upstream_sub: Some("ada".to_owned()),
        }),
        query: Some("ada".to_owned()),
    }
}

pub fn event_id() -> impl Strategy<Value = EventId> + Clone {
    uuid().prop_map(EventId)
}

/// To the microsecond, over some centuries.
pub fn instant() -> impl Strategy<Value = Timestamp> + Clone {
    (-2_000_000_000_000_000..8_000_000_000_000_000_i64)
        .prop_map(|micros| DateTime::from_timestamp_micros(micros).expect("in range"))
}

pub fn text() -> impl Strategy<Value = String> + Clone {
    prop_oneof![
        "[a-z_]{0,12}",
        ".{0,30}",
        vec(any::<char>(), 0..8).prop_map(String::from_iter)
    ]
}

fn uuid() -> impl Strategy<Value = Uuid> + Clone {
    any::<u128>().prop_map(Uuid::from_u128)
}

fn proxy_id() -> impl Strategy<Value = ProxyId> + Clone {
    any::<u32>().prop_map(ProxyId)
}

fn provider_id() -> impl Strategy<Value = ProviderId> + Clone {
    any::<u32>().prop_map(ProviderId)
}

fn scope() -> impl Strategy<Value = Scope> + Clone {
    "([!-\\[\\]-~&&[^\"]]{1,6} ){0,4}".prop_map(|text| text.parse().expect("scope tokens"))
}

fn hash() -> impl Strategy<Value = SecretHash> + Clone {
    text().prop_map(|text| SecretHash::of(&text))
}

fn url() -> impl Strategy<Value = Url> + Clone {
    select(vec![
        "https://idp.example/",
        "http://[::1]:8080/a%20b?c=d",
        "https://xn--e1afmkfd.example/path#fragment",
    ])
    .prop_map(|text| text.parse().expect("a URL"))
}

/// A value type that reads any text, because a stored fact cannot be refused.
fn read<T: DeserializeOwned + std::fmt::Debug>() -> impl Strategy<Value = T> {
    text().prop_map(|text| serde_json::from_value(text.into()).expect("reads any text"))
}

fn actor() -> impl Strategy<Value = Actor> {
    prop_oneof![
        uuid().prop_map(|id| Actor::Client(ClientId(id))),
        uuid().prop_map(|id| Actor::Subject(SubjectId(id))),
        uuid().prop_map(|id| Actor::Operator(OperatorId(id))),
        uuid().prop_map(|id| Actor::ApiKey(ApiKeyId(id))),
        Just(Actor::System),
        Just(Actor::Anonymous),
    ]
}

fn operator_events() -> Vec<BoxedStrategy<Event>> {
    use operator::{Added, Changed, Event as E, Removed, Role, TokenReplaced};
    let role = select(vec![Role::Admin, Role::Auditor, Role::Responder]);
    let added =
        (text(), role.clone(), hash()).prop_map(|(name, role, token)| Added { name, role, token });
    let changed = (text(), role).prop_map(|(name, role)| Changed { name, role });
    vec![
        events(added, E::Added),
        events(changed, E::Changed),
        events(
            hash().prop_map(|token| TokenReplaced { token }),
            E::TokenReplaced,
        ),
        events(Just(Removed {}), E::Removed),
    ]
}

fn algorithm() -> impl Strategy<Value = key::Algorithm> {
    use key::Algorithm::{ES256, EdDSA, HS256, RS256};
    select(vec![HS256, ES256, EdDSA, RS256])
}

fn other_events() -> Vec<BoxedStrategy<Event>> {
    let seen = (uuid(), provider_id()).prop_map(|(subject, provider_id)| subject::FirstSeen {
        subject: SubjectId(subject),
        provider_id,
    });
    let issued = (
        (text(), proxy_id(), scope()),
        (option::of(instant()), hash(), uuid()),
    )
        .prop_map(
            |((name, proxy_id, scopes), (expires_at, key, by))| api_key::Issued {
                name,
                proxy_id,
                scopes,
                expires_at,
                key,
                by: OperatorId(by),
            },
        );
    let ended = uuid().prop_map(|by| api_key::Revoked { by: OperatorId(by) });
    let read = text().prop_map(|route| audit::Read { route });
    let refused = (
        (text(), text(), any::<u64>()),
        (instant(), instant(), option::of(text())),
    )
        .prop_map(
            |((endpoint, cause, count), (first_at, last_at, redirect_uri))| audit::RequestRefused {
                endpoint,
                cause,
                count,
                first_at,
                last_at,
                redirect_uri,
            },
        );
    let created = (text(), algorithm()).prop_map(|(kid, alg)| key::Created { kid, alg });
    let retired = text().prop_map(|kid| key::Retired { kid });
    vec![
        events(seen, subject::Event::FirstSeen),
        events(issued, api_key::Event::Issued),
        events(ended, api_key::Event::Revoked),
        events(read, audit::Event::Read),
        events(refused, audit::Event::RequestRefused),
        events(created, key::Event::Created),
        events(retired, key::Event::Retired),
    ]
}

fn events<S, E>(payload: S, event: impl Fn(S::Value) -> E + 'static) -> BoxedStrategy<Event>
where
    S: Strategy + 'static,
    E: Into<Event>,
{
    payload
        .prop_map(move |payload| event(payload).into())
        .boxed()
}

/// The name of a grant's stream.
pub fn grant_stream() -> impl Strategy<Value = (GrantId, String)> {
    uuid().prop_map(|id| (GrantId(id), grant::stream(GrantId(id))))
}
