//! Registration, its management, authentication and expiry.

mod support;

use domain::Aggregate;
use domain::client::metadata::{AuthMethod, ClientMetadata};
use domain::client::{
    Client, Command, Credentials, Denial, Endpoint, Event, Expired, FirstAuthorized, KeptSecret,
    Named, Register, Registered, Removed, Remover, Rule, Update, Updated,
};
use domain::id::{ClientId, OperatorId, ProxyId};
use domain::redirect_uri::AllowedRedirects;
use domain::secret::SecretHash;
use proptest::prelude::*;
use serde_json::json;
use support::{after, at, given};
use uuid::Uuid;

const CLIENT: ClientId = ClientId(Uuid::from_u128(1));
const OPERATOR: OperatorId = OperatorId(Uuid::from_u128(2));

fn metadata(method: Option<&str>) -> ClientMetadata {
    let document = json!({
        "redirect_uris": ["http://localhost/cb"],
        "token_endpoint_auth_method": method,
    });
    ClientMetadata::parse(&document, &AllowedRedirects::default()).expect("valid")
}

fn secret(text: &str) -> KeptSecret {
    KeptSecret {
        hash: SecretHash::of(text),
        expires_at: None,
    }
}

fn register(metadata: ClientMetadata) -> Command {
    Command::Register(Box::new(Register {
        client_id: CLIENT,
        proxy_id: ProxyId(1),
        metadata,
        secret: secret("first"),
        registration_token: SecretHash::of("token"),
    }))
}

fn registered(method: Option<&str>) -> Event {
    let metadata = metadata(method);
    Event::Registered(Box::new(Registered {
        client_id: CLIENT,
        proxy_id: ProxyId(1),
        secret: (!metadata.is_public()).then(|| secret("first")),
        metadata,
        registration_token: SecretHash::of("token"),
    }))
}

fn update(token: &str, method: Option<&str>) -> Command {
    Command::Update(Box::new(Update {
        registration_token: SecretHash::of(token),
        metadata: metadata(method),
        named: Named::default(),
        secret: secret("second"),
        next_registration_token: SecretHash::of("next"),
    }))
}

fn updated(method: Option<&str>, secret: Option<KeptSecret>) -> Event {
    Event::Updated(Box::new(Updated {
        metadata: metadata(method),
        secret,
        registration_token: SecretHash::of("next"),
    }))
}

fn removed() -> Event {
    Event::Removed(Removed { by: None })
}

fn first_authorized() -> Event {
    Event::FirstAuthorized(FirstAuthorized {})
}

fn expired() -> Event {
    Event::Expired(Expired {})
}

#[test]
fn a_client_registers_once_and_gets_a_secret_if_it_can_keep_one() {
    for method in [
        None,
        Some("none"),
        Some("client_secret_basic"),
        Some("client_secret_post"),
    ] {
        given::<Client>(&[])
            .when(register(metadata(method)))
            .then(&[registered(method)]);
    }
    for end in [None, Some(removed()), Some(expired())] {
        let history: Vec<_> = [registered(None)].into_iter().chain(end).collect();
        given::<Client>(&history)
            .when(register(metadata(None)))
            .then_refused(Rule::Exists);
    }
}

#[test]
fn an_update_needs_the_current_registration_token_and_replaces_it() {
    let history = [registered(Some("none")), updated(Some("none"), None)];
    given::<Client>(&history[..1])
        .when(update("token", Some("none")))
        .then(&history[1..]);
    for wrong in ["next", "", "first"] {
        let decided = given::<Client>(&history[..1]).when(update(wrong, None));
        decided.then_refused(Rule::RegistrationToken);
    }
    given::<Client>(&history)
        .when(update("token", None))
        .then_refused(Rule::RegistrationToken);
    given::<Client>(&[])
        .when(update("token", None))
        .then_refused(Rule::Unknown);
}

#[test]
fn a_secret_comes_goes_and_otherwise_stays() {
    let basic = Some("client_secret_basic");
    let none = Some("none");
    given::<Client>(&[registered(none)])
        .when(update("token", basic))
        .then(&[updated(basic, Some(secret("second")))]);
    given::<Client>(&[registered(basic)])
        .when(update("token", basic))
        .then(&[updated(basic, None)]);
    given::<Client>(&[registered(basic)])
        .when(update("token", none))
        .then(&[updated(none, None)]);
    let kept = |history: &[Event]| {
        after::<Client>(history)
            .registration()
            .expect("registered")
            .secret
    };
    assert_eq!(
        kept(&[registered(basic), updated(basic, None)]),
        Some(secret("first"))
    );
    assert_eq!(kept(&[registered(basic), updated(none, None)]), None);
    assert_eq!(
        kept(&[registered(none), updated(basic, Some(secret("second")))]),
        Some(secret("second"))
    );
}

