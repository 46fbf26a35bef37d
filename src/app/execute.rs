//! Executing a command: load, decide, stamp, append, answer.

use std::borrow::Cow;
use std::sync::Arc;

use domain::Fact;
use domain::id::EventId;
use tokio::sync::MutexGuard;

use super::stamp::{self, Place};
use super::streams::{Known, Slot};
use super::{App, Context, Stored, Unavailable};
use crate::log::{Append, AppendError, NewEntry, Pending, Premise, Share};
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

/// What else there is to an execution.
struct How<A> {
    /// What it rests on.
    premises: Vec<Premise>,
    /// The state as long as nothing else is known.
    assumed: Option<Arc<Slot<A>>>,
    /// Where its first append goes.
    share: Option<Share>,
}

impl<A> How<A> {
    /// Who has a share waits for no turn, but gives it up: whose turn it is may wait for others with a share in its batch.
    async fn turn<'s>(&mut self, slot: &'s Slot<A>) -> MutexGuard<'s, ()> {
        match slot.turn.try_lock() {
            Ok(turn) => turn,
            Err(_) => {
                self.share = None;
                slot.turn.lock().await
            }
        }
    }
}

impl<A> Default for How<A> {
    fn default() -> Self {
        Self {
            premises: Vec::new(),
            assumed: None,
            share: None,
        }
    }
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
    ) -> Result<Executed<A>, ExecuteError<A::Rule>> {
        self.run(id, command, How::default(), context).await
    }

    /// Executes a command whose events share a commit with those of others.
    ///
    /// # Errors
    /// As [`App::execute`].
    pub async fn execute_with<A: Stored>(
        &self,
        share: Share,
        id: A::Id,
        command: A::Command,
        context: &Context,
    ) -> Result<Executed<A>, ExecuteError<A::Rule>> {
        let how = How {
            share: Some(share),
            ..How::default()
        };
        self.run(id, command, how, context).await
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
    ) -> Result<Executed<A>, ExecuteError<A::Rule>> {
        let how = How {
            premises,
            ..How::default()
        };
        self.run(id, command, how, context).await
    }

    /// Executes the first command on an aggregate whose id was just drawn: its stream is taken to
    /// be empty without a look, which the append then proves. Its events may share a commit with those of others.
    ///
    /// # Errors
    /// As [`App::execute`].
    pub async fn create<A: Stored>(
        &self,
        id: A::Id,
        command: A::Command,
        context: &Context,
        share: Option<Share>,
    ) -> Result<Executed<A>, ExecuteError<A::Rule>> {
        let how = How {
            assumed: Some(Arc::default()),
            share,
            ..How::default()
        };
        self.run(id, command, how, context).await
    }

    async fn run<A: Stored>(
        &self,
        id: A::Id,
        command: A::Command,
        mut how: How<A>,
        context: &Context,
    ) -> Result<Executed<A>, ExecuteError<A::Rule>> {
        let stream = A::stream(id);
        let mut context = Cow::Borrowed(context);
        let cache = A::cache(&self.streams);
        let mut reload = false;
        for _ in 0..ATTEMPTS_MAX {
            let cached = if reload {
                None
            } else {
                cache.get(&stream).or_else(|| how.assumed.take())
            };
            let (slot, is_read) = match cached {
                Some(slot) => (slot, false),
                None => (self.read::<A>(&stream).await?, true),
            };
            let _turn = how.turn(&slot).await;
            let Some(before) = slot.current() else {
                reload = true;
                continue;
            };
            let command = command.clone();
            let submitted = match self.submit(&before, &stream, command, &mut how, &context) {
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
                after,
                pending,
            } = submitted;
            let Some(pending) = pending else {
                if !is_read {
                    reload = true;
                    continue;
                }
                return executed(rule, events, after);
            };
            match pending.await {
                Ok(_) => {
                    cache.learn(&stream, after.clone());
                    // What this node made durable it knows at once, before its follower.
                    for (version, (_, event)) in (before.version..).zip(&events) {
                        self.apply(&stream, version, context.now, &event.clone().into());
                    }
                    return executed(rule, events, after);
                }
                Err(AppendError::Conflict { actual }) => {
                    slot.follow(actual);
                    if !how.premises.is_empty() {
                        return Err(Unavailable::Overtaken.into());
                    }
                    reload = true;
                }
                Err(error) => return Err(Unavailable::from(error).into()),
            }
        }
        Err(Unavailable::Contended.into())
    }

    /// Decides on a state and, if there is something to record, hands it to the log.
    fn submit<A: Stored>(
        &self,
        before: &Known<A>,
        stream: &str,
        command: A::Command,
        how: &mut How<A>,
        context: &Context,
    ) -> Result<Submitted<A>, VaultError> {
        let (events, rule) = match before.state.decide(command, context.now) {
            Ok(events) => (events, None),
            Err(refusal) => (refusal.events, Some(refusal.rule)),
        };
        if events.is_empty() {
            return Ok(Submitted {
                rule,
                events: Vec::new(),
                after: before.clone(),
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
        let append = Append {
            stream: stream.to_owned(),
            expected: before.version,
            premises: how.premises.clone(),
            entries,
        };
        let pending = match how.share.take() {
            Some(share) => share.submit(append),
            None => self.log.submit(append),
        };
        Ok(Submitted {
            rule,
            events: identified,
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

struct Submitted<A: Stored> {
    rule: Option<A::Rule>,
    events: Vec<(EventId, A::Event)>,
    after: Known<A>,
    pending: Option<Pending>,
}
