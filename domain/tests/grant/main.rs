//! A grant from its login to its end: rule by rule, then as any interleaving of steps.

mod login;
mod model;
mod properties;
mod redeem;
mod refresh;
mod reuse;
mod revoke;
mod steps;
mod story;
#[path = "../support/mod.rs"]
mod support;
mod uses;
