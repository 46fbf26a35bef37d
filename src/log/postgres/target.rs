//! A log in PostgreSQL that another one is carried into, as it is.
//!
//! Before it has its first table and until it has its last entry the store says that it is unfinished, so that no program takes
//! the part for the whole; and whoever finds it so knows that nobody has appended to it.

use std::ops::Range;

use super::super::Log;
use super::super::backend::Backend;
use super::super::carry::{CarryError, carry, difference};
use super::super::readers::Readers;
use super::super::types::{OpenError, ReadError, StoreError};
use super::open::{CONNECTIONS, SCHEMA, apply, schema};
use super::seen::Seen;
use super::{PostgresBackend, PostgresReaders, TAKE_HEAD, one, unsigned};
use crate::migrations::postgres::{begin_filling, end_filling};
use crate::postgres::{BEGIN_WRITE, Error, Postgres, within};

/// How many of the last entries say whose beginning a part is.
const LAST: u64 = 1000;

const HAS_HEAD: &str = "SELECT to_regclass('grantlog_log.log_head') IS NOT NULL";

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

    /// Says that it is unfinished, and makes what is missing.
    ///
    /// # Errors
    /// Somebody has appended to it; it cannot be written.
    pub fn begin(&mut self) -> Result<(), OpenError> {
        if !self.is_begun {
            self.is_begun = self.mark().map_err(StoreError::from)?;
            if !self.is_begun {
                return Err(OpenError::Occupied);
            }
        }
        apply(&self.store, false)?;
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
        let finished = self.store.block_on(async {
            let lease = self.store.lease().await?;
            within(lease.batch_execute(BEGIN_WRITE)).await?;
            end_filling(&lease, SCHEMA).await?;
            within(lease.batch_execute("COMMIT")).await?;
            lease.release();
            Ok::<_, Error>(())
        });
        Ok(finished?)
    }

    /// Says that it is unfinished; `false`, and nothing is said, where somebody has appended to it.
    fn mark(&self) -> Result<bool, Error> {
        self.store.block_on(async {
            let lease = self.store.lease().await?;
            within(lease.batch_execute(BEGIN_WRITE)).await?;
            begin_filling(&lease, SCHEMA).await?;
            if one(&within(lease.query_typed(HAS_HEAD, &[])).await?)?.get(0) {
                let head = within(lease.query_typed(TAKE_HEAD, &[])).await?;
                if unsigned(one(&head)?, 0)? > 0 {
                    // Without its commit nothing of it holds.
                    return Ok(false);
                }
            }
            within(lease.batch_execute("COMMIT")).await?;
            lease.release();
            Ok(true)
        })
    }
}
