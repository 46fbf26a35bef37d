//! Grantlog's read models: what lists, history and pages are read from.
//!
//! A projection is a pure fold of the log into rows, kept in a table of a local SQLite file that
//! can be deleted and rebuilt at any time. It is never asked whether something is allowed, and
//! has a handle to nothing: folding has no effects but its rows. Time comes from the envelope.
//!
//! To add one: its table in `migrations/read`, its module here, one line in the list below, and
//! one in the schema in `model.rs`. The property tests compare table and fold for every line.

mod api_keys;
mod clients;
mod compare;
mod copy;
mod events;
mod filter;
mod grants;
mod lists;
mod logins;
mod model;
mod operators;
mod page;
mod providers;
mod proxies;
mod reader;
mod rebuild;
mod recorded;
mod removals;
mod sql;
mod table;
#[cfg(test)]
mod tests;
pub mod time;

pub use api_keys::ApiKey;
pub use clients::{BadStatus, Client, Status};
pub use compare::{Difference, compare};
pub use copy::copy;
pub use events::EventRow;
pub use filter::{BadFilter, BadIpRange, IpRange, Paging};
pub use grants::{Grant, GrantAt};
pub use lists::{ClientFilter, EventFilter, GrantFilter, LoginFilter};
pub use logins::{BadOutcome, Login, Outcome};
pub use model::{FoldError, ReadModel, ReadModelError};
pub use operators::Operator;
pub use page::{Listed, Page, inert};
pub use providers::Provider;
pub use proxies::Proxy;
pub use reader::{Of, Reader};
pub use rebuild::{RebuildError, Rebuilt, Until, rebuild};
pub use recorded::{Carry, Circumstances, PersonalPart, Recorded, Unopened};

/// The one list of projections.
macro_rules! projections {
    ($( $field:ident: $projection:ty, )*) => {
        /// Every projection's rows on their way to the file.
        #[derive(Default)]
        pub(crate) struct Tables {
            $( pub(crate) $field: table::Table<$projection>, )*
        }

        impl Tables {
            /// Folds one event into each.
            fn step(
                &mut self,
                db: &rusqlite::Connection,
                seen: &recorded::Seen<'_>,
            ) -> Result<(), table::StepError> {
                $( self.$field.step(db, seen)?; )*
                Ok(())
            }

            /// Writes what changed.
            fn flush(&mut self, db: &rusqlite::Connection) -> rusqlite::Result<()> {
                $( self.$field.flush(db)?; )*
                Ok(())
            }
        }

        #[cfg(test)]
        macro_rules! for_each_projection {
            ($check:ident) => { $( $check!($field, $projection); )* };
        }
        #[cfg(test)]
        pub(crate) use for_each_projection;
    };
}

projections! {
    events: events::Events,
    logins: logins::Logins,
    grants: grants::Grants,
    clients: clients::Clients,
    proxies: proxies::Proxies,
    providers: providers::Providers,
    operators: operators::Operators,
    api_keys: api_keys::ApiKeys,
}
