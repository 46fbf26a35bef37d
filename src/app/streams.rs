//! Aggregates and their streams, and the states of the recently used ones.

use std::sync::{Arc, Mutex, PoisonError};

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

/// A state and how many events lead to it, appends in flight included.
pub struct Slot<A> {
    pub state: Arc<A>,
    pub version: u64,
}

/// The states of the recently used streams of one kind.
pub struct Recent<A> {
    slots: Cache<String, Arc<Mutex<Slot<A>>>>,
    /// How many events the streams have that were followed last, where other nodes append, too.
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

    pub fn get(&self, stream: &str) -> Option<Arc<Mutex<Slot<A>>>> {
        self.slots.get(stream)
    }

    /// Keeps a state, unless the log has been followed past it since it was read.
    pub fn insert(&self, stream: &str, slot: &Arc<Mutex<Slot<A>>>) {
        self.slots.insert(stream.to_owned(), slot.clone());
        // After the insertion: an event followed later finds the state there.
        if let Some(there) = self.followed.get(stream)
            && version(slot) < there
        {
            self.forget(stream, slot);
        }
    }

    /// Forgets a state that turned out to be wrong, unless it was already replaced.
    pub fn forget(&self, stream: &str, slot: &Arc<Mutex<Slot<A>>>) {
        self.slots
            .remove_if(stream, |known| Arc::ptr_eq(known, slot));
    }

    /// Forgets a state that does not know of all of the stream's first `there` events.
    fn outdate(&self, stream: &str, there: u64) {
        self.followed.insert(stream.to_owned(), there);
        if let Some(slot) = self.slots.get(stream)
            && version(&slot) < there
        {
            self.forget(stream, &slot);
        }
    }
}

fn version<A>(slot: &Mutex<Slot<A>>) -> u64 {
    slot.lock().unwrap_or_else(PoisonError::into_inner).version
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
            /// Forgets the state of a stream that another node may have appended `event` to, as
            /// its `version`th, unless the state knows it.
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
