//! What only a real browser can tell: Chromium between the real server, a real provider and a
//! client. Policies, cookies, redirects and preflights are judged by the one who enforces them.
//!
//! Needs the `chromium` and the provider that `scripts/test` installs, and fails without them.
//! Nothing leaves the machine: to this Chromium no name but loopback's and `*.example` exists.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod accessibility;
mod chromium;
mod demo;
mod flows;
mod forgery;
mod hostile;
mod rig;
mod scripts;
mod site;
mod tab;
