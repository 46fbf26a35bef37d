//! The administration and investigation API from outside: the real program on free ports, and a
//! provider on loopback for the logins that it tells of.

#[expect(dead_code, reason = "a part of the provider's faults is used here")]
#[path = "../support/fake_provider.rs"]
mod fake_provider;

mod access;
mod administration;
mod at_once;
mod containment;
mod declared;
mod investigation;
mod keys;
mod operators;
mod reading;
mod removal;
mod rig;
mod tail;
