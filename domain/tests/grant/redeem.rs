//! Redeeming a code: each violation alone fails and consumes nothing; a replay ends the grant.

use chrono::TimeDelta;
use domain::grant::{
    CodeRedeemed, CodeReplayed, Command, Event, Grant, RedeemCode, RevocationReason, Rule,
};
use domain::resource::Resource;
use domain::secret::SecretHash;

use crate::story::{
    ACCESS_S, CODE_AT, CODE_S, GRANT_S, OTHER_PROXY, REDEEMED_AT, REDIRECT_URI, RESOURCE,
    SHORT_RESOURCE, STRANGER, VERIFIER, authorized, logged_in, naming, redeem, redeemed, revoked,
    up_to,
};
use crate::support::{after, at, given};

/// The redemption of the story with something changed.
fn redeem_with(change: impl FnOnce(&mut RedeemCode)) -> Command {
    let mut command = redeem();
    change(&mut command);
    Command::RedeemCode(command)
}

/// A violation alone is refused for its rule, and the right redemption still succeeds after it:
/// a refusal without events leaves the state as it was.
#[track_caller]
fn check(change: impl FnOnce(&mut RedeemCode), rule: Rule) {
    given::<Grant>(&authorized())
        .when_at(REDEEMED_AT, redeem_with(change))
        .then_refused(rule);
}

#[test]
fn the_right_client_with_the_right_code_gets_tokens() {
    given::<Grant>(&authorized())
        .when_at(REDEEMED_AT, redeem_with(|_| {}))
        .then(&[redeemed(at(REDEEMED_AT))]);
}

#[test]
fn redirect_uri_and_resource_may_be_left_out() {
    let lenient = redeem_with(|command| {
        command.redirect_uri = None;
        command.resource = naming(RESOURCE.parse().expect("valid"));
    });
    given::<Grant>(&authorized())
        .when_at(REDEEMED_AT, lenient)
        .then(&[redeemed(at(REDEEMED_AT))]);
}

#[test]
fn another_client() {
    check(|c| c.client_id = STRANGER, Rule::ClientMismatch);
}

#[test]
fn another_proxy() {
    check(|c| c.proxy_id = OTHER_PROXY, Rule::ProxyMismatch);
}

#[test]
fn another_code() {
    check(|c| c.code = SecretHash::of("a guess"), Rule::CodeMismatch);
}

#[test]
fn another_redirect_uri() {
    for uri in [
        "",
        "https://client.example/callback/",
        "https://client.example/callback?a",
        "https://client.example:443/callback",
        "HTTPS://client.example/callback",
    ] {
        assert_ne!(uri, REDIRECT_URI);
        check(
            |c| c.redirect_uri = Some(uri.to_owned()),
            Rule::RedirectUriMismatch,
        );
    }
}

#[test]
fn no_verifier() {
    check(|c| c.code_verifier = None, Rule::CodeVerifierMissing);
}

#[test]
fn another_verifier() {
    for verifier in [
        String::new(),
        VERIFIER[1..].to_owned(),
        format!("{VERIFIER}A"),
        VERIFIER.to_lowercase(),
        "a".repeat(129),
    ] {
        check(
            |c| c.code_verifier = Some(verifier),
            Rule::CodeVerifierMismatch,
        );
    }
}

#[test]
fn another_resource() {
    let other = "https://mcp.example/proxy/2/mcp";
    check(
        |c| c.resource = naming(other.parse().expect("valid")),
        Rule::ResourceMismatch,
    );
}

/// Tokens for the canonical resource are good at each of the proxy's own, so one for another of
/// them is less (RFC 8707 §2.2); the other way round it would be more.
#[test]
fn of_all_resources_of_a_proxy_a_token_may_be_for_one() {
    let Event::CodeRedeemed(tokens) = redeemed(at(REDEEMED_AT)) else {
        panic!("a redemption");
    };
    let short: Resource = SHORT_RESOURCE.parse().expect("valid");
    let spelled_otherwise = "HTTPS://mcp.example/mcp/".parse().expect("valid");
    given::<Grant>(&authorized())
        .when_at(
            REDEEMED_AT,
            redeem_with(|c| c.resource = naming(spelled_otherwise)),
        )
        .then(&[Event::CodeRedeemed(CodeRedeemed {
            resource: Some(short.clone()),
            ..tokens
        })]);
    let mut narrow = authorized();
    let Event::LoginSucceeded(login) = &mut narrow[0] else {
        panic!("the story begins with a login");
    };
    login.request.resource = short;
    let canonical = RESOURCE.parse().expect("valid");
    given::<Grant>(&narrow)
        .when_at(REDEEMED_AT, redeem_with(|c| c.resource = naming(canonical)))
        .then_refused(Rule::ResourceMismatch);
}

#[test]
fn a_code_is_good_until_its_end_and_not_at_it() {
    let end = CODE_AT + CODE_S;
    given::<Grant>(&authorized())
        .when_at(end - 1, redeem_with(|_| {}))
        .then(&[redeemed(at(end - 1))]);
    given::<Grant>(&authorized())
        .when_at(end, redeem_with(|_| {}))
        .then_refused(Rule::CodeExpired);
}

