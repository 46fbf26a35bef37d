//! Refreshing in good faith: rotation, scope, ends, and the retry of a lost answer.

use chrono::TimeDelta;
use domain::grant::{
    Command, Event, Grant, RefreshTokenRetried, RefreshTokenRotated, RotateRefreshToken, Rule,
};
use domain::resource::Resource;

use crate::story::{
    ACCESS_S, GRANT_S, OTHER_PROXY, REFRESH_S, RETRY_S, SHORT_RESOURCE, STRANGER, authorized,
    issued_at, naming, refresh, retried, rotated, salt, up_to,
};
use crate::support::{after, at, given};

/// The exchange of this generation with something changed.
fn refresh_with(generation: u32, change: impl FnOnce(&mut RotateRefreshToken)) -> Command {
    let mut command = refresh(generation);
    change(&mut command);
    Command::RotateRefreshToken(command)
}

fn refresh_plainly(generation: u32) -> Command {
    refresh_with(generation, |_| {})
}

fn scope(text: &str) -> impl FnOnce(&mut RotateRefreshToken) {
    let scope = text.parse().expect("valid");
    |command| command.scope = Some(scope)
}

#[test]
fn each_refresh_issues_the_next_generation() {
    for generation in 1..5 {
        given::<Grant>(&up_to(generation))
            .when(refresh_plainly(generation))
            .then(&[rotated(generation + 1, at(1000))]);
    }
}

#[test]
fn each_violation_alone_changes_nothing() {
    type Change = fn(&mut RotateRefreshToken);
    let cases: [(Change, Rule); 6] = [
        (|c| c.client_id = STRANGER, Rule::ClientMismatch),
        (|c| c.proxy_id = OTHER_PROXY, Rule::ProxyMismatch),
        (|c| c.generation = 3, Rule::UnknownRefreshToken),
        (|c| c.generation = 0, Rule::UnknownRefreshToken),
        (
            |c| c.resource = naming("https://other.example/".parse().expect("valid")),
            Rule::ResourceMismatch,
        ),
        (
            |c| c.scope = Some("read admin".parse().expect("valid")),
            Rule::ScopeExceeded,
        ),
    ];
    for (change, rule) in cases {
        given::<Grant>(&up_to(2))
            .when(refresh_with(2, change))
            .then_refused(rule);
    }
}

#[test]
fn a_narrower_scope_holds_for_that_access_token_only() {
    let Event::RefreshTokenRotated(tokens) = rotated(2, at(1000)) else {
        panic!("a rotation");
    };
    let narrow = Event::RefreshTokenRotated(RefreshTokenRotated {
        scope: Some("read".parse().expect("valid")),
        ..tokens
    });
    given::<Grant>(&up_to(1))
        .when(refresh_with(1, scope("read")))
        .then(std::slice::from_ref(&narrow));
    let mut history = up_to(1);
    history.push(narrow);
    given::<Grant>(&history)
        .when(refresh_with(2, scope("write read")))
        .then(&[rotated(3, at(1000))]);
}

#[test]
fn another_resource_of_the_proxy_holds_for_that_access_token_only() {
    let short: Resource = SHORT_RESOURCE.parse().expect("valid");
    let narrower = |c: &mut RotateRefreshToken| c.resource = naming(short.clone());
    let Event::RefreshTokenRotated(tokens) = rotated(2, at(1000)) else {
        panic!("a rotation");
    };
    let narrow = Event::RefreshTokenRotated(RefreshTokenRotated {
        resource: Some(short.clone()),
        ..tokens
    });
    given::<Grant>(&up_to(1))
        .when(refresh_with(1, narrower))
        .then(std::slice::from_ref(&narrow));
    let mut history = up_to(1);
    history.push(narrow);
    given::<Grant>(&history)
        .when_at(issued_at(2), refresh_with(1, narrower))
        .then(&[Event::RefreshTokenRetried(RefreshTokenRetried {
            generation: 2,
            access_token_expires_at: at(issued_at(2) + ACCESS_S),
            scope: None,
            resource: Some(short.clone()),
        })]);
    given::<Grant>(&history)
        .when_at(1000, refresh_plainly(2))
        .then(&[rotated(3, at(1000))]);
}

#[test]
fn before_the_redemption_and_without_a_refresh_token_there_is_nothing_to_refresh() {
    let mut without = up_to(1);
    let Some(Event::CodeRedeemed(tokens)) = without.last_mut() else {
        panic!("the story ends with a redemption");
    };
    tokens.refresh_token = None;
    for history in [authorized(), without] {
        given::<Grant>(&history)
            .when(refresh_plainly(1))
            .then_refused(Rule::UnknownRefreshToken);
    }
}