#[test]
fn a_client_is_removed_by_itself_or_an_operator() {
    let remove = |token: &str| {
        Command::Remove(Remover::Client {
            registration_token: SecretHash::of(token),
        })
    };
    let known = [registered(None)];
    given::<Client>(&known)
        .when(remove("token"))
        .then(&[removed()]);
    given::<Client>(&known)
        .when(remove("other"))
        .then_refused(Rule::RegistrationToken);
    let by_operator = Event::Removed(Removed { by: Some(OPERATOR) });
    given::<Client>(&known)
        .when(Command::Remove(Remover::Operator(OPERATOR)))
        .then(&[by_operator]);
    let gone = [registered(None), removed()];
    for command in [
        remove("token"),
        Command::Remove(Remover::Operator(OPERATOR)),
        Command::RecordFirstAuthorization,
    ] {
        given::<Client>(&gone)
            .when(command.clone())
            .then_refused(Rule::Unknown);
        given::<Client>(&[])
            .when(command)
            .then_refused(Rule::Unknown);
    }
    let correlation = after::<Client>(&gone).correlation();
    assert_eq!(
        (correlation.client_id, correlation.proxy_id),
        (Some(CLIENT), Some(ProxyId(1)))
    );
}

#[test]
fn only_a_client_that_was_never_used_expires() {
    let expire = |second| Command::Expire {
        registered_before: at(second),
    };
    let known = [registered(None), first_authorized()];
    given::<Client>(&known[..1])
        .when(expire(1))
        .then(&[expired()]);
    given::<Client>(&known[..1])
        .when(expire(0))
        .then_refused(Rule::TooRecent);
    given::<Client>(&known[..1])
        .when(Command::RecordFirstAuthorization)
        .then(&known[1..]);
    given::<Client>(&known)
        .when(Command::RecordFirstAuthorization)
        .then(&[]);
    given::<Client>(&known)
        .when(expire(900))
        .then_refused(Rule::InUse);
    given::<Client>(&[registered(None), expired()])
        .when(expire(900))
        .then_refused(Rule::Unknown);
}

/// RFC 7592 §2.2: who an update says it is must be who it is, and nobody chooses a secret.
#[test]
fn an_update_that_names_another_client_or_secret_is_refused() {
    let update = |client_id: Option<&str>, secret: Option<&str>| {
        let Command::Update(mut update) = update("token", None) else {
            panic!("expected an update");
        };
        update.named = Named {
            client_id: client_id.map(str::to_owned),
            secret: secret.map(SecretHash::of),
        };
        Command::Update(update)
    };
    let own = CLIENT.to_string();
    for (client_id, secret) in [
        (None, None),
        (Some(own.as_str()), None),
        (Some(own.as_str()), Some("first")),
    ] {
        given::<Client>(&[registered(None)])
            .when(update(client_id, secret))
            .then(&[updated(None, None)]);
    }
    given::<Client>(&[registered(None)])
        .when(update(Some("gateway_other"), None))
        .then_refused(Rule::ClientId);
    given::<Client>(&[registered(None)])
        .when(update(Some(&own), Some("second")))
        .then_refused(Rule::ClientSecret);
    given::<Client>(&[registered(Some("none"))])
        .when(update(None, Some("first")))
        .then_refused(Rule::ClientSecret);
}

#[track_caller]
fn authenticates(method: Option<&str>, credentials: Credentials, expected: Result<(), Denial>) {
    let client = after::<Client>(&[registered(method)]);
    let answer = client.authenticate(ProxyId(1), credentials, Endpoint::Token, at(1));
    assert_eq!(answer.map(|_| ()), expected, "{method:?}");
}

