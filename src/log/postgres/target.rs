//! A log in PostgreSQL that another one is carried into, as it is.
//!
//! From the first entry to the last the store says that it is unfinished, so that no program takes the part for the whole;
//! and whoever finds it so knows that nobody has appended to it.

use std::ops::Range;

use super::super::Log;
use super::super::backend::Backend;
use super::super::carry::{CarryError, carry, difference};
use super::super::readers::Readers;
use super::super::types::{OpenError, ReadError, StoreError};
use super::open::{CONNECTIONS, SCHEMA, apply, schema};
use super::seen::Seen;
use super::{PostgresBackend, PostgresReaders, TAKE_HEAD, one, unsigned};
use crate::migrations::postgres::set_unfinished;
use crate::postgres::{BEGIN_WRITE, Error, Postgres, within};

/// How many of the last entries say whose beginning a part is.
const LAST: u64 = 1000;

/// The log that another is carried into.
pub struct Target {
    store: Postgres,
    readers: Readers,
    head: u64,
    is_begun: bool,
}

impl Target {
    /// Looks at what there is, and changes nothing. Blocks, as everything here.
    ///
    /// # Errors
    /// The URL is not one, the server cannot be reached or refuses, or the head cannot be read.
    pub fn find(url: &str) -> Result<Self, OpenError> {
        let store = Postgres::new(url, CONNECTIONS).map_err(StoreError::from)?;
        let readers = Readers::Postgres(PostgresReaders::new(store.clone(), Seen::default()));
        let schema = schema(&store)?;
        let head = if schema.applied == 0 {
            0
        } else {
            readers.head()?
        };
        Ok(Self {
            store,
            readers,
            head,
            is_begun: schema.unfinished,
        })
    }

    /// How many entries it has.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Whether carrying into it has begun before and has not come to its end.
    #[must_use]
    pub fn is_begun(&self) -> bool {
        self.is_begun
    }

    /// Whether what it has is where `from` begins: by the first entry, which no other log has, and, before more is added,
    /// by the last ones. The others are compared in the end.
    ///
    /// # Errors
    /// One of the two cannot be read.
    pub fn is_beginning_of(&self, from: &Log) -> Result<bool, ReadError> {
        let last = self.head.saturating_sub(LAST)..self.head;
        Ok(self.head <= from.head()
            && self.is_same(from, 0..self.head.min(1))?
            && (!self.is_begun || self.is_same(from, last)?))
    }

    /// Whether it begins with what `from` has, by the first entry; it may have more. The others are compared in the end.
    ///
    /// # Errors
    /// One of the two cannot be read.
    pub fn begins_with(&self, from: &Log) -> Result<bool, ReadError> {
        Ok(self.head >= from.head() && self.is_same(from, 0..from.head().min(1))?)
    }

    fn is_same(&self, from: &Log, range: Range<u64>) -> Result<bool, ReadError> {
        let difference = difference(&from.0.readers, &self.readers, range, &mut |_| {})?;
        Ok(difference.is_none())
    }

    /// Makes what is missing, and says that it is unfinished.
    ///
    /// # Errors
    /// Somebody has appended to it; it cannot be written.
    pub fn begin(&mut self) -> Result<(), OpenError> {
        apply(&self.store, false)?;
        if !self.is_begun {
            let head = self.set_unfinished(true).map_err(StoreError::from)?;
            if head > 0 {
                return Err(OpenError::Occupied);
            }
            self.is_begun = true;
        }
        // A step of a move that was killed may have been under way to the server.
        self.head = PostgresBackend::new(self.store.clone(), Seen::default())
            .settle(0, 0)?
            .head;
        Ok(())
    }

    /// Adds what it lacks of `from`; tells how many it has after each step, all of them durable.
    ///
    /// # Errors
    /// One of the two fails; what was carried stays, and carrying can go on there later.
    pub fn carry(&mut self, from: &Log, done: &mut dyn FnMut(u64)) -> Result<(), CarryError> {
        let mut backend = PostgresBackend::new(self.store.clone(), Seen::default());
        let lacking = self.head..from.head();
        carry(&from.0.readers, &mut backend, lacking, &mut |head| {
            self.head = head;
            done(head);
        })
    }

    /// The first position at which it does not have what `from` has, byte for byte.
    ///
    /// # Errors
    /// One of the two cannot be read, or has a gap.
    pub fn difference(
        &self,
        from: &Log,
        done: &mut dyn FnMut(u64),
    ) -> Result<Option<u64>, ReadError> {
        difference(&from.0.readers, &self.readers, 0..from.head(), done)
    }

    /// Says that everything is there: from now on it is a log like any other.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(self) -> Result<(), StoreError> {
        self.set_unfinished(false)?;
        Ok(())
    }

    /// Returns how many entries there are; above zero, nothing is begun.
    fn set_unfinished(&self, unfinished: bool) -> Result<u64, Error> {
        self.store.block_on(async {
            let lease = self.store.lease().await?;
            within(lease.batch_execute(BEGIN_WRITE)).await?;
            let head = within(lease.query_typed(TAKE_HEAD, &[])).await?;
            let head = unsigned(one(&head)?, 0)?;
            if head == 0 || !unfinished {
                set_unfinished(&lease, SCHEMA, unfinished).await?;
            }
            within(lease.batch_execute("COMMIT")).await?;
            lease.release();
            Ok(head)
        })
    }
}