#[test]
fn a_refresh_token_unused_for_too_long_is_dead() {
    let end = issued_at(2) + REFRESH_S;
    given::<Grant>(&up_to(2))
        .when_at(end - 1, refresh_plainly(2))
        .then(&[rotated(3, at(end - 1))]);
    given::<Grant>(&up_to(2))
        .when_at(end, refresh_plainly(2))
        .then_refused(Rule::RefreshTokenExpired);
}

/// A story whose refresh tokens never die of age.
fn long_lived(generation: u32) -> Vec<Event> {
    let mut history = up_to(generation);
    if let Some(Event::RefreshTokenRotated(tokens)) = history.last_mut() {
        tokens.expires_at = at(GRANT_S);
    }
    history
}

#[test]
fn rotation_never_moves_the_end_of_the_grant() {
    let late = GRANT_S - 10;
    given::<Grant>(&long_lived(2))
        .when_at(late, refresh_plainly(2))
        .then(&[Event::RefreshTokenRotated(RefreshTokenRotated {
            generation: 3,
            expires_at: at(GRANT_S),
            access_token_expires_at: at(GRANT_S),
            scope: None,
            resource: None,
        })]);
    for generation in [1, 2] {
        given::<Grant>(&long_lived(2))
            .when_at(GRANT_S, refresh_plainly(generation))
            .then_refused(Rule::GrantExpired);
    }
    let state = after::<Grant>(&up_to(40));
    assert_eq!(
        state.authorization().map(|a| a.expires_at),
        Some(at(GRANT_S))
    );
}

#[test]
fn a_lost_answer_is_given_again_with_the_same_successor() {
    given::<Grant>(&up_to(3))
        .when_at(issued_at(3) + 1, refresh_plainly(2))
        .then(&[retried(3, at(issued_at(3) + 1))]);
    // However often it is asked for, and the successor is still the one that rotates.
    let mut history = up_to(3);
    history.push(retried(3, at(issued_at(3) + 1)));
    history.push(retried(3, at(issued_at(3) + 2)));
    given::<Grant>(&history)
        .when_at(issued_at(3) + 3, refresh_plainly(2))
        .then(&[retried(3, at(issued_at(3) + 3))]);
    given::<Grant>(&history)
        .when(refresh_plainly(3))
        .then(&[rotated(4, at(1000))]);
    assert_eq!(after::<Grant>(&history).refresh_salt(), Some(salt()));
}

#[test]
fn the_retry_window_is_open_at_its_last_instant() {
    let last = issued_at(3) + RETRY_S;
    given::<Grant>(&up_to(3))
        .when_at(last, refresh_plainly(2))
        .then(&[retried(3, at(last))]);
}

#[test]
fn a_retry_obeys_scope_resource_client_and_proxy() {
    let now = issued_at(3) + 1;
    given::<Grant>(&up_to(3))
        .when_at(now, refresh_with(2, scope("read")))
        .then(&[Event::RefreshTokenRetried(RefreshTokenRetried {
            generation: 3,
            access_token_expires_at: at(now + ACCESS_S),
            scope: Some("read".parse().expect("valid")),
            resource: None,
        })]);
    let other = "https://other.example/".parse().expect("valid");
    for (command, rule) in [
        (refresh_with(2, scope("admin")), Rule::ScopeExceeded),
        (
            refresh_with(2, |c| c.resource = naming(other)),
            Rule::ResourceMismatch,
        ),
        (
            refresh_with(2, |c| c.client_id = STRANGER),
            Rule::ClientMismatch,
        ),
        (
            refresh_with(2, |c| c.proxy_id = OTHER_PROXY),
            Rule::ProxyMismatch,
        ),
    ] {
        given::<Grant>(&up_to(3))
            .when_at(now, command)
            .then_refused(rule);
    }
}

#[test]
fn a_retry_does_not_outlive_its_successor_or_the_grant() {
    let now = issued_at(3) + 100;
    let mut history = up_to(3);
    let Some(Event::RefreshTokenRotated(successor)) = history.last_mut() else {
        panic!("the story ends with a rotation");
    };
    successor.expires_at = at(now);
    given::<Grant>(&history)
        .when_at(now, refresh_plainly(2))
        .then_refused(Rule::RefreshTokenExpired);
    given::<Grant>(&history)
        .when_at(
            now - 1,
            refresh_with(2, |c| {
                c.policy.access_token = TimeDelta::seconds(2 * GRANT_S)
            }),
        )
        .then(&[Event::RefreshTokenRetried(RefreshTokenRetried {
            generation: 3,
            access_token_expires_at: at(GRANT_S),
            scope: None,
            resource: None,
        })]);
}

#[test]
fn retries_have_an_end() {
    let now = issued_at(2) + 1;
    let retries = |n| {
        let mut history = up_to(2);
        history.extend(std::iter::repeat_n(retried(2, at(now)), n));
        given::<Grant>(&history).when_at(now, refresh_plainly(1))
    };
    retries(255).then(&[retried(2, at(now))]);
    retries(256).then_refused(Rule::RetriedTooOften);
}
