//! Several nodes of the real binary over one PostgreSQL, from outside: any step on any node, and
//! what becomes of it when nodes, networks, clocks and the database fail.
//!
//! The provider is scripted and in this process; everything between it and the database is real.

#[expect(dead_code, reason = "a part of the provider's faults is used here")]
#[path = "../support/fake_provider.rs"]
mod fake_provider;

mod busy;
mod clocks;
mod commits;
mod crashes;
mod cut_off;
mod failover;
mod flows;
mod histories;
mod in_flight;
mod joining;
mod load;
mod lookups;
mod once;
mod record;
mod revocation;
mod rig;
mod seals;
mod stalls;
mod stopping;
mod tails;
mod unused;
mod unusual;
mod upgrading;
