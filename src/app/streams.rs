//! Aggregates and their streams, and what is known of the recently used ones.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
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
    Aggregate<Command: Clone, Event: Into<Event> + TryFrom<Event, Error = Event> + Send + Sync>
    + Send
    + Sync
    + 'static
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

/// What this node knows of a stream: only what is durable, and perhaps not all of that.
pub struct Slot<A> {
    /// Held from the decision until its append is answered: nothing is decided on an append in flight.
    pub turn: tokio::sync::Mutex<()>,
    known: Mutex<Known<A>>,
    /// So many events the log is known to have.
    followed: AtomicU64,
}

impl<A> Slot<A> {
    fn new(known: Known<A>) -> Self {
        Self {
            turn: tokio::sync::Mutex::default(),
            known: Mutex::new(known),
            followed: AtomicU64::new(0),
        }
    }

    /// From where on the stream needs to be read.
    pub fn known(&self) -> Known<A> {
        lock(&self.known).clone()
    }

    /// What may be decided on: nothing, if the log is known to have more.
    pub fn current(&self) -> Option<Known<A>> {
        let known = self.known();
        (known.version >= self.followed.load(Ordering::Acquire)).then_some(known)
    }

    fn learn(&self, known: Known<A>) {
        let mut mine = lock(&self.known);
        if mine.version < known.version {
            *mine = known;
        }
    }

    /// Takes note that the log has so many events of it.
    pub fn follow(&self, version: u64) {
        self.followed.fetch_max(version, Ordering::Release);
    }
}

impl<A: Default> Default for Slot<A> {
    fn default() -> Self {
        Self::new(Known::default())
    }
}

/// The recently used streams of one kind.
pub struct Recent<A> {
    slots: Cache<String, Arc<Slot<A>>>,
    /// How many events the streams have that were followed last.
    followed: Cache<String, u64>,
}

/// No state is read for so long that more events than this are followed meanwhile.
const FOLLOWED_MAX: usize = 4096;

impl<A> Recent<A> {
    fn new(capacity: usize) -> Self {
        Self {
            slots: Cache::new(capacity),
            followed: Cache::new(FOLLOWED_MAX),
        }
    }

    pub fn get(&self, stream: &str) -> Option<Arc<Slot<A>>> {
        self.slots.get(stream)
    }

    /// Keeps what is durable of a stream; of one that is not there nothing, as anybody may ask for such.
    pub fn learn(&self, stream: &str, known: Known<A>) -> Arc<Slot<A>> {
        if known.version == 0 {
            return Arc::new(Slot::new(known));
        }
        self.keep(stream, known)
    }

    /// Keeps what is known in the stream's one slot, so that nothing takes the place of what knows more.
    pub fn keep(&self, stream: &str, known: Known<A>) -> Arc<Slot<A>> {
        let new = || Ok::<_, Infallible>(Arc::new(Slot::new(known.clone())));
        let Ok(slot) = self.slots.get_or_insert_with(stream, new);
        slot.learn(known);
        // After the insertion: an event followed later finds the slot there.
        if let Some(version) = self.followed.get(stream) {
            slot.follow(version);
        }
        slot
    }

    /// Has the log asked again before anything is decided on a state that does not know of all of the stream's first `version`
    /// events.
    fn follow(&self, stream: &str, version: u64) {
        self.followed.insert(stream.to_owned(), version);
        if let Some(slot) = self.slots.get(stream) {
            slot.follow(version);
        }
    }
}

/// What is behind a lock; nothing leaves it half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
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
            pub fn follow(&self, stream: &str, version: u64, event: &Event) {
                match event {
                    $( Event::$aggregate(_) => self.$field.follow(stream, version + 1), )*
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