#[test]
fn a_client_authenticates_as_it_registered() {
    let basic = |text| Credentials::Basic(SecretHash::of(text));
    let post = |text| Credentials::Post(SecretHash::of(text));
    let chosen = Some("client_secret_basic");
    authenticates(chosen, basic("first"), Ok(()));
    authenticates(chosen, post("first"), Err(Denial::Method));
    let chosen = Some("client_secret_post");
    authenticates(chosen, post("first"), Ok(()));
    authenticates(chosen, basic("first"), Err(Denial::Method));
    authenticates(None, basic("first"), Ok(()));
    authenticates(None, post("first"), Ok(()));
    for method in [
        None,
        Some("client_secret_basic"),
        Some("client_secret_post"),
    ] {
        authenticates(method, Credentials::None, Err(Denial::SecretMissing));
    }
    authenticates(None, basic("other"), Err(Denial::SecretMismatch));
    authenticates(None, post(""), Err(Denial::SecretMismatch));
    authenticates(Some("none"), Credentials::None, Ok(()));
    authenticates(Some("none"), basic("first"), Err(Denial::SecretUnexpected));
    authenticates(Some("none"), post(""), Err(Denial::SecretUnexpected));
}

/// RFC 7591 §2 ties the registered method to the token endpoint.
#[test]
fn a_secret_may_come_either_way_where_no_tokens_are_issued() {
    let secret = |text| SecretHash::of(text);
    for method in [
        None,
        Some("client_secret_basic"),
        Some("client_secret_post"),
    ] {
        let client = after::<Client>(&[registered(method)]);
        let other = |credentials| {
            let known = client.authenticate(ProxyId(1), credentials, Endpoint::Other, at(1));
            known.map(|_| ())
        };
        assert_eq!(other(Credentials::Basic(secret("first"))), Ok(()));
        assert_eq!(other(Credentials::Post(secret("first"))), Ok(()));
        assert_eq!(
            other(Credentials::Basic(secret("other"))),
            Err(Denial::SecretMismatch)
        );
        assert_eq!(other(Credentials::None), Err(Denial::SecretMissing));
    }
}

#[test]
fn nobody_authenticates_as_a_client_of_another_proxy_or_of_the_past() {
    let none = Credentials::None;
    let known = [registered(Some("none"))];
    let elsewhere = after::<Client>(&known);
    assert_eq!(
        elsewhere.authenticate(ProxyId(2), none, Endpoint::Token, at(1)),
        Err(Denial::OtherProxy)
    );
    for end in [removed(), expired()] {
        let gone = after::<Client>(&[known[0].clone(), end]);
        assert_eq!(
            gone.authenticate(ProxyId(1), none, Endpoint::Token, at(1)),
            Err(Denial::Unknown)
        );
    }
    assert_eq!(
        Client::Absent.authenticate(ProxyId(1), none, Endpoint::Token, at(1)),
        Err(Denial::Unknown)
    );
}

#[test]
fn a_secret_ends_when_it_was_said_to() {
    let Event::Registered(mut known) = registered(None) else {
        panic!("expected a registration");
    };
    known.secret = Some(KeptSecret {
        expires_at: Some(at(10)),
        ..secret("first")
    });
    let client = after::<Client>(&[Event::Registered(known)]);
    let first = Credentials::Post(SecretHash::of("first"));
    assert!(
        client
            .authenticate(ProxyId(1), first, Endpoint::Token, at(9))
            .is_ok()
    );
    assert_eq!(
        client.authenticate(ProxyId(1), first, Endpoint::Token, at(10)),
        Err(Denial::SecretExpired)
    );
}

#[test]
fn events_read_back_as_they_were_written() {
    for event in [
        registered(None),
        registered(Some("none")),
        updated(None, Some(secret("second"))),
        first_authorized(),
        removed(),
        expired(),
    ] {
        let event = domain::event::Event::from(event);
        let data = serde_json::to_string(&event).expect("plain");
        assert!(data.starts_with('{') && !data.contains("null"), "{data}");
        let read = domain::event::Event::decode(event.name(), event.schema(), &data);
        assert_eq!(read.expect("known"), event);
    }
}

proptest! {
    #[test]
    fn any_order_of_events_folds(history in prop::collection::vec(prop::sample::select(vec![
        registered(None), registered(Some("none")), updated(Some("none"), None),
        updated(None, Some(secret("second"))), updated(None, None), first_authorized(), removed(), expired(),
    ]), 0..10)) {
        let client = after::<Client>(&history);
        if let Some(registration) = client.registration()
            && registration.metadata.auth_method() == AuthMethod::None
        {
            prop_assert_eq!(registration.secret, None);
        }
        for command in [register(metadata(None)), update("token", None), Command::RecordFirstAuthorization,
            Command::Remove(Remover::Operator(OPERATOR)), Command::Expire { registered_before: at(900) }]
        {
            let decided = client.decide(command, at(1000));
            prop_assert!(decided.is_err() || !matches!(client, Client::Removed(_) | Client::Expired(_)));
        }
    }
}
