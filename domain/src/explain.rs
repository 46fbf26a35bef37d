//! One sentence for each event, as an investigator would tell it.

use chrono::TimeDelta;

use crate::event::Event;
use crate::{Timestamp, api_key, audit, client, grant, key, operator, provider, proxy, subject};

/// Says in a sentence what an event, recorded at `at`, means.
#[must_use]
pub fn explain(event: &Event, at: Timestamp) -> String {
    match event {
        Event::Grant(event) => of_grant(event, at),
        Event::Client(event) => of_client(event),
        Event::Provider(event) => of_provider(event),
        Event::Proxy(event) => of_proxy(event),
        Event::Subject(subject::Event::FirstSeen(seen)) => format!(
            "A person logged in through provider {} for the first time.",
            seen.provider_id
        ),
        Event::Operator(event) => of_operator(event),
        Event::ApiKey(event) => of_api_key(event),
        Event::Audit(event) => of_audit(event),
        Event::Key(key::Event::Created(created)) => {
            format!("Signing key {} was created.", created.kid)
        }
        Event::Key(key::Event::Retired(retired)) => {
            format!("Signing key {} signs no more.", retired.kid)
        }
    }
}

fn of_grant(event: &grant::Event, at: Timestamp) -> String {
    match event {
        grant::Event::LoginSucceeded(login) => format!(
            "A person logged in through provider {} and authorized the client for {}{}; {}.",
            login.request.provider_id,
            scope_or_nothing(&login.request.scope.to_string()),
            match login.consent {
                grant::Consent::Given => " after consenting",
                grant::Consent::NotRequired => " (this proxy asks for no consent)",
            },
            format_args!(
                "the request had come {} before",
                span(at - login.request.requested_at)
            ),
        ),
        grant::Event::LoginFailed(failed) => format!(
            "The login through provider {} failed: {}.",
            failed.request.provider_id,
            failed.reason.replace('_', " ")
        ),
        grant::Event::ConsentDenied(_) => {
            "The person refused consent; nothing was sent to the provider.".to_owned()
        }
        grant::Event::CodeIssued(code) => format!(
            "An authorization code was sent to the client, good for {}.",
            span(code.expires_at - at)
        ),
        grant::Event::CodeRedeemed(redeemed) => format!(
            "The code was redeemed; an access token for {}{} issued.",
            span(redeemed.access_token_expires_at - at),
            if redeemed.refresh_token.is_some() {
                " and refresh token 1 were"
            } else {
                " was"
            }
        ),
        grant::Event::CodeReplayed(_) => {
            "The code was presented again after its redemption; the grant was revoked.".to_owned()
        }
        grant::Event::RefreshTokenRotated(rotated) => format!(
            "Refresh token {} was exchanged for refresh token {} and an access token for {}.",
            rotated.generation.saturating_sub(1),
            rotated.generation,
            span(rotated.access_token_expires_at - at)
        ),
        grant::Event::RefreshTokenRetried(retried) => format!(
            "The exchange of refresh token {} was repeated and answered with the same refresh \
             token {}.",
            retried.generation.saturating_sub(1),
            retried.generation
        ),
        grant::Event::RefreshTokenReused(reused) => match reused.replaced_at {
            Some(replaced_at) => format!(
                "Refresh token {} came back {} after it was replaced; the grant was revoked.",
                reused.generation,
                span(at - replaced_at)
            ),
            None => format!(
                "Refresh token {} came back when refresh token {} was the newest; the grant was \
                 revoked.",
                reused.generation, reused.current_generation
            ),
        },
        grant::Event::AccessTokenFirstUsed(used) => {
            format!(
                "Access token {} reached the MCP server for the first time.",
                used.jti
            )
        }
        grant::Event::UpstreamTokenRefreshed(_) => {
            "The provider renewed its own tokens for this grant.".to_owned()
        }
        grant::Event::Revoked(revoked) => format!("The grant was revoked: {}.", because(revoked)),
    }
}

fn because(revoked: &grant::Revoked) -> String {
    match &revoked.reason {
        grant::RevocationReason::RefreshTokenReused => "a replaced refresh token came back".into(),
        grant::RevocationReason::CodeReplayed => "its code was redeemed twice".into(),
        grant::RevocationReason::ClientRequest => "the client gave up a token".into(),
        grant::RevocationReason::ClientRemoved => "the client was removed".into(),
        grant::RevocationReason::ProxyRemoved => "the proxy was removed".into(),
        grant::RevocationReason::ProviderRemoved => "the provider was removed or replaced".into(),
        grant::RevocationReason::UpstreamRefused => {
            "the provider no longer vouches for the person".into()
        }
        grant::RevocationReason::Operator { note } => format!("an operator decided so ({note})"),
    }
}

