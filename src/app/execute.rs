//! Executing a command: load, decide, stamp, append, answer.

use std::borrow::Cow;
use std::sync::{Arc, Mutex};

use domain::Fact;
use domain::id::EventId;

use super::stamp::{self, Place};
use super::streams::{Known, Slot, lock};
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
        let empty = Some(Known::default());
        self.run(id, command, Vec::new(), context, empty).await
    }

    async fn run<A: Stored>(
        &self,
        id: A::Id,
        command: A::Command,
        premises: Vec<Premise>,
        context: &Context,
        mut assumed: Option<Known<A>>,
    ) -> Result<Executed<A>, ExecuteError<A::Rule>>
    where
        A::Command: Clone,
    {
        let stream = A::stream(id);
        let mut context = Cow::Borrowed(context);
        let mut reload = false;
        for _ in 0..ATTEMPTS_MAX {
            let (slot, origin) = self.slot(&stream, reload, assumed.take()).await?;
            // Nothing is decided on an append in flight: if another came before it, the next one would pass for its successor.
            let turn = lock(&slot).turn.clone();
            let _turn = turn.lock().await;
            if lock(&slot).is_outdated() {
                continue;
            }
            let submitted = {
                let (command, premises) = (command.clone(), premises.clone());
                self.submit(&mut lock(&slot), &stream, command, premises, &context)
            };
            let submitted = match submitted {
                Ok(submitted) => submitted,
                Err(VaultError::NotLoaded(scope)) => {
                    if let Some(bare) = self.prepare_to_seal(scope, &context).await? {
                        context = Cow::Owned(bare);
                    }
                    continue;
                }
                Err(error) => return Err(Unavailable::from(error).into()),
            };
            let Submitted {
                rule,
                events,
                before,
                after,
                pending,
            } = submitted;
            let Some(pending) = pending else {
                if origin != Origin::Log {
                    reload = true;
                    continue;
                }
                return executed(rule, events, after);
            };
            if origin != Origin::Cache {
                A::cache(&self.streams).insert(&stream, &slot);
            }
            let flight = InFlight(Some(&slot));
            match pending.await {
                Ok(_) => {
                    flight.landed(&before, &after);
                    // What this node made durable it knows at once, before its follower.
                    for (version, (_, event)) in (before.version..).zip(&events) {
                        self.apply(&stream, version, context.now, &event.clone().into());
                    }
                    return executed(rule, events, after);
                }
                Err(AppendError::Conflict { .. }) if premises.is_empty() => reload = true,
                Err(AppendError::Conflict { .. }) => return Err(Unavailable::Overtaken.into()),
                Err(error) => return Err(Unavailable::from(error).into()),
            }
        }
        Err(Unavailable::Contended.into())
    }

    /// The state to decide on, and where it comes from.
    async fn slot<A: Stored>(
        &self,
        stream: &str,
        reload: bool,
        assumed: Option<Known<A>>,
    ) -> Result<(Arc<Mutex<Slot<A>>>, Origin), Unavailable> {
        if !reload {
            if let Some(slot) = A::cache(&self.streams).get(stream) {
                return Ok((slot, Origin::Cache));
            }
            if let Some(empty) = assumed {
                return Ok((Arc::new(Mutex::new(Slot::new(empty))), Origin::Assumed));
            }
        }
        // Its own until it is decided on: what others have in flight is not the log's word.
        let slot = Slot::new(self.read::<A>(stream).await?);
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
        let before = slot.newest.clone();
        let (events, rule) = match before.state.decide(command, context.now) {
            Ok(events) => (events, None),
            Err(refusal) => (refusal.events, Some(refusal.rule)),
        };
        if events.is_empty() {
            return Ok(Submitted {
                rule,
                events: Vec::new(),
                after: before.clone(),
                before,
                pending: None,
            });
        }
        let mut state = A::clone(&before.state);
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
                version: before.version + n,
                correlation: state.correlation(),
                is_first: n == 0,
            };
            let stored = event.clone().into();
            entries.push(stamp::stamp(&self.vault, id, &stored, place, context)?);
            identified.push((id, event));
        }
        let after = Known {
            state: Arc::new(state),
            version: before.version + entries.len() as u64,
        };
        slot.newest = after.clone();
        let pending = self.log.submit(Append {
            stream: stream.to_owned(),
            expected: before.version,
            premises,
            entries,
        });
        Ok(Submitted {
            rule,
            events: identified,
            before,
            after,
            pending: Some(pending),
        })
    }
}

fn executed<A: Stored>(
    rule: Option<A::Rule>,
    events: Vec<(EventId, A::Event)>,
    Known { state, .. }: Known<A>,
) -> Result<Executed<A>, ExecuteError<A::Rule>> {
    match rule {
        Some(rule) => Err(ExecuteError::Refused(rule)),
        None => Ok(Executed { events, state }),
    }
}

/// An append of a slot under way. If it fails, or whoever waits for it goes away, nothing more is decided on the slot.
struct InFlight<'a, A>(Option<&'a Mutex<Slot<A>>>);

impl<A> InFlight<'_, A> {
    fn landed(mut self, before: &Known<A>, after: &Known<A>) {
        if let Some(slot) = self.0.take() {
            lock(slot).confirm(before, after.clone());
        }
    }
}

impl<A> Drop for InFlight<'_, A> {
    fn drop(&mut self) {
        if let Some(slot) = self.0 {
            lock(slot).outdate();
        }
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
    before: Known<A>,
    after: Known<A>,
    pending: Option<Pending>,
}
