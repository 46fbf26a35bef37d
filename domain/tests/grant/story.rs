//! The grant that the tests tell of: one event each second, and commands that would succeed.

use chrono::TimeDelta;
use domain::Timestamp;
use domain::grant::{
    Authorize, CodeIssued, CodeRedeemed, Consent, Event, LoginSucceeded, RedeemCode, RefreshSalt,
    RefreshTokenIssued, RefreshTokenRetried, RefreshTokenRotated, Requested, RevocationReason,
    Revoked, RotateRefreshToken, TokenPolicy,
};
use domain::id::{ClientId, ProviderId, ProxyId, SubjectId};
use domain::resource::{OwnResources, RequestedResource, Resource};
use domain::secret::SecretHash;
use uuid::Uuid;

use crate::support::at;

pub const CLIENT: ClientId = ClientId(Uuid::from_u128(1));
pub const STRANGER: ClientId = ClientId(Uuid::from_u128(2));
pub const PROXY: ProxyId = ProxyId(1);
pub const OTHER_PROXY: ProxyId = ProxyId(2);
pub const SUBJECT: SubjectId = SubjectId(Uuid::from_u128(3));

pub const REDIRECT_URI: &str = "https://client.example/callback";
pub const RESOURCE: &str = "https://mcp.example/proxy/1/mcp";
pub const SHORT_RESOURCE: &str = "https://mcp.example/mcp";
/// RFC 7636 appendix B.
pub const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

pub const CODE_S: i64 = 60;
pub const ACCESS_S: i64 = 3600;
pub const REFRESH_S: i64 = 30 * 86_400;
pub const RETRY_S: i64 = 600;
pub const GRANT_S: i64 = 365 * 86_400;

/// When the story's code is issued, and when it is redeemed.
pub const CODE_AT: i64 = 1;
pub const REDEEMED_AT: i64 = 2;

pub fn policy() -> TokenPolicy {
    TokenPolicy {
        access_token: TimeDelta::seconds(ACCESS_S),
        refresh_token: TimeDelta::seconds(REFRESH_S),
        refresh_retry: TimeDelta::seconds(RETRY_S),
    }
}

pub fn requested() -> Requested {
    Requested {
        proxy_id: PROXY,
        client_id: CLIENT,
        provider_id: ProviderId(1),
        redirect_uri: REDIRECT_URI.parse().expect("valid"),
        scope: "read write".parse().expect("valid"),
        resource: RESOURCE.parse().expect("valid"),
        requested_at: at(-30),
    }
}

pub fn code_hash() -> SecretHash {
    SecretHash::of("the code")
}

pub fn salt() -> RefreshSalt {
    RefreshSalt([7; 16])
}

pub fn authorize() -> Authorize {
    Authorize {
        request: requested(),
        subject: SUBJECT,
        consent: Consent::Given,
        code: code_hash(),
        code_lifetime: TimeDelta::seconds(CODE_S),
        code_challenge: CHALLENGE.parse().expect("valid"),
        grant_lifetime: TimeDelta::seconds(GRANT_S),
    }
}

/// A resource that a token request names, at a proxy that has the story's and a short name for it.
pub fn naming(resource: Resource) -> Option<RequestedResource> {
    let own = OwnResources {
        canonical: RESOURCE.parse().expect("valid"),
        others: vec![SHORT_RESOURCE.parse().expect("valid")],
    };
    Some(RequestedResource { resource, own })
}

pub fn redeem() -> RedeemCode {
    RedeemCode {
        client_id: CLIENT,
        proxy_id: PROXY,
        code: code_hash(),
        redirect_uri: Some(REDIRECT_URI.to_owned()),
        code_verifier: Some(VERIFIER.to_owned()),
        resource: None,
        refresh_salt: Some(salt()),
        policy: policy(),
    }
}

pub fn refresh(generation: u32) -> RotateRefreshToken {
    RotateRefreshToken {
        client_id: CLIENT,
        proxy_id: PROXY,
        generation,
        scope: None,
        resource: None,
        policy: policy(),
    }
}

pub fn logged_in(at: Timestamp) -> Event {
    Event::LoginSucceeded(LoginSucceeded {
        request: requested(),
        subject: SUBJECT,
        consent: Consent::Given,
        expires_at: at + TimeDelta::seconds(GRANT_S),
    })
}

pub fn code_issued(at: Timestamp) -> Event {
    Event::CodeIssued(CodeIssued {
        code: code_hash(),
        code_challenge: CHALLENGE.parse().expect("valid"),
        expires_at: at + TimeDelta::seconds(CODE_S),
    })
}

pub fn redeemed(at: Timestamp) -> Event {
    Event::CodeRedeemed(CodeRedeemed {
        access_token_expires_at: at + TimeDelta::seconds(ACCESS_S),
        refresh_token: Some(RefreshTokenIssued {
            salt: salt(),
            expires_at: at + TimeDelta::seconds(REFRESH_S),
        }),
        resource: None,
    })
}

pub fn rotated(generation: u32, at: Timestamp) -> Event {
    Event::RefreshTokenRotated(RefreshTokenRotated {
        generation,
        expires_at: at + TimeDelta::seconds(REFRESH_S),
        access_token_expires_at: at + TimeDelta::seconds(ACCESS_S),
        scope: None,
        resource: None,
    })
}

pub fn retried(generation: u32, at: Timestamp) -> Event {
    Event::RefreshTokenRetried(RefreshTokenRetried {
        generation,
        access_token_expires_at: at + TimeDelta::seconds(ACCESS_S),
        scope: None,
        resource: None,
    })
}

pub fn revoked(reason: RevocationReason, access_tokens_expire_at: Option<Timestamp>) -> Event {
    Event::Revoked(Revoked {
        reason,
        access_tokens_expire_at,
    })
}

/// A login and its code, not redeemed yet.
pub fn authorized() -> Vec<Event> {
    vec![logged_in(at(0)), code_issued(at(CODE_AT))]
}

/// The story up to a refresh token of this generation; see [`issued_at`].
pub fn up_to(generation: u32) -> Vec<Event> {
    let mut history = authorized();
    history.push(redeemed(at(REDEEMED_AT)));
    history.extend((2..=generation).map(|n| rotated(n, at(issued_at(n)))));
    history
}

/// When [`up_to`] issues the refresh token of this generation.
pub fn issued_at(generation: u32) -> i64 {
    REDEEMED_AT - 1 + i64::from(generation)
}
