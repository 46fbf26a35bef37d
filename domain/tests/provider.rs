//! A provider's number is given out once, and only differences are recorded.

mod support;

use domain::provider::{Command, Configured, Event, Kind, Provider, Removed, Rule, Settings};
use proptest::prelude::*;
use support::{after, given};
use uuid::Uuid;

fn configured(name: &str, secret: u128) -> Configured {
    Configured {
        settings: Settings {
            name: name.to_owned(),
            kind: Kind::Oidc,
            client_id: "grantlog".to_owned(),
            issuer: Some("https://idp.example/".parse().expect("valid")),
            authorization_url: None,
            token_url: None,
            userinfo_url: None,
            jwks_url: None,
            scopes: "openid email".parse().expect("valid"),
        },
        secret_version: Uuid::from_u128(secret),
    }
}

fn add(configured: Configured) -> Command {
    Command::Add {
        settings: configured.settings,
        secret_version: configured.secret_version,
    }
}

/// A change that was made of "idp" with the first secret.
fn change(next: Configured) -> Command {
    Command::Change {
        from: Box::new(configured("idp", 1)),
        settings: next.settings,
        secret_version: next.secret_version,
    }
}

fn removed() -> Event {
    Event::Removed(Removed {})
}

#[test]
fn a_provider_without_scopes_is_asked_for_what_its_kind_tells_people_apart_by() {
    for (kind, expected) in [
        (Kind::Okta, "openid profile email"),
        (Kind::Google, "openid profile email"),
        (Kind::AzureAd, "openid profile email"),
        (Kind::Oidc, "openid profile email"),
        (Kind::Github, "user:email"),
        (Kind::Oauth2, ""),
    ] {
        let silent = Settings {
            kind,
            scopes: "".parse().expect("no scope"),
            ..configured("idp", 1).settings
        };
        assert_eq!(silent.scopes_or_default().to_string(), expected, "{kind:?}");
        let own = Settings {
            scopes: "read".parse().expect("a scope"),
            ..silent
        };
        assert_eq!(own.scopes_or_default().to_string(), "read", "{kind:?}");
    }
}

#[test]
fn a_number_is_given_out_once() {
    let idp = configured("idp", 1);
    given::<Provider>(&[])
        .when(add(idp.clone()))
        .then(&[Event::Added(Box::new(idp.clone()))]);
    let history = [Event::Added(Box::new(idp.clone())), removed()];
    given::<Provider>(&history[..1])
        .when(add(idp.clone()))
        .then_refused(Rule::Exists);
    given::<Provider>(&history)
        .when(add(idp))
        .then_refused(Rule::Exists);
}

#[test]
fn only_a_difference_is_a_change() {
    let history = [Event::Added(Box::new(configured("idp", 1)))];
    given::<Provider>(&history)
        .when(change(configured("idp", 1)))
        .then(&[]);
    for next in [configured("other", 1), configured("idp", 2)] {
        given::<Provider>(&history)
            .when(change(next.clone()))
            .then(&[Event::Changed(Box::new(next))]);
    }
}

#[test]
fn a_change_of_what_is_no_longer_so_is_refused() {
    let other = configured("other", 1);
    let history = [configured("idp", 1), other.clone()].map(Box::new);
    let [added, changed] = history;
    let history = [Event::Added(added), Event::Changed(changed)];
    given::<Provider>(&history)
        .when(change(configured("idp", 2)))
        .then_refused(Rule::Outdated);
    // It is so already, whoever did it.
    given::<Provider>(&history).when(change(other)).then(&[]);
}

#[test]
fn a_provider_has_a_name_and_a_client_id_that_show() {
    for text in ["", " ", "a\nb"] {
        let unnamed = configured(text, 1);
        let mut unknown = configured("idp", 1);
        text.clone_into(&mut unknown.settings.client_id);
        let history = [Event::Added(Box::new(configured("idp", 1)))];
        for (bad, rule) in [(unnamed, Rule::Name), (unknown, Rule::ClientId)] {
            given::<Provider>(&[])
                .when(add(bad.clone()))
                .then_refused(rule);
            given::<Provider>(&history)
                .when(change(bad))
                .then_refused(rule);
        }
    }
}

#[test]
fn what_is_gone_cannot_be_changed_or_removed() {
    let history = [Event::Added(Box::new(configured("idp", 1))), removed()];
    given::<Provider>(&history[..1])
        .when(Command::Remove { in_use: false })
        .then(&[removed()]);
    given::<Provider>(&history[..1])
        .when(Command::Remove { in_use: true })
        .then_refused(Rule::InUse);
    for command in [
        Command::Remove { in_use: false },
        change(configured("idp", 1)),
    ] {
        given::<Provider>(&history)
            .when(command.clone())
            .then_refused(Rule::Unknown);
        given::<Provider>(&[])
            .when(command)
            .then_refused(Rule::Unknown);
    }
    assert_eq!(after::<Provider>(&history).configured(), None);
}

#[test]
fn absent_settings_are_absent_on_the_wire() {
    let wire = serde_json::to_value(configured("idp", 1)).expect("plain");
    assert_eq!(wire["type"], "oidc");
    assert!(wire.get("token_url").is_none());
    let read: Configured = serde_json::from_value(wire).expect("round trip");
    assert_eq!(read, configured("idp", 1));
}

proptest! {
    #[test]
    fn any_order_of_events_folds(history in prop::collection::vec(prop::sample::select(vec![
        Event::Added(Box::new(configured("idp", 1))),
        Event::Changed(Box::new(configured("other", 2))),
        removed(),
    ]), 0..8)) {
        let state = after::<Provider>(&history);
        if history.is_empty() || history.last() == Some(&removed()) {
            prop_assert_eq!(state.configured(), None);
        } else {
            prop_assert!(state.configured().is_some());
        }
    }
}
