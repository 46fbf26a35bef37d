//! Anything that can have happened to a grant.

use domain::event::Event;
use domain::grant;
use domain::id::{ClientId, SubjectId};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::{event_id, events, hash, instant, provider_id, proxy_id, read, scope, text, uuid};

fn requested() -> impl Strategy<Value = grant::Requested> + Clone {
    (
        (proxy_id(), uuid(), provider_id()),
        (text(), scope(), text(), instant()),
    )
        .prop_map(
            |(ids, (redirect_uri, scope, resource, requested_at))| grant::Requested {
                proxy_id: ids.0,
                client_id: ClientId(ids.1),
                provider_id: ids.2,
                redirect_uri: serde_json::from_value(redirect_uri.into()).expect("reads any text"),
                scope,
                resource: serde_json::from_value(resource.into()).expect("reads any text"),
                requested_at,
            },
        )
}

pub fn login_events() -> Vec<BoxedStrategy<Event>> {
    use grant::{Consent, ConsentDenied, Event as E, LoginFailed, LoginSucceeded};
    let consent = select(vec![Consent::Given, Consent::NotRequired]);
    let succeeded = (requested(), uuid(), consent, instant()).prop_map(
        |(request, subject, consent, expires_at)| LoginSucceeded {
            request,
            subject: SubjectId(subject),
            consent,
            expires_at,
        },
    );
    let failed =
        (requested(), text()).prop_map(|(request, reason)| LoginFailed { request, reason });
    let denied = requested().prop_map(|request| ConsentDenied { request });
    vec![
        events(succeeded, E::LoginSucceeded),
        events(failed, E::LoginFailed),
        events(denied, E::ConsentDenied),
    ]
}

/// Small, so that histories meet, and any other.
fn generation() -> impl Strategy<Value = u32> + Clone {
    prop_oneof![0..5_u32, 0..u32::MAX]
}

fn revocation_reason() -> impl Strategy<Value = grant::RevocationReason> {
    use grant::RevocationReason as Reason;
    prop_oneof![
        Just(Reason::RefreshTokenReused),
        Just(Reason::CodeReplayed),
        Just(Reason::ClientRequest),
        Just(Reason::ClientRemoved),
        Just(Reason::ProxyRemoved),
        Just(Reason::ProviderRemoved),
        Just(Reason::UpstreamRefused),
        text().prop_map(|note| Reason::Operator { note }),
    ]
}

pub fn token_events() -> Vec<BoxedStrategy<Event>> {
    use grant::{
        AccessTokenFirstUsed, CodeIssued, CodeRedeemed, CodeReplayed, Event as E, RefreshSalt,
        RefreshTokenIssued, RefreshTokenRetried, RefreshTokenReused, RefreshTokenRotated, Revoked,
        UpstreamTokenRefreshed,
    };
    let issued =
        (hash(), read(), instant()).prop_map(|(code, code_challenge, expires_at)| CodeIssued {
            code,
            code_challenge,
            expires_at,
        });
    let refresh_token =
        (any::<[u8; 16]>(), instant()).prop_map(|(salt, expires_at)| RefreshTokenIssued {
            salt: RefreshSalt(salt),
            expires_at,
        });
    let resource = option::of(
        text().prop_map(|text| serde_json::from_value(text.into()).expect("reads any text")),
    );
    let redeemed = (instant(), option::of(refresh_token), resource.clone()).prop_map(
        |(access_token_expires_at, refresh_token, resource)| CodeRedeemed {
            access_token_expires_at,
            refresh_token,
            resource,
        },
    );
    let narrowed = (option::of(scope()), resource);
    let rotated = (generation(), instant(), instant(), narrowed.clone()).prop_map(
        |(generation, expires_at, access_token_expires_at, (scope, resource))| {
            RefreshTokenRotated {
                generation,
                expires_at,
                access_token_expires_at,
                scope,
                resource,
            }
        },
    );
    let retried = (generation(), instant(), narrowed).prop_map(
        |(generation, access_token_expires_at, (scope, resource))| RefreshTokenRetried {
            generation,
            access_token_expires_at,
            scope,
            resource,
        },
    );
    let reused = (generation(), generation(), option::of(instant())).prop_map(
        |(generation, current_generation, replaced_at)| RefreshTokenReused {
            generation,
            current_generation,
            replaced_at,
        },
    );
    let revoked = (revocation_reason(), option::of(instant())).prop_map(
        |(reason, access_tokens_expire_at)| Revoked {
            reason,
            access_tokens_expire_at,
        },
    );
    let renewed =
        option::of(instant()).prop_map(|expires_at| UpstreamTokenRefreshed { expires_at });
    let first_used = event_id().prop_map(|jti| AccessTokenFirstUsed { jti });
    vec![
        events(issued, E::CodeIssued),
        events(redeemed, E::CodeRedeemed),
        events(Just(CodeReplayed {}), E::CodeReplayed),
        events(rotated, E::RefreshTokenRotated),
        events(retried, E::RefreshTokenRetried),
        events(reused, E::RefreshTokenReused),
        events(first_used, E::AccessTokenFirstUsed),
        events(renewed, E::UpstreamTokenRefreshed),
        events(revoked, E::Revoked),
    ]
}
