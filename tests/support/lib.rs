//! What the black-box tests share: the words they are written in.
//!
//! [`Server`] runs the real `grantlog` binary on free ports in a folder of its own; [`Proxy`] and
//! [`Client`] take the OAuth steps one at a time, each altered as a test likes; [`Browser`] is the
//! person; [`interop`] starts the real provider, the real MCP server and the real MCP clients;
//! [`Nodes`] are several servers over one database behind a [`Balancer`]; [`World`] is a server
//! with all that a flow needs:
//!
//! ```ignore
//! let world = World::start().await;
//! let client = world.proxy.register(support::public_client()).await;
//! let code = client.authorize_code(&mut Browser::new(), &Pkce::rfc7636()).await;
//! let tokens = client.redeem(&code, &Pkce::rfc7636()).await.expect(200).json();
//! ```
//!
//! Nothing here knows an internal of the server: no import from it, only its contract. A step that
//! a test did not ask to fail panics with the answer it got.

mod answer;
mod balancer;
mod browser;
mod hostile;
pub mod interop;
mod nodes;
mod oauth;
mod page;
pub mod postgres;
mod server;
mod world;

pub use answer::Answer;
pub use balancer::Balancer;
pub use browser::{ALICE, Browser, Person};
pub use hostile::{HOSTILE, is_inert};
pub use nodes::{Nodes, faketime, moved};
pub use oauth::{Client, Params, Pkce, Proxy, Tokens, confidential_client, public_client};
pub use page::{Form, Page};
pub use server::{Server, Setup, plain_http};
pub use world::World;
