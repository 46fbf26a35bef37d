//! Who may administer, and what they may do.

mod support;

use domain::operator::{
    Action, Added, Changed, Command, Event, Operator, Removed, Role, Rule, TokenReplaced,
};
use domain::secret::SecretHash;
use proptest::prelude::*;
use support::{after, given};

fn added() -> Added {
    Added {
        name: "Ada".to_owned(),
        role: Role::Auditor,
        token: SecretHash::of("token"),
    }
}

fn changed() -> Changed {
    Changed {
        name: "Ada".to_owned(),
        role: Role::Admin,
    }
}

fn change(changed: Changed) -> Command {
    Command::Change {
        name: Some(changed.name),
        role: Some(changed.role),
        another_admin_remains: false,
    }
}

fn replaced() -> TokenReplaced {
    TokenReplaced {
        token: SecretHash::of("another"),
    }
}

fn remove() -> Command {
    Command::Remove {
        another_admin_remains: false,
    }
}

fn removed() -> Event {
    Event::Removed(Removed {})
}

#[test]
fn an_id_is_given_out_once() {
    given::<Operator>(&[])
        .when(Command::Add(added()))
        .then(&[Event::Added(added())]);
    let present = Event::Added(added());
    given::<Operator>(std::slice::from_ref(&present))
        .when(Command::Add(added()))
        .then_refused(Rule::Exists);
    given::<Operator>(&[present, removed()])
        .when(Command::Add(added()))
        .then_refused(Rule::Exists);
}

#[test]
fn a_name_is_text_that_shows() {
    for name in ["", " ", "a\nb", "\u{202e}adA", &"a".repeat(201)] {
        let command = Command::Add(Added {
            name: name.to_owned(),
            ..added()
        });
        given::<Operator>(&[])
            .when(command)
            .then_refused(Rule::Name);
        let command = change(Changed {
            name: name.to_owned(),
            ..changed()
        });
        given::<Operator>(&[Event::Added(added())])
            .when(command)
            .then_refused(Rule::Name);
    }
}

#[test]
fn a_change_keeps_the_token_and_records_only_differences() {
    let history = [Event::Added(added()), Event::Changed(changed())];
    given::<Operator>(&history[..1])
        .when(change(changed()))
        .then(&history[1..]);
    given::<Operator>(&history)
        .when(change(changed()))
        .then(&[]);
    let operator = after::<Operator>(&history);
    let known = operator
        .authenticate(&SecretHash::of("token"))
        .expect("still let in");
    assert_eq!(known.role, Role::Admin);
}

#[test]
fn the_last_admin_does_not_step_down() {
    let admin = Added {
        role: Role::Admin,
        ..added()
    };
    let auditor = Changed {
        role: Role::Auditor,
        ..changed()
    };
    let present = [Event::Added(admin)];
    given::<Operator>(&present)
        .when(change(auditor.clone()))
        .then_refused(Rule::LastAdmin);
    let command = Command::Change {
        name: None,
        role: Some(auditor.role),
        another_admin_remains: true,
    };
    given::<Operator>(&present)
        .when(command)
        .then(&[Event::Changed(auditor)]);
    let renamed = Changed {
        name: "Ada Lovelace".to_owned(),
        ..changed()
    };
    given::<Operator>(&present)
        .when(change(renamed.clone()))
        .then(&[Event::Changed(renamed)]);
}

#[test]
fn who_is_removed_is_let_in_no_more() {
    let history = [Event::Added(added()), removed()];
    given::<Operator>(&history[..1])
        .when(remove())
        .then(&history[1..]);
    for command in [
        remove(),
        change(changed()),
        Command::ReplaceToken(replaced()),
    ] {
        given::<Operator>(&history)
            .when(command.clone())
            .then_refused(Rule::Unknown);
        given::<Operator>(&[])
            .when(command)
            .then_refused(Rule::Unknown);
    }
    let token = SecretHash::of("token");
    assert!(
        after::<Operator>(&history[..1])
            .authenticate(&token)
            .is_some()
    );
    assert!(
        after::<Operator>(&history[..1])
            .authenticate(&SecretHash::of("other"))
            .is_none()
    );
    assert!(after::<Operator>(&history).authenticate(&token).is_none());
}

#[test]
fn another_token_takes_the_place_of_the_old_one() {
    let history = [Event::Added(added()), Event::TokenReplaced(replaced())];
    given::<Operator>(&history[..1])
        .when(Command::ReplaceToken(replaced()))
        .then(&history[1..]);
    given::<Operator>(&history)
        .when(Command::ReplaceToken(replaced()))
        .then(&[]);
    let operator = after::<Operator>(&history);
    assert!(
        operator
            .authenticate(&SecretHash::of("another"))
            .is_some_and(|known| known.name == "Ada")
    );
    assert!(operator.authenticate(&SecretHash::of("token")).is_none());
}

#[test]
fn somebody_always_administers() {
    let history = [Event::Added(added()), Event::Changed(changed())];
    given::<Operator>(&history)
        .when(remove())
        .then_refused(Rule::LastAdmin);
    given::<Operator>(&history)
        .when(Command::Remove {
            another_admin_remains: true,
        })
        .then(&[removed()]);
}

#[test]
fn roles_allow_what_they_say() {
    let all = [Action::Read, Action::Revoke, Action::Configure];
    let allowed = |role: Role| all.map(|action| role.may(action));
    assert_eq!(allowed(Role::Admin), [true, true, true]);
    assert_eq!(allowed(Role::Responder), [true, true, false]);
    assert_eq!(allowed(Role::Auditor), [true, false, false]);
    for role in [Role::Admin, Role::Responder, Role::Auditor] {
        let wire = serde_json::to_value(role).expect("plain");
        assert_eq!(wire, role.to_string());
    }
}

proptest! {
    #[test]
    fn any_order_of_events_folds(history in prop::collection::vec(prop::sample::select(
        vec![Event::Added(added()), Event::Changed(changed()), Event::TokenReplaced(replaced()), removed()]), 0..8)
    ) {
        let operator = after::<Operator>(&history);
        if history.contains(&removed()) {
            prop_assert!(operator.authenticate(&SecretHash::of("token")).is_none());
        }
    }
}
