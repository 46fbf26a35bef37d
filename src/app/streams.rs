//! Aggregates and their streams, and the states of the recently used ones.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::Aggregate;
use domain::api_key::ApiKey;
use domain::client::Client;
use domain::event::Event;
use domain::grant::Grant;
use domain::id::{ApiKeyId, ClientId, GrantId, OperatorId, ProviderId, ProxyId, SubjectId};
use domain::operator::Operator;
use domain::provider::Provider;
use domain::proxy::Proxy;
use domain::subject::Subject;
use quick_cache::sync::Cache;

/// An aggregate with a place in the log.
pub trait Stored:
    Aggregate<Event: Into<Event> + TryFrom<Event, Error = Event> + Send + Sync> + Send + Sync + 'static
{
    /// What identifies one of its kind.
    type Id: Copy + Send;

    /// The stream that holds its events.
    fn stream(id: Self::Id) -> String;

    #[doc(hidden)]
    fn cache(streams: &Streams) -> &Recent<Self>;
}

/// The state that a stream's first `version` entries lead to.
pub struct Known<A> {
    pub state: Arc<A>,
    pub version: u64,
}

impl<A> Clone for Known<A> {
    fn clone(&self) -> Self {
        Self {
            state: self.state.clone(),
            version: self.version,
        }
    }
}

impl<A: Default> Default for Known<A> {
    fn default() -> Self {
        Self {
            state: Arc::default(),
            version: 0,
        }
    }
}

/// A state to decide on.
pub struct Slot<A> {
    /// Appends in flight included.
    pub newest: Known<A>,
    /// Only what is durable, and perhaps not all of that: what follows it is all that needs to be read.
    durable: Known<A>,
    /// An append in it failed, or the log went on without it.
    outdated: bool,
    /// Held while an append is in flight.
    pub turn: Arc<tokio::sync::Mutex<()>>,
}

impl<A> Slot<A> {
    /// A slot of durable entries.
    pub fn new(durable: Known<A>) -> Self {
        Self {
            newest: durable.clone(),
            durable,
            outdated: false,
            turn: Arc::default(),
        }
    }

    /// Whether it must not be decided on.
    pub fn is_outdated(&self) -> bool {
        self.outdated
    }

    /// Takes note that the append that led from `before` to `after` is durable. What was decided on appends in flight says
    /// nothing about those.
    pub fn confirm(&mut self, before: &Known<A>, after: Known<A>) {
        if Arc::ptr_eq(&self.durable.state, &before.state) && self.durable.version == before.version
        {
            self.durable = after;
        }
    }

    /// Nothing more is decided on it: an append in it failed, or nobody waits for what becomes of it.
    pub fn outdate(&mut self) {
        self.outdated = true;
    }

    /// Nothing more is decided on it unless it knows of so many events.
    fn must_know(&mut self, there: u64) {
        self.outdated |= self.newest.version < there;
    }
}

/// The states of the recently used streams of one kind.
pub struct Recent<A> {
    slots: Cache<String, Arc<Mutex<Slot<A>>>>,
    /// Held while a slot is put there, so that none takes the place of one that knows more.
    inserting: Mutex<()>,
    /// How many events the streams have that were followed last.
    followed: Cache<String, u64>,
}

/// No state is read for so long that more events than this are followed meanwhile.
const FOLLOWED_MAX: usize = 4096;

impl<A> Recent<A> {
    fn new(capacity: usize) -> Self {
        Self {
            slots: Cache::new(capacity),
            inserting: Mutex::default(),
            followed: Cache::new(FOLLOWED_MAX),
        }
    }

    /// What may be decided on.
    pub fn get(&self, stream: &str) -> Option<Arc<Mutex<Slot<A>>>> {
        self.slots.get(stream).filter(|slot| !lock(slot).outdated)
    }

    /// Up to where the stream need not be read.
    pub fn durable(&self, stream: &str) -> Known<A>
    where
        A: Default,
    {
        let slot = self.slots.get(stream);
        slot.map_or_else(Known::default, |slot| lock(&slot).durable.clone())
    }

    /// Keeps a state, unless the log has been followed past it since it was read.
    pub fn insert(&self, stream: &str, slot: &Arc<Mutex<Slot<A>>>) {
        let _inserting = lock(&self.inserting);
        self.put(stream, slot);
    }

    /// Keeps what the log has told, beside what is in flight.
    pub fn learn(&self, stream: &str, known: &Known<A>) {
        let _inserting = lock(&self.inserting);
        match self.get(stream) {
            Some(slot) => {
                let mut slot = lock(&slot);
                if slot.durable.version < known.version {
                    slot.durable = known.clone();
                }
                if slot.newest.version == known.version {
                    slot.newest = known.clone();
                }
            }
            None if known.version > 0 => {
                self.put(stream, &Arc::new(Mutex::new(Slot::new(known.clone()))));
            }
            None => {}
        }
    }

    fn put(&self, stream: &str, slot: &Arc<Mutex<Slot<A>>>) {
        self.slots.insert(stream.to_owned(), slot.clone());
        // After the insertion: an event followed later finds the state there.
        if let Some(there) = self.followed.get(stream) {
            lock(slot).must_know(there);
        }
    }

    /// Has the log asked again before anything is decided on a state that does not know of all of the stream's first `there`
    /// events.
    fn outdate(&self, stream: &str, there: u64) {
        self.followed.insert(stream.to_owned(), there);
        if let Some(slot) = self.slots.get(stream) {
            lock(&slot).must_know(there);
        }
    }
}

/// What is behind a lock; nothing leaves it half changed.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

macro_rules! streams {
    ($( $field:ident: $aggregate:ident, $id:ident, $prefix:literal, $capacity:literal; )*) => {
        /// The recently used streams of every kind.
        pub struct Streams {
            $( $field: Recent<$aggregate>, )*
        }

        impl Default for Streams {
            fn default() -> Self {
                Self { $( $field: Recent::new($capacity), )* }
            }
        }

        impl Streams {
            /// Has the log asked again about a stream that `event` was appended to, as its `version`th,
            /// unless its state knows it.
            pub fn outdate(&self, stream: &str, version: u64, event: &Event) {
                match event {
                    $( Event::$aggregate(_) => self.$field.outdate(stream, version + 1), )*
                    Event::Audit(_) | Event::Key(_) => {}
                }
            }
        }

        $(
            impl Stored for $aggregate {
                type Id = $id;

                fn stream(id: $id) -> String {
                    format!(concat!($prefix, "-{}"), id)
                }

                fn cache(streams: &Streams) -> &Recent<Self> {
                    &streams.$field
                }
            }
        )*
    };
}

streams! {
    providers: Provider, ProviderId, "provider", 256;
    proxies: Proxy, ProxyId, "proxy", 1024;
    clients: Client, ClientId, "client", 8192;
    grants: Grant, GrantId, "grant", 16384;
    operators: Operator, OperatorId, "operator", 256;
    api_keys: ApiKey, ApiKeyId, "api-key", 1024;
    subjects: Subject, SubjectId, "subject", 1024;
}
