//! An authorization is answered once: with a grant, a failure or a refusal.

use chrono::TimeDelta;
use domain::grant::{
    Command, Consent, ConsentDenied, DenyConsent, Event, FailLogin, Grant, LoginFailed, Rule,
};
use domain::{Aggregate, Refusal};

use crate::story::{
    CLIENT, GRANT_S, PROXY, SUBJECT, authorize, authorized, code_issued, logged_in, redeem,
    refresh, requested, up_to,
};
use crate::support::{after, at, given};

fn login_failed() -> Event {
    Event::LoginFailed(LoginFailed {
        request: requested(),
        reason: "id_token_wrong_nonce".to_owned(),
    })
}

fn consent_denied() -> Event {
    Event::ConsentDenied(ConsentDenied {
        request: requested(),
    })
}

/// Everything that answers an authorization.
fn answers() -> [Command; 3] {
    [
        Command::Authorize(Box::new(authorize())),
        Command::FailLogin(FailLogin {
            request: requested(),
            reason: "id_token_wrong_nonce".to_owned(),
        }),
        Command::DenyConsent(DenyConsent {
            request: requested(),
        }),
    ]
}

#[test]
fn a_login_authorizes_and_issues_a_code_at_once() {
    given::<Grant>(&[])
        .when_at(5, Command::Authorize(Box::new(authorize())))
        .then(&[logged_in(at(5)), code_issued(at(5))]);
}

#[test]
fn a_failure_and_a_refusal_are_facts() {
    let [_, fail, deny] = answers();
    given::<Grant>(&[]).when(fail).then(&[login_failed()]);
    given::<Grant>(&[]).when(deny).then(&[consent_denied()]);
}

#[test]
fn a_second_answer_is_refused_whatever_the_first_was() {
    let revoked = [up_to(1), vec![crate::revoke::by_client()]].concat();
    for history in [
        vec![logged_in(at(0))],
        authorized(),
        up_to(2),
        revoked,
        vec![login_failed()],
        vec![consent_denied()],
    ] {
        for answer in answers() {
            given::<Grant>(&history)
                .when(answer)
                .then_refused(Rule::AlreadyAnswered);
        }
    }
}

#[test]
fn nothing_follows_from_no_login_or_a_failed_or_denied_one() {
    for history in [vec![], vec![login_failed()], vec![consent_denied()]] {
        for command in [
            Command::RedeemCode(redeem()),
            Command::RotateRefreshToken(refresh(1)),
            Command::RecordUpstreamRefresh { expires_at: None },
            Command::RevokeByClient {
                client_id: CLIENT,
                proxy_id: PROXY,
            },
            Command::Revoke {
                reason: domain::grant::RevocationReason::ClientRemoved,
            },
        ] {
            given::<Grant>(&history)
                .when(command)
                .then_refused(Rule::UnknownGrant);
        }
        let state = after::<Grant>(&history);
        assert!(!state.is_in_force(at(1)));
        assert_eq!(state.authorization(), None);
        assert_eq!(state.refresh_salt(), None);
    }
}

#[test]
fn whom_the_grant_is_about_is_known_from_the_login_on() {
    let correlation = after::<Grant>(&authorized()).correlation();
    assert_eq!(correlation.client_id, Some(CLIENT));
    assert_eq!(correlation.proxy_id, Some(PROXY));
    assert_eq!(correlation.subject, Some(SUBJECT));
    assert_eq!(Grant::default().correlation(), Default::default());
}

#[test]
fn a_grant_lives_until_its_end_and_not_at_it() {
    let state = after::<Grant>(&authorized());
    assert!(state.is_in_force(at(GRANT_S - 1)));
    assert!(!state.is_in_force(at(GRANT_S)));
}

#[test]
fn consent_and_lifetimes_are_recorded_as_they_were() {
    let mut command = authorize();
    command.consent = Consent::NotRequired;
    command.grant_lifetime = TimeDelta::seconds(100);
    command.code_lifetime = TimeDelta::seconds(10);
    let decided: Result<_, Refusal<_, _>> =
        Grant::default().decide(Command::Authorize(Box::new(command)), at(0));
    let events = decided.expect("nothing was answered before");
    let [Event::LoginSucceeded(login), Event::CodeIssued(code)] = events.as_slice() else {
        panic!("expected a login and a code, found {events:?}");
    };
    assert_eq!(login.consent, Consent::NotRequired);
    assert_eq!(login.expires_at, at(100));
    assert_eq!(code.expires_at, at(10));
}