fn of_client(event: &client::Event) -> String {
    match event {
        client::Event::Registered(_) => "A client registered itself.".to_owned(),
        client::Event::Updated(_) => "The client replaced its registration.".to_owned(),
        client::Event::FirstAuthorized(_) => {
            "The client was authorized by a person for the first time.".to_owned()
        }
        client::Event::Removed(_) => "The client was removed.".to_owned(),
        client::Event::Expired(_) => "The client was never used and expired.".to_owned(),
    }
}

fn of_provider(event: &provider::Event) -> String {
    match event {
        provider::Event::Added(added) => format!("Provider {} was added.", added.settings.name),
        provider::Event::Changed(changed) => {
            format!("Provider {} was changed.", changed.settings.name)
        }
        provider::Event::Removed(_) => "The provider was removed.".to_owned(),
    }
}

fn of_proxy(event: &proxy::Event) -> String {
    match event {
        proxy::Event::Added(added) => format!(
            "Proxy {} was added for {}.",
            added.settings.name, added.settings.upstream_url
        ),
        proxy::Event::Changed(changed) => format!(
            "Proxy {} was changed; it is {}.",
            changed.settings.name,
            if changed.settings.enabled {
                "on"
            } else {
                "off"
            }
        ),
        proxy::Event::Removed(_) => "The proxy was removed.".to_owned(),
    }
}

fn of_operator(event: &operator::Event) -> String {
    match event {
        operator::Event::Added(added) => {
            format!(
                "Operator {} was added with the role {}.",
                added.name, added.role
            )
        }
        operator::Event::Changed(changed) => {
            format!(
                "The operator is now {}, with the role {}.",
                changed.name, changed.role
            )
        }
        operator::Event::TokenReplaced(_) => {
            "The operator got another token; the old one lets nobody in.".to_owned()
        }
        operator::Event::Removed(_) => "The operator was removed.".to_owned(),
    }
}

fn of_api_key(event: &api_key::Event) -> String {
    match event {
        api_key::Event::Issued(issued) => {
            format!(
                "API key {} was issued for proxy {}.",
                issued.name, issued.proxy_id
            )
        }
        api_key::Event::Revoked(_) => "The API key was revoked.".to_owned(),
    }
}

fn of_audit(event: &audit::Event) -> String {
    match event {
        audit::Event::Read(read) => format!("An operator read {}.", read.route),
        audit::Event::RequestRefused(refused) => format!(
            "{} at {} {} refused: {}.",
            if refused.count == 1 {
                "A request".to_owned()
            } else {
                format!("{} requests", refused.count)
            },
            refused.endpoint,
            if refused.count == 1 { "was" } else { "were" },
            refused.cause.replace('_', " ")
        ),
    }
}

fn scope_or_nothing(scope: &str) -> String {
    if scope.is_empty() {
        "no particular scope".to_owned()
    } else {
        format!("`{scope}`")
    }
}

/// A span as a person says it: its two largest units.
fn span(span: TimeDelta) -> String {
    let s = span.num_seconds().max(0);
    let (d, h, min) = (s / 86_400, s / 3_600 % 24, s / 60 % 60);
    let two = |a: i64, a_unit: &str, b: i64, b_unit: &str| match b {
        0 => format!("{a} {a_unit}"),
        b => format!("{a} {a_unit} {b} {b_unit}"),
    };
    if d > 0 {
        two(d, "d", h, "h")
    } else if h > 0 {
        two(h, "h", min, "min")
    } else if min > 0 {
        two(min, "min", s % 60, "s")
    } else {
        format!("{s} s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeZone;

    #[test]
    fn reuse_says_how_late_the_token_came_back() {
        let at = chrono::Utc
            .timestamp_opt(1_700_000_000, 0)
            .single()
            .expect("valid");
        let reused = grant::Event::RefreshTokenReused(grant::RefreshTokenReused {
            generation: 3,
            current_generation: 4,
            replaced_at: Some(at - TimeDelta::seconds(252)),
        });
        assert_eq!(
            explain(&reused.into(), at),
            "Refresh token 3 came back 4 min 12 s after it was replaced; the grant was revoked."
        );
    }
}
