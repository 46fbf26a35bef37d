//! Grantlog's rules: commands in, events or a refusal out.
//!
//! Each aggregate is one module: its commands, its events, its state and the two functions
//! [`Aggregate::decide`] and [`Aggregate::evolve`]. Value types (ids, scopes, redirect URIs,
//! PKCE, secrets) stand beside them.
//!
//! Invariants: nothing here does IO, awaits, reads a clock or draws randomness: whatever a
//! decision needs to know is in the command. `evolve` is total: it accepts any event in any
//! state, because a stored fact cannot be refused.

mod aggregate;
pub mod api_key;
pub mod audit;
pub mod authorization;
pub mod client;
pub mod entry;
pub mod event;
mod explain;
pub mod grant;
pub mod id;
pub mod key;
pub mod operator;
pub mod pkce;
pub mod provider;
pub mod proxy;
pub mod redirect_uri;
pub mod resource;
pub mod scope;
pub mod secret;
pub mod subject;
mod text;
mod timestamp;

pub use aggregate::{Aggregate, Fact, Refusal, Timestamp};
pub use explain::explain;
pub use text::is_deceptive;
