//! Ending many grants.

use domain::grant::{Command, Grant, RevocationReason};
use domain::id::GrantId;
use futures_util::stream::{self, StreamExt};
use projections::{Of, Reader};

use super::{App, Context, ExecuteError, Unavailable};
use crate::causes::chain;

/// So many grants are revoked at once.
const REVOKED_AT_ONCE: usize = 64;

impl App {
    /// Ends every live grant of a client, proxy, provider or subject.
    ///
    /// # Errors
    /// A store failed; what was not revoked is when this is called again.
    pub async fn revoke_all(
        &self,
        reader: &Reader,
        of: Of,
        reason: &RevocationReason,
        context: &Context,
    ) -> Result<(), Unavailable> {
        self.read_model_is_current().await?;
        let (reader, now) = (reader.clone(), context.now);
        let grants = tokio::task::spawn_blocking(move || reader.live_grants_of(of, now))
            .await
            .map_err(|_| Unavailable::BrokenOff)??;
        self.revoke_each(grants, reason, context).await
    }

    /// Ends grants, many at once: they share the log's commits. Which came before which is the log's to say.
    ///
    /// # Errors
    /// A store failed, or something is wrong with one grant alone; in the latter case all others were revoked.
    pub async fn revoke_each(
        &self,
        grants: Vec<GrantId>,
        reason: &RevocationReason,
        context: &Context,
    ) -> Result<(), Unavailable> {
        let revoke = |grant| async move {
            let command = Command::Revoke {
                reason: reason.clone(),
            };
            match self.execute::<Grant>(grant, command, context).await {
                Ok(_) | Err(ExecuteError::Refused(_)) => self.forget_upstream_tokens(grant).await,
                Err(ExecuteError::Unavailable(error)) => return Err(error),
            }
            Ok(())
        };
        let mut revoked = stream::iter(grants)
            .map(revoke)
            .buffer_unordered(REVOKED_AT_ONCE);
        let mut unreadable = None;
        while let Some(revoked) = revoked.next().await {
            match revoked {
                Err(error) if error.is_of_one() => unreadable = Some(error),
                revoked => revoked?,
            }
        }
        unreadable.map_or(Ok(()), Err)
    }

    /// Forgets the provider's tokens of a grant that has ended; failing that, they stay sealed.
    pub async fn forget_upstream_tokens(&self, grant: GrantId) {
        if let Err(error) = self.vault.delete_upstream(grant).await {
            tracing::warn!(error = chain(&error), %grant, "upstream tokens of an ended grant remain");
        }
    }
}
