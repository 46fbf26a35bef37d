//! The first use of each access token, and what else happens beside the tokens.

use domain::grant::{AccessTokenFirstUsed, Command, Event, Grant, Rule, UpstreamTokenRefreshed};

use crate::story::{REDEEMED_AT, issued_at, retried, up_to};
use crate::support::{at, given, id};

fn record(jti: i64) -> Command {
    Command::RecordAccessTokenUse { jti: id(jti) }
}

fn used(jti: i64) -> Event {
    Event::AccessTokenFirstUsed(AccessTokenFirstUsed { jti: id(jti) })
}

#[test]
fn only_the_first_use_is_recorded() {
    let mut history = up_to(2);
    given::<Grant>(&history)
        .when(record(issued_at(2)))
        .then(&[used(issued_at(2))]);
    history.push(used(issued_at(2)));
    given::<Grant>(&history)
        .when(record(issued_at(2)))
        .then(&[]);
}

#[test]
fn each_token_of_a_retried_refresh_has_its_own_first_use() {
    let retried_at = issued_at(2) + 1;
    let mut history = up_to(2);
    history.push(retried(2, at(retried_at)));
    history.push(used(issued_at(2)));
    given::<Grant>(&history)
        .when(record(retried_at))
        .then(&[used(retried_at)]);
    history.push(used(retried_at));
    for jti in [issued_at(2), retried_at] {
        given::<Grant>(&history).when(record(jti)).then(&[]);
    }
}

#[test]
fn a_token_that_never_had_a_refresh_token_beside_it_is_recorded_once_too() {
    let mut history = up_to(1);
    if let Some(Event::CodeRedeemed(tokens)) = history.last_mut() {
        tokens.refresh_token = None;
    }
    given::<Grant>(&history)
        .when(record(REDEEMED_AT))
        .then(&[used(REDEEMED_AT)]);
    history.push(used(REDEEMED_AT));
    given::<Grant>(&history).when(record(REDEEMED_AT)).then(&[]);
}

#[test]
fn an_older_token_may_be_used_until_it_ends() {
    given::<Grant>(&up_to(3))
        .when(record(issued_at(2)))
        .then(&[used(issued_at(2))]);
}

#[test]
fn nothing_is_used_once_the_grant_was_revoked() {
    let mut history = up_to(2);
    history.push(crate::revoke::by_client());
    given::<Grant>(&history)
        .when(record(issued_at(2)))
        .then(&[]);
    given::<Grant>(&[]).when(record(issued_at(2))).then(&[]);
}

#[test]
fn the_provider_renews_its_tokens_while_the_grant_lives() {
    let expires_at = Some(at(5000));
    let renew = Command::RecordUpstreamRefresh { expires_at };
    let renewed = Event::UpstreamTokenRefreshed(UpstreamTokenRefreshed { expires_at });
    given::<Grant>(&up_to(1))
        .when(renew.clone())
        .then(std::slice::from_ref(&renewed));
    let mut history = up_to(1);
    history.push(renewed);
    history.push(crate::revoke::by_client());
    given::<Grant>(&history)
        .when(renew)
        .then_refused(Rule::Revoked);
}
