//! A refresh token that comes back when it must not: the whole grant ends, and the record says
//! how late it was.

use chrono::TimeDelta;
use domain::explain;
use domain::grant::{
    AccessTokenFirstUsed, Command, Event, Grant, RefreshTokenReused, RevocationReason,
    RotateRefreshToken, Rule,
};

use crate::story::{
    ACCESS_S, OTHER_PROXY, RETRY_S, STRANGER, issued_at, naming, refresh, retried, revoked, up_to,
};
use crate::support::{after, at, given, id};

fn used(jti: i64) -> Event {
    Event::AccessTokenFirstUsed(AccessTokenFirstUsed { jti: id(jti) })
}

/// What is recorded when `generation` comes back while `current` is the newest.
fn reuse(generation: u32, current: u32, replaced_at: Option<i64>) -> Event {
    Event::RefreshTokenReused(RefreshTokenReused {
        generation,
        current_generation: current,
        replaced_at: replaced_at.map(at),
    })
}

#[track_caller]
fn check(history: &[Event], second: i64, command: RotateRefreshToken, reuse: Event) {
    let last = history
        .iter()
        .filter_map(|event| match event {
            Event::CodeRedeemed(tokens) => Some(tokens.access_token_expires_at),
            Event::RefreshTokenRotated(tokens) => Some(tokens.access_token_expires_at),
            Event::RefreshTokenRetried(tokens) => Some(tokens.access_token_expires_at),
            _ => None,
        })
        .max();
    given::<Grant>(history)
        .when_at(second, Command::RotateRefreshToken(command))
        .then_refused_recording(
            Rule::RefreshTokenReused,
            vec![reuse, revoked(RevocationReason::RefreshTokenReused, last)],
        );
}

#[test]
fn one_instant_after_the_retry_window() {
    let second = issued_at(3) + RETRY_S + 1;
    check(
        &up_to(3),
        second,
        refresh(2),
        reuse(2, 3, Some(issued_at(3))),
    );
}

#[test]
fn any_older_generation_at_once() {
    for generation in 1..4 {
        check(
            &up_to(5),
            issued_at(5),
            refresh(generation),
            reuse(generation, 5, None),
        );
    }
}

#[test]
fn strict_rotation_knows_no_retry_not_even_at_the_same_instant() {
    let mut strict = refresh(2);
    strict.policy.refresh_retry = TimeDelta::zero();
    check(
        &up_to(3),
        issued_at(3),
        strict,
        reuse(2, 3, Some(issued_at(3))),
    );
}

#[test]
fn after_an_access_token_of_the_successor_was_used() {
    let mut history = up_to(3);
    history.push(used(issued_at(3)));
    check(
        &history,
        issued_at(3) + 2,
        refresh(2),
        reuse(2, 3, Some(issued_at(3))),
    );
}

#[test]
fn after_an_access_token_of_a_retry_was_used() {
    let retried_at = issued_at(3) + 1;
    let mut history = up_to(3);
    history.push(retried(3, at(retried_at)));
    history.push(used(retried_at));
    check(
        &history,
        retried_at + 2,
        refresh(2),
        reuse(2, 3, Some(issued_at(3))),
    );
}

#[test]
fn use_of_an_older_access_token_ends_no_retry() {
    let mut history = up_to(3);
    history.push(used(issued_at(2)));
    given::<Grant>(&history)
        .when_at(issued_at(3) + 2, Command::RotateRefreshToken(refresh(2)))
        .then(&[retried(3, at(issued_at(3) + 2))]);
}

#[test]
fn after_the_successor_itself_was_exchanged() {
    check(&up_to(3), issued_at(3), refresh(1), reuse(1, 3, None));
}

#[test]
fn a_wrong_scope_or_resource_makes_it_no_less_a_reuse() {
    let mut careless = refresh(1);
    careless.scope = Some("admin".parse().expect("valid"));
    careless.resource = naming("https://other.example/".parse().expect("valid"));
    check(&up_to(3), 10, careless, reuse(1, 3, None));
}

#[test]
fn a_strangers_attempt_revokes_nothing() {
    for (change, rule) in [
        (
            (|c| c.client_id = STRANGER) as fn(&mut RotateRefreshToken),
            Rule::ClientMismatch,
        ),
        (|c| c.proxy_id = OTHER_PROXY, Rule::ProxyMismatch),
    ] {
        let mut command = refresh(1);
        change(&mut command);
        given::<Grant>(&up_to(3))
            .when(Command::RotateRefreshToken(command))
            .then_refused(rule);
    }
}

#[test]
fn after_reuse_nothing_lives_and_the_token_is_still_known_as_ours() {
    let mut history = up_to(3);
    history.push(reuse(1, 3, None));
    history.push(revoked(
        RevocationReason::RefreshTokenReused,
        Some(at(issued_at(3) + ACCESS_S)),
    ));
    let state = after::<Grant>(&history);
    assert!(!state.is_in_force(at(10)));
    assert_eq!(state.leaf(), None);
    assert_eq!(state.refresh_salt(), Some(crate::story::salt()));
    for generation in 1..=4 {
        given::<Grant>(&history)
            .when(Command::RotateRefreshToken(refresh(generation)))
            .then_refused(Rule::Revoked);
    }
}

#[test]
fn the_story_says_how_late_the_token_came_back() {
    let mut history = up_to(4);
    history.push(used(issued_at(4)));
    let second = issued_at(4) + 4 * 60 + 12;
    check(
        &history,
        second,
        refresh(3),
        reuse(3, 4, Some(issued_at(4))),
    );
    assert_eq!(
        explain(&reuse(3, 4, Some(issued_at(4))).into(), at(second)),
        "Refresh token 3 came back 4 min 12 s after it was replaced; the grant was revoked."
    );
    assert_eq!(
        explain(&reuse(1, 4, None).into(), at(second)),
        "Refresh token 1 came back when refresh token 4 was the newest; the grant was revoked."
    );
}
