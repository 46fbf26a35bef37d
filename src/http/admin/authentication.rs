//! Which operator asks, and whether their role allows it.
//!
//! An operator's token names the operator's stream; any other token is compared with the first
//! operator's, whose token the configuration may set. Always decided on the stream as it is in
//! the log now: an operator who was removed is let in nowhere from then on. Who fails too often
//! is not listened to until the minute is over, whatever they present.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use domain::entry::Actor;
use domain::id::OperatorId;
use domain::operator::{Action, Operator, Role};
use domain::secret::SecretHash;

use super::Admin;
use super::problem::Problem;
use crate::administration::BOOTSTRAP;
use crate::app::{App, Context, Unavailable};
use crate::http::bearer;
use crate::http::request::Caller;
use crate::tokens::secret::OperatorToken;

/// Declares who may call a handler, by the action that their role must allow.
macro_rules! allowed {
    ($($(#[$doc:meta])* $name:ident = $action:expr;)*) => {$(
        $(#[$doc])*
        pub struct $name(pub Authenticated);

        impl FromRequestParts<Admin> for $name {
            type Rejection = Problem;

            async fn from_request_parts(
                parts: &mut Parts,
                admin: &Admin,
            ) -> Result<Self, Problem> {
                let operator = authenticate(parts, admin).await?;
                if operator.role.may($action) {
                    Ok(Self(operator))
                } else {
                    Err(Problem::forbidden(operator.role, &operator.context))
                }
            }
        }
    )*};
}

allowed! {
    /// An operator who may read the record and the configuration.
    MayRead = Action::Read;
    /// An operator who may end grants, clients and keys.
    MayRevoke = Action::Revoke;
    /// An operator who may change the configuration.
    MayConfigure = Action::Configure;
}

/// An operator who has proven to be one.
#[derive(Clone)]
pub struct Authenticated {
    /// Who they are.
    pub id: OperatorId,
    /// What they may do.
    pub role: Role,
    /// The circumstances of the request, with them as its actor.
    pub context: Context,
    /// To ask again, where a request lasts.
    token: SecretHash,
}

impl Authenticated {
    /// Whether they are still let in as far as this node has followed the log.
    ///
    /// # Errors
    /// The log cannot be read.
    pub async fn is_let_in_as_followed(&self, app: &App) -> Result<bool, Unavailable> {
        let state = app.state::<Operator>(self.id).await?;
        Ok(state.authenticate(&self.token).is_some())
    }

    /// Whether they are still let in.
    ///
    /// # Errors
    /// The log cannot be read.
    pub async fn is_still_let_in(&self, app: &App) -> Result<bool, Unavailable> {
        let state = app.fresh::<Operator>(self.id).await?;
        Ok(state.authenticate(&self.token).is_some())
    }
}

async fn authenticate(parts: &mut Parts, admin: &Admin) -> Result<Authenticated, Problem> {
    let Ok(Caller(context)) = Caller::from_request_parts(parts, admin).await;
    if admin.failures.are_too_many(&context) {
        return Err(Problem::too_many_failures());
    }
    let Some(presented) = bearer::presented(&parts.headers) else {
        return Err(Problem::token_missing());
    };
    let (id, token) = match OperatorToken::parse(presented) {
        Ok(token) => (token.id, token.hash),
        Err(_) => (BOOTSTRAP, SecretHash::of(presented)),
    };
    let state = admin.shared.app.fresh::<Operator>(id).await?;
    let Some(operator) = state.authenticate(&token) else {
        admin.failures.count(&context);
        return Err(Problem::token_invalid());
    };
    Ok(Authenticated {
        id,
        role: operator.role,
        context: context.by(Actor::Operator(id)),
        token,
    })
}