#[test]
fn a_grant_that_is_over_issues_nothing_even_for_a_good_code() {
    let mut history = authorized();
    let Event::LoginSucceeded(login) = &mut history[0] else {
        panic!("the story begins with a login");
    };
    login.expires_at = at(10);
    given::<Grant>(&history)
        .when_at(10, redeem_with(|_| {}))
        .then_refused(Rule::GrantExpired);
    given::<Grant>(&history)
        .when_at(9, redeem_with(|command| command.refresh_salt = None))
        .then(&[Event::CodeRedeemed(CodeRedeemed {
            access_token_expires_at: at(10),
            refresh_token: None,
            resource: None,
        })]);
}

#[test]
fn no_token_outlives_the_grant() {
    let long = redeem_with(|command| {
        command.policy.access_token = TimeDelta::seconds(2 * GRANT_S);
        command.policy.refresh_token = TimeDelta::seconds(2 * GRANT_S);
    });
    let mut expected = redeemed(at(REDEEMED_AT));
    let Event::CodeRedeemed(tokens) = &mut expected else {
        panic!("a redemption");
    };
    tokens.access_token_expires_at = at(GRANT_S);
    if let Some(refresh_token) = &mut tokens.refresh_token {
        refresh_token.expires_at = at(GRANT_S);
    }
    given::<Grant>(&authorized())
        .when_at(REDEEMED_AT, long)
        .then(&[expected]);
}

#[test]
fn who_may_not_refresh_gets_no_refresh_token() {
    given::<Grant>(&authorized())
        .when_at(REDEEMED_AT, redeem_with(|c| c.refresh_salt = None))
        .then(&[Event::CodeRedeemed(CodeRedeemed {
            access_token_expires_at: at(REDEEMED_AT + ACCESS_S),
            refresh_token: None,
            resource: None,
        })]);
}

#[test]
fn a_code_that_was_never_issued_is_not_redeemed() {
    given::<Grant>(&[logged_in(at(0))])
        .when(redeem_with(|_| {}))
        .then_refused(Rule::CodeMismatch);
}

#[test]
fn a_replay_by_the_right_client_ends_the_grant() {
    for history in [up_to(1), up_to(4)] {
        let last = at(history.len() as i64 - 1 + ACCESS_S);
        given::<Grant>(&history)
            .when(redeem_with(|_| {}))
            .then_refused_recording(
                Rule::CodeReplayed,
                vec![
                    Event::CodeReplayed(CodeReplayed {}),
                    revoked(RevocationReason::CodeReplayed, Some(last)),
                ],
            );
    }
}

/// Whoever has the code and its verifier is the client: what else the request says does not make it less of a replay.
#[test]
fn a_replay_needs_nothing_else_to_be_right() {
    let careless = redeem_with(|command| {
        command.redirect_uri = Some("https://elsewhere.example/".to_owned());
        command.resource = naming("https://elsewhere.example/".parse().expect("valid"));
    });
    given::<Grant>(&up_to(1))
        .when_at(9 * CODE_S, careless)
        .then_refused_recording(
            Rule::CodeReplayed,
            vec![
                Event::CodeReplayed(CodeReplayed {}),
                revoked(
                    RevocationReason::CodeReplayed,
                    Some(at(REDEEMED_AT + ACCESS_S)),
                ),
            ],
        );
}

#[test]
fn a_strangers_replay_revokes_nothing() {
    given::<Grant>(&up_to(1))
        .when(redeem_with(|c| c.client_id = STRANGER))
        .then_refused(Rule::ClientMismatch);
    given::<Grant>(&up_to(1))
        .when(redeem_with(|c| c.proxy_id = OTHER_PROXY))
        .then_refused(Rule::ProxyMismatch);
}

/// Codes stand in the histories of browsers, and anybody can name a public client.
#[test]
fn a_used_code_without_its_verifier_revokes_nothing() {
    given::<Grant>(&up_to(1))
        .when(redeem_with(|c| c.code_verifier = None))
        .then_refused(Rule::CodeVerifierMissing);
    given::<Grant>(&up_to(1))
        .when(redeem_with(|c| c.code_verifier = Some("x".repeat(43))))
        .then_refused(Rule::CodeVerifierMismatch);
}

#[test]
fn a_guess_after_the_redemption_revokes_nothing() {
    given::<Grant>(&up_to(1))
        .when(redeem_with(|c| c.code = SecretHash::of("a guess")))
        .then_refused(Rule::CodeMismatch);
}

#[test]
fn after_the_replay_every_further_one_gets_the_same_answer() {
    let mut history = up_to(2);
    history.push(Event::CodeReplayed(CodeReplayed {}));
    history.push(revoked(RevocationReason::CodeReplayed, None));
    assert!(!after::<Grant>(&history).is_in_force(at(10)));
    given::<Grant>(&history)
        .when(redeem_with(|_| {}))
        .then_refused(Rule::Revoked);
    given::<Grant>(&history)
        .when(redeem_with(|c| c.client_id = STRANGER))
        .then_refused(Rule::ClientMismatch);
}
