//! Exchanging a refresh token: rotation with retry and reuse detection (RFC 9700 §4.14.2).
//!
//! Each refresh rotates. The newest token but one is honoured again, with the *same* successor,
//! while nothing issued with that successor has been used and the retry window is open: a lost
//! answer or two requests at once must not log a person out. Anything older, or later, is reuse:
//! somebody holds a copy, and the whole grant ends.

use super::event::{Event, RefreshTokenRetried, RefreshTokenReused, RefreshTokenRotated};
use super::{Grant, Leaf, Live, Redeemed, RevocationReason, RotateRefreshToken, Rule};
use crate::resource::Resource;
use crate::scope::Scope;
use crate::{Refusal, Timestamp};

/// No client in good faith repeats one refresh more often than this.
const RETRIES_MAX: usize = 256;

pub(super) fn decide(
    grant: &Grant,
    command: &RotateRefreshToken,
    now: Timestamp,
) -> Result<Vec<Event>, Refusal<Rule, Event>> {
    grant.expect_party(command.client_id, command.proxy_id)?;
    let live = grant.live()?;
    let redeemed = live.redeemed().ok_or(Rule::UnknownRefreshToken)?;
    let leaf = redeemed.refresh.as_ref().ok_or(Rule::UnknownRefreshToken)?;
    if command.generation == 0 || command.generation > leaf.generation {
        return Err(Rule::UnknownRefreshToken.into());
    }
    if now >= live.authorization.expires_at {
        return Err(Rule::GrantExpired.into());
    }
    if command.generation == leaf.generation || is_retry(redeemed, leaf, command, now) {
        return Ok(vec![exchange(live, redeemed, leaf, command, now)?]);
    }
    Err(Refusal::recording(
        Rule::RefreshTokenReused,
        vec![
            Event::RefreshTokenReused(RefreshTokenReused {
                generation: command.generation,
                current_generation: leaf.generation,
                replaced_at: (command.generation + 1 == leaf.generation).then_some(leaf.issued_at),
            }),
            live.revoked(RevocationReason::RefreshTokenReused),
        ],
    ))
}

fn is_retry(
    redeemed: &Redeemed,
    leaf: &Leaf,
    command: &RotateRefreshToken,
    now: Timestamp,
) -> bool {
    let window = command.policy.refresh_retry;
    command.generation + 1 == leaf.generation
        && !redeemed.is_used()
        && !window.is_zero()
        && now <= leaf.issued_at + window
}

/// Rotates, or tells once more what it was rotated to.
fn exchange(
    live: &Live,
    redeemed: &Redeemed,
    leaf: &Leaf,
    command: &RotateRefreshToken,
    now: Timestamp,
) -> Result<Event, Rule> {
    if now >= leaf.expires_at {
        return Err(Rule::RefreshTokenExpired);
    }
    let is_newest = command.generation == leaf.generation;
    if !is_newest && redeemed.access_tokens.len() > RETRIES_MAX {
        return Err(Rule::RetriedTooOften);
    }
    let (scope, resource) = narrowed(live, command)?;
    let end = live.authorization.expires_at;
    let access_token_expires_at = end.min(now + command.policy.access_token);
    Ok(if is_newest {
        Event::RefreshTokenRotated(RefreshTokenRotated {
            generation: leaf.generation + 1,
            expires_at: end.min(now + command.policy.refresh_token),
            access_token_expires_at,
            scope,
            resource,
        })
    } else {
        Event::RefreshTokenRetried(RefreshTokenRetried {
            generation: leaf.generation,
            access_token_expires_at,
            scope,
            resource,
        })
    })
}

/// Scope and resource of this access token, where they are less than what was granted.
fn narrowed(
    live: &Live,
    command: &RotateRefreshToken,
) -> Result<(Option<Scope>, Option<Resource>), Rule> {
    let resource = live.narrowed(command.resource.as_ref())?;
    let granted = &live.authorization.request.scope;
    let scope = match &command.scope {
        None => None,
        Some(scope) if !granted.contains(scope) => return Err(Rule::ScopeExceeded),
        Some(scope) if scope.contains(granted) => None,
        Some(scope) => Some(scope.clone()),
    };
    Ok((scope, resource))
}
