//! The MCP gateway from outside, in this process: the real router over real stores, and upstreams
//! on loopback that show what they were sent. What needs no faults and no clock is shown by real
//! MCP clients elsewhere.

#[expect(dead_code, reason = "a part of the provider's faults is used here")]
#[path = "../support/fake_provider.rs"]
mod fake_provider;

mod answers;
mod api_keys;
mod challenges;
mod first_use;
mod forwarding;
mod guessed;
mod mcp;
mod metadata;
mod origins;
mod provider_tokens;
mod refused_tokens;
mod rig;
mod streams;
mod upstream;
