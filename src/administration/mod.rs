//! Making and changing providers, proxies and the first operator.
//!
//! One path for both ways in: the administration API and what the configuration file declares.
//! Secrets and personal parts go to the vault first, and the event names only their version; an
//! unchanged one keeps its version, so that saying the same twice records nothing.

mod declared;
mod operator;
mod private_terms;
mod provider;
mod proxy;

use domain::grant::InvalidNote;

use crate::app::{ExecuteError, Unavailable};
use crate::federation::Misconfigured;

pub use declared::{DeclareError, Declined, declare};
pub use operator::{BOOTSTRAP, another_admin, bootstrap};
pub use private_terms::PrivateTerms;
pub use provider::{add_provider, change_provider, remove_provider};
pub use proxy::{InvalidHeader, add_proxy, change_proxy, private_terms, remove_proxy};

/// Why something was not administered.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// A rule of providers.
    #[error(transparent)]
    Provider(#[from] domain::provider::Rule),
    /// A rule of proxies.
    #[error(transparent)]
    Proxy(#[from] domain::proxy::Rule),
    /// A rule of clients.
    #[error(transparent)]
    Client(#[from] domain::client::Rule),
    /// A rule of grants.
    #[error(transparent)]
    Grant(#[from] domain::grant::Rule),
    /// A rule of operators.
    #[error(transparent)]
    Operator(#[from] domain::operator::Rule),
    /// A rule of API keys.
    #[error(transparent)]
    ApiKey(#[from] domain::api_key::Rule),
    /// No login could succeed with a provider's settings.
    #[error(transparent)]
    Misconfigured(#[from] Misconfigured),
    /// A header for the MCP server cannot be sent.
    #[error(transparent)]
    Header(#[from] InvalidHeader),
    /// The reason of a revocation cannot be shown.
    #[error("reason: {0}")]
    Reason(#[from] InvalidNote),
    /// The stores did not do their part.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl<R: Into<Refused>> From<ExecuteError<R>> for Refused {
    fn from(error: ExecuteError<R>) -> Self {
        match error {
            ExecuteError::Refused(rule) => rule.into(),
            ExecuteError::Unavailable(error) => error.into(),
        }
    }
}
