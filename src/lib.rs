//! Grantlog: an event-sourced OAuth 2.1 authorization server and MCP gateway.
//!
//! The straight line of every request: [`http`] parses it into a command, [`app`] loads the
//! aggregate (crate `domain`) and lets it decide, [`log`] makes the events durable, and only then
//! is an answer rendered. Read models (crate `projections`) follow the log.

pub mod administration;
pub mod app;
pub mod bench;
pub mod causes;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod federation;
pub mod gateway;
pub mod http;
pub mod investigation;
pub mod keys;
pub mod log;
pub mod migrations;
pub mod postgres;
pub mod secret;
pub mod server;
pub mod tokens;
pub mod vault;
