//! Grantlog between real peers: the certified `oidc-provider`, the official MCP server, and the
//! three MCP clients people build on (TypeScript, Python, `rmcp`); and the quick reference, walked
//! in its order. Needs what `scripts/test` installs, and fails without it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod peers;
mod quick_reference;
mod sdks;
