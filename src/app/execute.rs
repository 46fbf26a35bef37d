//! Executing a command: load, decide, stamp, append, answer.

use std::sync::{Arc, Mutex, PoisonError};

use domain::Fact;
use domain::id::EventId;

use super::stamp::{self, Place};
use super::streams::Slot;
use super::{App, Context, Stored, Unavailable};
use crate::log::{Append, AppendError, NewEntry, Pending, Premise};
use crate::vault::VaultError;

/// A conflict means that somebody else was faster; this many times we try again.
const ATTEMPTS_MAX: usize = 64;

/// Why a command was not executed. What the stores fail at and what the rules forbid are
/// different things and never mixed.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError<R> {
    /// It broke a rule. What had to be recorded of it is durable.
    #[error("the command was refused")]
    Refused(R),
    /// The stores did not do their part.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// What a command led to; durable.
pub struct Executed<A: Stored> {
    /// The events with their ids, in order. Empty if it was already so.
    pub events: Vec<(EventId, A::Event)>,
    /// The state after them.
    pub state: Arc<A>,
}

impl App {
    /// Executes a command on an aggregate.
    ///
    /// # Errors
    /// The rule it broke, or that a store failed; in the latter case nothing may be handed out.
    pub async fn execute<A: Stored>(
        &self,
        id: A::Id,
        command: A::Command,
        context: &Context,
    ) -> Result<Executed<A>, ExecuteError<A::Rule>>
    where
        A::Command: Clone,
    {
        self.run(id, command, Vec::new(), context, None).await
    }

    /// Executes a command that rests on what other streams say: nothing is recorded if one of them has grown since.
    ///
    /// # Errors
    /// As [`App::execute`]; [`Unavailable::Overtaken`]: look again, and make the command anew.
    pub async fn execute_on<A: Stored>(
        &self,
        premises: Vec<Premise>,
        id: A::Id,
        command: A::Command,
        context: &Context,
    ) -> Result<Executed<A>, ExecuteError<A::Rule>>
    where
        A::Command: Clone,
    {
        self.run(id, command, premises, context, None).await
    }

    /// Executes the first command on an aggregate whose id was just drawn: its stream is taken to
    /// be empty without a look, which the append then proves.
    ///
    /// # Errors
    /// As [`App::execute`].
    pub async fn create<A: Stored>(
        &self,
        id: A::Id,
        command: A::Command,
        context: &Context,
    ) -> Result<Executed<A>, ExecuteError<A::Rule>>
    where
        A::Command: Clone,
    {
        let empty = Slot {
            state: Arc::new(A::default()),
            version: 0,
        };
        self.run(id, command, Vec::new(), context, Some(empty))
            .await
    }

    async fn run<A: Stored>(
        &self,
        id: A::Id,
        command: A::Command,
        premises: Vec<Premise>,
        context: &Context,
        mut assumed: Option<Slot<A>>,
    ) -> Result<Executed<A>, ExecuteError<A::Rule>>
    where
        A::Command: Clone,
    {
        let stream = A::stream(id);
        let mut reload = false;
        for _ in 0..ATTEMPTS_MAX {
            let (slot, origin) = self.slot(&stream, reload, assumed.take()).await?;
            let submitted = {
                let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
                self.submit(
                    &mut slot,
                    &stream,
                    command.clone(),
                    premises.clone(),
                    context,
                )
            };
            let submitted = match submitted {
                Ok(submitted) => submitted,
                Err(VaultError::NotLoaded(scope)) => {
                    self.vault
                        .ensure(scope, context.now)
                        .await
                        .map_err(Unavailable::from)?;
                    continue;
                }
                Err(error) => return Err(Unavailable::from(error).into()),
            };
            let Submitted {
                rule,
                events,
                first_version,
                state,
                pending,
            } = submitted;
            let Some(pending) = pending else {
                if origin != Origin::Log {
                    reload = true;
                    continue;
                }
                return match rule {
                    Some(rule) => Err(ExecuteError::Refused(rule)),
                    None => Ok(Executed { events, state }),
                };
            };
            if origin != Origin::Cache {
                A::cache(&self.streams).insert(&stream, &slot);
            }
            match pending.await {
                Ok(_) => {
                    // What this node made durable it knows at once, before its follower.
                    for (version, (_, event)) in (first_version..).zip(&events) {
                        self.apply(&stream, version, context.now, &event.clone().into());
                    }
                    return match rule {
                        Some(rule) => Err(ExecuteError::Refused(rule)),
                        None => Ok(Executed { events, state }),
                    };
                }
                Err(error) => {
                    A::cache(&self.streams).forget(&stream, &slot);
                    match error {
                        AppendError::Conflict { .. } if premises.is_empty() => reload = true,
                        AppendError::Conflict { .. } => return Err(Unavailable::Overtaken.into()),
                        error => return Err(Unavailable::from(error).into()),
                    }
                }
            }
        }
        Err(Unavailable::Contended.into())
    }

