//! Redeeming an authorization code (RFC 6749 §4.1.3, RFC 7636 §4.6, RFC 9700 §4.5).
//!
//! The order matters: whose code it is comes first (a stranger must not be able to burn or
//! revoke anything; nor may somebody who found a public client's code and has no verifier for it), then
//! whether it was redeemed before, then everything else. Only success consumes the code.

use super::event::{CodeIssued, CodeRedeemed, CodeReplayed, Event, RefreshTokenIssued};
use super::{Grant, Live, RedeemCode, RevocationReason, Rule, Tokens};
use crate::{Refusal, Timestamp};

pub(super) fn decide(
    grant: &Grant,
    command: &RedeemCode,
    now: Timestamp,
) -> Result<Vec<Event>, Refusal<Rule, Event>> {
    grant.expect_party(command.client_id, command.proxy_id)?;
    let live = grant.live()?;
    let code = match &live.tokens {
        Tokens::None => return Err(Rule::CodeMismatch.into()),
        Tokens::Code(code) => code,
        Tokens::Redeemed(redeemed) if redeemed.code.code == command.code => {
            verifier(&redeemed.code, command)?;
            return Err(Refusal::recording(
                Rule::CodeReplayed,
                vec![
                    Event::CodeReplayed(CodeReplayed {}),
                    live.revoked(RevocationReason::CodeReplayed),
                ],
            ));
        }
        Tokens::Redeemed(_) => return Err(Rule::CodeMismatch.into()),
    };
    check(live, code, command, now)?;
    let resource = live.narrowed(command.resource.as_ref())?;
    let end = live.authorization.expires_at;
    Ok(vec![Event::CodeRedeemed(CodeRedeemed {
        access_token_expires_at: end.min(now + command.policy.access_token),
        refresh_token: command.refresh_salt.map(|salt| RefreshTokenIssued {
            salt,
            expires_at: end.min(now + command.policy.refresh_token),
        }),
        resource,
    })])
}

fn check(live: &Live, code: &CodeIssued, command: &RedeemCode, now: Timestamp) -> Result<(), Rule> {
    if code.code != command.code {
        return Err(Rule::CodeMismatch);
    }
    if now >= code.expires_at {
        return Err(Rule::CodeExpired);
    }
    if now >= live.authorization.expires_at {
        return Err(Rule::GrantExpired);
    }
    redirect_uri(live, command)?;
    verifier(code, command)
}

/// Of a public client, all that tells it from whoever has seen the code.
fn verifier(code: &CodeIssued, command: &RedeemCode) -> Result<(), Rule> {
    let verifier = command
        .code_verifier
        .as_deref()
        .ok_or(Rule::CodeVerifierMissing)?;
    if !code.code_challenge.is_answered_by(verifier) {
        return Err(Rule::CodeVerifierMismatch);
    }
    Ok(())
}

/// OAuth 2.1 no longer asks for `redirect_uri` here (PKCE does its work), and clients that
/// follow it omit it; one that is sent must be the authorization request's.
fn redirect_uri(live: &Live, command: &RedeemCode) -> Result<(), Rule> {
    match &command.redirect_uri {
        Some(sent) if sent != live.authorization.request.redirect_uri.as_str() => {
            Err(Rule::RedirectUriMismatch)
        }
        Some(_) | None => Ok(()),
    }
}
