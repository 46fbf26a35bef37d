//! What can happen to a grant, at random: mostly in good faith, with each fault now and then.

use chrono::TimeDelta;
use domain::grant::{Command, TokenPolicy};
use domain::id::{ClientId, ProxyId};
use domain::secret::SecretHash;
use proptest::prelude::*;

use crate::story::{CLIENT, OTHER_PROXY, PROXY, STRANGER, naming, redeem, refresh};

/// Something that happens to a grant.
#[derive(Clone, Debug)]
pub enum Step {
    LogIn {
        grant_s: i64,
    },
    FailLogin,
    Deny,
    Redeem {
        who: Who,
        secret_is_right: bool,
        fault: Option<RedeemFault>,
        may_refresh: bool,
    },
    /// Of the newest generation and this many before it.
    Refresh {
        who: Who,
        back: u32,
        fault: Option<RefreshFault>,
    },
    RefreshFromTheFuture {
        ahead: u32,
    },
    /// Of the access tokens issued so far, this many before the last.
    Use {
        back: usize,
    },
    RenewUpstream,
    RevokeByClient {
        who: Who,
    },
    Revoke,
}

/// Who comes, and where.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Who {
    Owner,
    Stranger,
    OwnerElsewhere,
}

#[derive(Clone, Copy, Debug)]
pub enum RedeemFault {
    NoVerifier,
    WrongVerifier,
    WrongRedirectUri,
    WrongResource,
}

#[derive(Clone, Copy, Debug)]
pub enum RefreshFault {
    WiderScope,
    WrongResource,
}

impl Who {
    pub fn client_id(self) -> ClientId {
        match self {
            Self::Owner | Self::OwnerElsewhere => CLIENT,
            Self::Stranger => STRANGER,
        }
    }

    pub fn proxy_id(self) -> ProxyId {
        match self {
            Self::Owner | Self::Stranger => PROXY,
            Self::OwnerElsewhere => OTHER_PROXY,
        }
    }
}

fn who() -> impl Strategy<Value = Who> {
    prop_oneof![
        8 => Just(Who::Owner),
        1 => Just(Who::Stranger),
        1 => Just(Who::OwnerElsewhere),
    ]
}

/// Mostly nothing, sometimes one of these.
fn rarely<T: Clone + std::fmt::Debug>(
    faults: &'static [T],
) -> impl Strategy<Value = Option<T>> + use<T> {
    prop_oneof![
        4 => Just(None),
        1 => prop::sample::select(faults).prop_map(Some),
    ]
}

pub fn step() -> impl Strategy<Value = Step> {
    use RedeemFault::{NoVerifier, WrongRedirectUri, WrongResource, WrongVerifier};
    let redeem_faults = rarely(&[NoVerifier, WrongVerifier, WrongRedirectUri, WrongResource]);
    let refresh_faults = rarely(&[RefreshFault::WiderScope, RefreshFault::WrongResource]);
    prop_oneof![
        2 => prop::sample::select(vec![30, 5_000, 100_000, 31_536_000])
            .prop_map(|grant_s| Step::LogIn { grant_s }),
        1 => Just(Step::FailLogin),
        1 => Just(Step::Deny),
        8 => (who(), prop::bool::weighted(0.9), redeem_faults, prop::bool::weighted(0.9)).prop_map(
            |(who, secret_is_right, fault, may_refresh)| Step::Redeem {
                who, secret_is_right, fault, may_refresh,
            }
        ),
        20 => (who(), prop::sample::select(vec![0, 0, 0, 0, 1, 1, 1, 2, 3]), refresh_faults)
            .prop_map(|(who, back, fault)| Step::Refresh { who, back, fault }),
        1 => (1..3_u32).prop_map(|ahead| Step::RefreshFromTheFuture { ahead }),
        6 => (0..5_usize).prop_map(|back| Step::Use { back }),
        1 => Just(Step::RenewUpstream),
        1 => who().prop_map(|who| Step::RevokeByClient { who }),
        1 => Just(Step::Revoke),
    ]
}

/// How a history begins: from nothing, with a code, or with tokens, so that few are spent on
/// what comes to nothing.
pub fn beginning() -> impl Strategy<Value = Vec<Step>> {
    let log_in = |grant_s| Step::LogIn { grant_s };
    let redeem = Step::Redeem {
        who: Who::Owner,
        secret_is_right: true,
        fault: None,
        may_refresh: true,
    };
    prop_oneof![
        1 => Just(vec![]),
        2 => Just(vec![log_in(30)]),
        2 => Just(vec![log_in(5_000)]),
        1 => Just(vec![log_in(5_000), redeem.clone()]),
        4 => Just(vec![log_in(31_536_000), redeem]),
    ]
}

/// What the clock does before a step.
#[derive(Clone, Debug)]
pub enum Pause {
    Seconds(i64),
    /// To one of the instants that matter to the grant now, or a second beside it.
    Boundary {
        which: prop::sample::Index,
        beside: i64,
    },
}

pub fn pause() -> impl Strategy<Value = Pause> {
    let boundary = (any::<prop::sample::Index>(), -1..=1_i64)
        .prop_map(|(which, beside)| Pause::Boundary { which, beside });
    prop_oneof![
        5 => Just(Pause::Seconds(0)),
        5 => (1..10_i64).prop_map(Pause::Seconds),
        1 => prop::sample::select(vec![300, 3_600, 86_400]).prop_map(Pause::Seconds),
        2 => boundary,
    ]
}

pub fn policy() -> impl Strategy<Value = TokenPolicy> {
    (
        prop::sample::select(vec![1, 60, 3_600, 86_400]),
        prop::sample::select(vec![1, 300, 86_400, 2_592_000]),
        prop::sample::select(vec![0, 1, 600, 86_400]),
    )
        .prop_map(|(access, refresh, retry)| TokenPolicy {
            access_token: TimeDelta::seconds(access),
            refresh_token: TimeDelta::seconds(refresh),
            refresh_retry: TimeDelta::seconds(retry),
        })
}

pub fn redeem_command(
    who: Who,
    secret_is_right: bool,
    fault: Option<RedeemFault>,
    may_refresh: bool,
    policy: TokenPolicy,
) -> Command {
    let mut command = redeem();
    command.client_id = who.client_id();
    command.proxy_id = who.proxy_id();
    command.policy = policy;
    if !secret_is_right {
        command.code = SecretHash::of("a guess");
    }
    if !may_refresh {
        command.refresh_salt = None;
    }
    match fault {
        None => {}
        Some(RedeemFault::NoVerifier) => command.code_verifier = None,
        Some(RedeemFault::WrongVerifier) => command.code_verifier = Some("a".repeat(43)),
        Some(RedeemFault::WrongRedirectUri) => {
            command.redirect_uri = Some("https://evil.example/".to_owned());
        }
        Some(RedeemFault::WrongResource) => {
            command.resource = naming("https://evil.example/".parse().expect("valid"));
        }
    }
    Command::RedeemCode(command)
}

pub fn refresh_command(
    who: Who,
    generation: u32,
    fault: Option<RefreshFault>,
    policy: TokenPolicy,
) -> Command {
    let mut command = refresh(generation);
    command.client_id = who.client_id();
    command.proxy_id = who.proxy_id();
    command.policy = policy;
    match fault {
        None => {}
        Some(RefreshFault::WiderScope) => command.scope = Some("admin".parse().expect("valid")),
        Some(RefreshFault::WrongResource) => {
            command.resource = naming("https://evil.example/".parse().expect("valid"));
        }
    }
    Command::RotateRefreshToken(command)
}
