//! Who may administer: the first operator, and that there always is one.

use domain::entry::Actor;
use domain::id::OperatorId;
use domain::operator::{Added, Command, Operator, Role, TokenReplaced};
use domain::secret::SecretHash;
use uuid::Uuid;

use crate::app::{App, Context, ExecuteError, Unavailable};
use crate::config::Admin;
use crate::log::Premise;
use crate::secret::Secret;
use crate::tokens::secret::OperatorToken;

/// The operator whose token the configuration sets.
pub const BOOTSTRAP: OperatorId = OperatorId(Uuid::nil());

/// Lets the first operator in with the configured token or, if none is configured and there never
/// was such an operator, with a new one, which is returned: to be shown once. An operator who was
/// removed stays removed.
///
/// # Errors
/// A store failed.
pub async fn bootstrap(
    app: &App,
    admin: &Admin,
    context: &Context,
) -> Result<Option<Secret>, Unavailable> {
    let context = context.by(Actor::System);
    let state = app.fresh::<Operator>(BOOTSTRAP).await?;
    let (command, made) = match (&*state, &admin.bootstrap_token) {
        (Operator::Absent, None) => {
            let token = OperatorToken::generate(BOOTSTRAP);
            (add(token.hash()), Some(token))
        }
        (Operator::Absent, Some(token)) => (add(SecretHash::of(token.expose())), None),
        (Operator::Present(_), Some(token)) => {
            let token = SecretHash::of(token.expose());
            (Command::ReplaceToken(TokenReplaced { token }), None)
        }
        (Operator::Present(_), None) => return Ok(None),
        (Operator::Removed, _) => {
            tracing::info!("the first operator was removed; admin.bootstrap_token is not used");
            return Ok(None);
        }
    };
    match app.execute::<Operator>(BOOTSTRAP, command, &context).await {
        Ok(_) => Ok(made),
        // another node was faster; its token is the one that was shown
        Err(ExecuteError::Refused(_)) => Ok(None),
        Err(ExecuteError::Unavailable(error)) => Err(error),
    }
}

fn add(token: SecretHash) -> Command {
    Command::Add(Added {
        name: "bootstrap".to_owned(),
        role: Role::Admin,
        token,
    })
}

/// Somebody but `operator` who administers, as a premise that they still do. The read model only suggests who might; their own
/// streams decide.
///
/// # Errors
/// The log cannot be read.
pub async fn another_admin(
    app: &App,
    operator: OperatorId,
    others: impl IntoIterator<Item = OperatorId>,
) -> Result<Option<Premise>, Unavailable> {
    for other in others {
        if other == operator {
            continue;
        }
        let (state, premise) = app.fresh_premise::<Operator>(other).await?;
        if let Operator::Present(present) = &*state
            && present.role == Role::Admin
        {
            return Ok(Some(premise));
        }
    }
    Ok(None)
}
