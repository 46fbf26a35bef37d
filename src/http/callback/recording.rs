//! What a login leaves on record: who it was, the grant, and that person and client were seen.

use chrono::TimeDelta;
use domain::client::{self, Client};
use domain::entry::Actor;
use domain::grant::{Authorize, Command, Grant, Rule};
use domain::id::{ProviderId, SubjectId};
use domain::subject::{self, Subject};

use crate::app::{Context, ExecuteError, ProxyTerms, Unavailable};
use crate::causes::chain;
use crate::federation::Login;
use crate::http::Shared;
use crate::http::authorize::Transaction;
use crate::log::Share;
use crate::vault::{self, VaultError};

/// RFC 9700 §2.1.1 asks for a short life; a minute is a slow client.
const CODE_LIFETIME: TimeDelta = TimeDelta::seconds(60);

/// The vault first, then the log: a login that is recorded can always be served. The three
/// streams share one commit.
pub(super) async fn record_login(
    shared: &Shared,
    terms: &ProxyTerms,
    transaction: &Transaction,
    client: &Client,
    login: Login,
    code: domain::secret::SecretHash,
    context: &Context,
) -> Result<(), ExecuteError<Rule>> {
    let identity = vault::Identity {
        provider: transaction.provider_id,
        issuer: &login.issuer,
        sub: &login.sub,
    };
    let (grant_id, tokens) = (transaction.grant_id, login.tokens);
    let subject = shared
        .app
        .vault
        .record_login(identity, grant_id, &tokens, context.now)
        .await
        .map_err(|error| match error {
            // Two people answered at once, in one browser; whose tokens are there is the one who logs in.
            VaultError::AnotherSubject => ExecuteError::Refused(Rule::AlreadyAnswered),
            error => Unavailable::from(error).into(),
        })?;
    shared
        .provider_tokens
        .obtained(grant_id, &tokens, context.now);
    let by = context.by(Actor::Subject(subject));
    let command = Command::Authorize(Box::new(Authorize {
        request: transaction.requested(),
        subject,
        consent: transaction.consent,
        code,
        code_lifetime: CODE_LIFETIME,
        code_challenge: transaction.request.code_challenge.clone(),
        grant_lifetime: terms.proxy.settings.grant_lifetime(),
    }));
    let [granting, seeing, authorizing] = shared.app.log.together();
    let grant = shared
        .app
        .create::<Grant>(grant_id, command, &by, Some(granting));
    let seen = first_seen(shared, seeing, subject, transaction.provider_id, &by);
    let first_authorization = async {
        let share = authorizing;
        let registration = client.registration();
        if registration.is_none_or(|known| known.first_authorized_at.is_some()) {
            return;
        }
        let client_id = transaction.request.client_id;
        let command = client::Command::RecordFirstAuthorization;
        let by = impersonal(&by);
        let recorded = shared
            .app
            .execute_with::<Client>(share, client_id, command, &by)
            .await;
        if let Err(ExecuteError::Unavailable(error)) = recorded {
            tracing::warn!(
                error = chain(&error),
                "a client's first authorization could not be recorded"
            );
        }
    };
    let (granted, (), ()) = tokio::join!(grant, seen, first_authorization);
    granted.map(|_| ())
}

/// Who it was and from where is told by the grant alone, under the person's own key.
pub(super) fn impersonal(by: &Context) -> Context {
    Context {
        ip: None,
        user_agent: None,
        identity: None,
        ..by.clone()
    }
}

async fn first_seen(
    shared: &Shared,
    share: Share,
    subject: SubjectId,
    provider_id: ProviderId,
    by: &Context,
) {
    match shared.app.state::<Subject>(subject).await {
        Ok(known) if *known != Subject::default() => return,
        Ok(_) => {}
        Err(error) => tracing::warn!(error = chain(&error), "a subject could not be looked up"),
    }
    let by = impersonal(by);
    let command = subject::Command::See {
        subject,
        provider_id,
    };
    let recorded = shared
        .app
        .execute_with::<Subject>(share, subject, command, &by)
        .await;
    if let Err(ExecuteError::Unavailable(error)) = recorded {
        tracing::warn!(
            error = chain(&error),
            "a subject's first login could not be recorded"
        );
    }
}
