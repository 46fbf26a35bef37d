//! A store that fails on purpose.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use grantlog::log::{Backend, CommitError, Row, Settled, StoreError};
use tokio::sync::{oneshot, watch};

/// The calls a fault can meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    OneStep,
    Begin,
    Versions,
    Insert,
    Commit,
    Settle,
}

/// What happens at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails and has done nothing.
    Undone,
    /// It has done its work and fails nevertheless.
    Done,
    /// A commit that says for certain that it did nothing.
    Refused,
}

/// The faults to come; clones share them.
#[derive(Clone, Default)]
pub struct Faults(Arc<Plan>);

#[derive(Default)]
struct Plan {
    state: Mutex<State>,
    /// Calls made so far, by kind; tells a test that one was reached.
    calls: watch::Sender<HashMap<Call, usize>>,
}

#[derive(Default)]
struct State {
    planned: HashMap<(Call, usize), Fault>,
    always: HashMap<Call, Fault>,
    held: Option<(Call, oneshot::Sender<()>, Receiver<()>)>,
    unreadable: Option<String>,
    one_step: bool,
}

/// A call that waits.
pub struct Gate {
    reached: Mutex<Option<oneshot::Receiver<()>>>,
    open: SyncSender<()>,
}

impl Gate {
    pub async fn reached(&self) {
        let reached = self.reached.lock().unwrap().take().unwrap();
        reached.await.unwrap();
    }

    pub fn open(self) {
        self.open.send(()).unwrap();
    }
}

impl Faults {
    /// The `nth` call from now on (0 is the next) meets a fault.
    pub fn plan(&self, call: Call, nth: usize, fault: Fault) {
        let made = self.made(call);
        let mut state = self.0.state.lock().unwrap();
        state.planned.insert((call, made + nth), fault);
    }

    /// Every such call meets the fault, until it is taken back.
    pub fn always(&self, call: Call, fault: Option<Fault>) {
        let mut state = self.0.state.lock().unwrap();
        match fault {
            Some(fault) => state.always.insert(call, fault),
            None => state.always.remove(&call),
        };
    }

    /// How many such calls there have been.
    pub fn made(&self, call: Call) -> usize {
        self.0.calls.borrow().get(&call).copied().unwrap_or(0)
    }

    /// From now on everything is tried in one step.
    pub fn in_one_step(&self) {
        self.0.state.lock().unwrap().one_step = true;
    }

    /// A stream whose versions cannot be told.
    pub fn unreadable(&self, stream: &str) {
        self.0.state.lock().unwrap().unreadable = Some(stream.to_owned());
    }

    /// The next such call waits.
    pub fn hold(&self, call: Call) -> Gate {
        let (reached_sender, reached) = oneshot::channel();
        let (open, opened) = sync_channel(1);
        self.0.state.lock().unwrap().held = Some((call, reached_sender, opened));
        Gate {
            reached: Mutex::new(Some(reached)),
            open,
        }
    }

    /// Waits until one more such call is made.
    pub async fn next(&self, call: Call) {
        let mut calls = self.0.calls.subscribe();
        let count = |calls: &HashMap<Call, usize>| calls.get(&call).copied().unwrap_or(0);
        let before = count(&calls.borrow_and_update());
        calls.wait_for(|calls| count(calls) > before).await.unwrap();
    }

    fn meet(&self, call: Call) -> Option<Fault> {
        let held = self
            .0
            .state
            .lock()
            .unwrap()
            .held
            .take_if(|held| held.0 == call);
        if let Some((_, reached, opened)) = held {
            reached.send(()).unwrap();
            opened.recv().unwrap();
        }
        let mut nth = 0;
        self.0.calls.send_modify(|calls| {
            let made = calls.entry(call).or_default();
            nth = *made;
            *made += 1;
        });
        let state = self.0.state.lock().unwrap();
        let planned = state.planned.get(&(call, nth));
        planned.or(state.always.get(&call)).copied()
    }
}

fn injected() -> StoreError {
    StoreError::new("a fault of the test")
}

/// A backend that meets the faults planned for it.
pub struct Faulty<B> {
    inner: B,
    faults: Faults,
}

impl<B: Backend> Faulty<B> {
    pub fn new(inner: B, faults: &Faults) -> Self {
        let faults = faults.clone();
        Self { inner, faults }
    }

    fn call<T>(
        &mut self,
        call: Call,
        inner: impl FnOnce(&mut B) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match self.faults.meet(call) {
            None => inner(&mut self.inner),
            Some(Fault::Undone | Fault::Refused) => Err(injected()),
            Some(Fault::Done) => inner(&mut self.inner).and(Err(injected())),
        }
    }
}

impl<B: Backend> Backend for Faulty<B> {
    fn is_far(&self) -> bool {
        self.faults.0.state.lock().unwrap().one_step
    }

    fn append_in_one_step(
        &mut self,
        known: u64,
        expected: &HashMap<&str, u64>,
        rows: &[Row<'_>],
    ) -> Result<Option<u64>, CommitError> {
        let unknown = Err(CommitError::Unknown(injected()));
        match self.faults.meet(Call::OneStep) {
            None => self.inner.append_in_one_step(known, expected, rows),
            Some(Fault::Refused) => Err(CommitError::NotWritten(injected())),
            Some(Fault::Undone) => unknown,
            Some(Fault::Done) => (self.inner)
                .append_in_one_step(known, expected, rows)
                .and(unknown),
        }
    }

    fn begin(&mut self, streams: &[&str]) -> Result<u64, StoreError> {
        self.call(Call::Begin, |inner| inner.begin(streams))
    }

    fn versions(&mut self, streams: &[&str]) -> Result<Vec<u64>, StoreError> {
        let state = self.faults.0.state.lock().unwrap();
        if state
            .unreadable
            .as_deref()
            .is_some_and(|bad| streams.contains(&bad))
        {
            return Err(injected());
        }
        drop(state);
        self.call(Call::Versions, |inner| inner.versions(streams))
    }

    fn insert(&mut self, rows: &[Row<'_>]) -> Result<(), StoreError> {
        self.call(Call::Insert, |inner| inner.insert(rows))
    }

    fn commit(&mut self) -> Result<(), CommitError> {
        match self.faults.meet(Call::Commit) {
            None => self.inner.commit(),
            Some(Fault::Refused) => Err(CommitError::NotWritten(injected())),
            Some(Fault::Undone) => {
                self.inner.abandon();
                Err(CommitError::Unknown(injected()))
            }
            Some(Fault::Done) => self
                .inner
                .commit()
                .and(Err(CommitError::Unknown(injected()))),
        }
    }

    fn abandon(&mut self) {
        self.inner.abandon();
    }

    fn settle(&mut self, from: u64, count: usize) -> Result<Settled, StoreError> {
        self.call(Call::Settle, |inner| inner.settle(from, count))
    }

    fn rehearse(&mut self) -> Result<(), StoreError> {
        self.inner.rehearse()
    }
}
