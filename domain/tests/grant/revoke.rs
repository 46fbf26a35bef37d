//! Ending a grant before its time.

use domain::grant::{Command, Event, Grant, RevocationReason, Rule};
use domain::id::{ClientId, ProxyId};

use crate::story::{
    ACCESS_S, CLIENT, OTHER_PROXY, PROXY, REDEEMED_AT, STRANGER, authorized, issued_at, redeem,
    refresh, retried, revoked, up_to,
};
use crate::support::{after, at, given};

/// The client gave up the grant of the story.
pub fn by_client() -> Event {
    revoked(
        RevocationReason::ClientRequest,
        Some(at(REDEEMED_AT + ACCESS_S)),
    )
}

fn revoke_by(client_id: ClientId, proxy_id: ProxyId) -> Command {
    Command::RevokeByClient {
        client_id,
        proxy_id,
    }
}

fn by_operator() -> RevocationReason {
    RevocationReason::by_operator("stolen laptop").expect("valid")
}

#[test]
fn a_client_gives_up_its_own_grant() {
    given::<Grant>(&up_to(1))
        .when(revoke_by(CLIENT, PROXY))
        .then(&[by_client()]);
}

#[test]
fn a_client_ends_no_other_clients_grant_nor_at_another_proxy() {
    given::<Grant>(&up_to(1))
        .when(revoke_by(STRANGER, PROXY))
        .then_refused(Rule::ClientMismatch);
    given::<Grant>(&up_to(1))
        .when(revoke_by(CLIENT, OTHER_PROXY))
        .then_refused(Rule::ProxyMismatch);
}

#[test]
fn the_second_time_there_is_nothing_to_record() {
    let history = [up_to(1), vec![by_client()]].concat();
    given::<Grant>(&history)
        .when(revoke_by(CLIENT, PROXY))
        .then(&[]);
    given::<Grant>(&history)
        .when(Command::Revoke {
            reason: by_operator(),
        })
        .then(&[]);
}

#[test]
fn others_end_it_with_their_reason() {
    for reason in [
        by_operator(),
        RevocationReason::ClientRemoved,
        RevocationReason::ProxyRemoved,
        RevocationReason::ProviderRemoved,
        RevocationReason::UpstreamRefused,
    ] {
        given::<Grant>(&authorized())
            .when(Command::Revoke {
                reason: reason.clone(),
            })
            .then(&[revoked(reason, None)]);
    }
}

/// Gateways refuse the grant's access tokens until then, so it must be the latest of all, not
/// the newest's.
#[test]
fn the_last_end_of_any_access_token_is_recorded() {
    let mut history = up_to(2);
    history.push(retried(2, at(9000)));
    if let Event::RefreshTokenRotated(tokens) = &mut history[3] {
        tokens.access_token_expires_at = at(20_000);
    }
    given::<Grant>(&history)
        .when(revoke_by(CLIENT, PROXY))
        .then(&[revoked(RevocationReason::ClientRequest, Some(at(20_000)))]);
    given::<Grant>(&up_to(2))
        .when(revoke_by(CLIENT, PROXY))
        .then(&[revoked(
            RevocationReason::ClientRequest,
            Some(at(issued_at(2) + ACCESS_S)),
        )]);
}

#[test]
fn what_can_be_done_with_a_grant_has_an_end() {
    let ends = |history: &[_]| after::<Grant>(history).live_until();
    let story = up_to(2);
    let code = story[..2].to_vec();
    assert_eq!(ends(&[]), None);
    assert_eq!(ends(&code), Some(at(61)), "the code's");
    let leaf = after::<Grant>(&story).leaf().map(|leaf| leaf.expires_at);
    assert_eq!(ends(&story), leaf);
    assert!(leaf > ends(&code));
    assert_eq!(ends(&[story, vec![by_client()]].concat()), None);
}

#[test]
fn nothing_lives_after_it() {
    let history = [up_to(2), vec![by_client()]].concat();
    let state = after::<Grant>(&history);
    assert!(!state.is_in_force(at(5)));
    assert_eq!(state.leaf(), None);
    for command in [
        Command::RedeemCode(redeem()),
        Command::RotateRefreshToken(refresh(1)),
        Command::RotateRefreshToken(refresh(2)),
    ] {
        given::<Grant>(&history)
            .when(command)
            .then_refused(Rule::Revoked);
    }
    let before_redemption = [authorized(), vec![by_client()]].concat();
    given::<Grant>(&before_redemption)
        .when_at(3, Command::RedeemCode(redeem()))
        .then_refused(Rule::Revoked);
}