    /// The state to decide on, and where it comes from.
    async fn slot<A: Stored>(
        &self,
        stream: &str,
        reload: bool,
        assumed: Option<Slot<A>>,
    ) -> Result<(Arc<Mutex<Slot<A>>>, Origin), Unavailable> {
        if !reload {
            if let Some(slot) = A::cache(&self.streams).get(stream) {
                return Ok((slot, Origin::Cache));
            }
            if let Some(empty) = assumed {
                return Ok((Arc::new(Mutex::new(empty)), Origin::Assumed));
            }
        }
        let slot = self.read::<A>(stream).await?;
        Ok((Arc::new(Mutex::new(slot)), Origin::Log))
    }

    /// Decides on the slot's state and, if there is something to record, hands it to the log and
    /// moves the slot on. Synchronous: whoever holds the slot's lock decides next.
    fn submit<A: Stored>(
        &self,
        slot: &mut Slot<A>,
        stream: &str,
        command: A::Command,
        premises: Vec<Premise>,
        context: &Context,
    ) -> Result<Submitted<A>, VaultError> {
        let (events, rule) = match slot.state.decide(command, context.now) {
            Ok(events) => (events, None),
            Err(refusal) => (refusal.events, Some(refusal.rule)),
        };
        if events.is_empty() {
            return Ok(Submitted {
                rule,
                events: Vec::new(),
                first_version: slot.version,
                state: slot.state.clone(),
                pending: None,
            });
        }
        let mut state = A::clone(&slot.state);
        let mut entries: Vec<NewEntry> = Vec::with_capacity(events.len());
        let mut identified = Vec::with_capacity(events.len());
        for (n, event) in (0..).zip(events) {
            let id = crate::clock::event_id();
            state = state.evolve(Fact {
                id,
                at: context.now,
                event: &event,
            });
            let place = Place {
                stream,
                version: slot.version + n,
                correlation: state.correlation(),
                is_first: n == 0,
            };
            let stored = event.clone().into();
            entries.push(stamp::stamp(&self.vault, id, &stored, place, context)?);
            identified.push((id, event));
        }
        let expected = slot.version;
        slot.version += entries.len() as u64;
        slot.state = Arc::new(state);
        Ok(Submitted {
            rule,
            events: identified,
            first_version: expected,
            state: slot.state.clone(),
            pending: Some(self.log.submit(Append {
                stream: stream.to_owned(),
                expected,
                premises,
                entries,
            })),
        })
    }
}

/// Where a state comes from; only the log's word is a reason to refuse.
#[derive(Clone, Copy, PartialEq)]
enum Origin {
    Cache,
    Assumed,
    Log,
}

struct Submitted<A: Stored> {
    rule: Option<A::Rule>,
    events: Vec<(EventId, A::Event)>,
    first_version: u64,
    state: Arc<A>,
    pending: Option<Pending>,
}
