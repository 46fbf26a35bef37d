//! The authorization server from outside: what it must answer, as things to send and see.
//!
//! The provider is scripted, because faults are asked of it that real ones do not commit; flows
//! through a real one are in `tests/interop`.

#[expect(dead_code, reason = "a part of the provider's faults is used here")]
#[path = "../support/fake_provider.rs"]
mod fake_provider;

mod allowed;
mod at_once;
mod authorize;
mod callback;
mod crash;
mod ended;
mod every_endpoint;
mod expired;
mod headers;
mod hostile;
mod in_flight;
mod limits;
mod logged;
mod metadata;
mod raw;
mod refresh;
mod register;
mod repeated;
mod rig;
mod scopes;
mod shutdown;
mod slow;
mod token;
mod traffic;
mod transactions;
mod unwritable;
mod vouched;
