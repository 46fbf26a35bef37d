//! Seals: by what a change to an entry of the log is found.
//!
//! An entry's seal is a keyed hash over the seal before it, its position and its bytes, so that nobody without the vault's
//! keys can change, exchange, insert or remove entries and have the seals fit. What is encrypted beside an entry is not in
//! it: the entry's commitment binds that, and erasing a person breaks no seal.
//!
//! Seals only become more. Every node computes the same ones from where the store has come to, so any number of nodes may
//! write them, and none remembers anything.

use std::path::Path;

use aws_lc_rs::hmac;

use super::sql::{Field, Row, Sql};
use super::sqlite::Sqlite;
use super::{Vault, VaultError};

/// How many entries have their seals in one row.
const BLOCK: u64 = 256;
/// Rows that are read at once.
const ROWS: u64 = 16;

const BYTES: usize = 16;
type Seal = [u8; BYTES];

/// Before the first entry.
const NONE: Seal = [0; BYTES];

const LAST: &str = "SELECT first, tags FROM grantlog_vault.seals ORDER BY first DESC LIMIT 1";

/// A row that is there is continued, and never becomes another.
const LENGTHEN: &str = "INSERT INTO grantlog_vault.seals (first, tags) VALUES ($1, $2)
    ON CONFLICT (first) DO UPDATE SET tags = excluded.tags
    WHERE length(excluded.tags) > length(seals.tags)
      AND substr(excluded.tags, 1, length(seals.tags)) = seals.tags";

fn seal(key: &hmac::Key, before: &Seal, position: u64, entry: &[u8]) -> Seal {
    let mut context = hmac::Context::with_key(key);
    context.update(before);
    context.update(&position.to_be_bytes());
    context.update(entry);
    let tag = context.sign();
    *tag.as_ref()
        .first_chunk()
        .expect("HMAC-SHA256 has 32 bytes")
}

/// The last row: what is continued.
struct End {
    first: u64,
    tags: Vec<u8>,
}

impl End {
    fn read(sql: &dyn Sql) -> Result<Self, VaultError> {
        let Some(mut row) = sql.row(LAST, &[])? else {
            let (first, tags) = (0, Vec::new());
            return Ok(Self { first, tags });
        };
        let first = u64::try_from(row.take::<i64>(0)?).map_err(|_| VaultError::Column(0))?;
        let tags = row.take(1)?;
        Ok(Self { first, tags })
    }

    /// How many entries have a seal.
    fn entries(&self) -> u64 {
        self.first + (self.tags.len() / BYTES) as u64
    }

    fn add(&mut self, key: &hmac::Key, entry: &[u8]) {
        let before = self.tags.last_chunk().unwrap_or(&NONE);
        let next = seal(key, before, self.entries(), entry);
        self.tags.extend_from_slice(&next);
    }

    fn into_rows(self) -> Vec<Row> {
        let blocks = self.tags.chunks(BLOCK as usize * BYTES);
        let firsts = (self.first..).step_by(BLOCK as usize);
        let row = |(first, tags): (u64, &[u8])| {
            Row::new(vec![Field::Int(first as i64), Field::Bytes(tags.to_vec())])
        };
        firsts.zip(blocks).map(row).collect()
    }
}

impl Vault {
    /// How many entries of the log, from its beginning, are sealed.
    ///
    /// # Errors
    /// The store failed.
    pub async fn sealed_entries(&self) -> Result<u64, VaultError> {
        self.blocking(|vault| Ok(vault.0.store.read(End::read)?.entries()))
            .await
    }

    /// The seals as far as they have come, to be continued. Blocks.
    ///
    /// # Errors
    /// The store failed.
    pub fn sealing(&self) -> Result<Sealing, VaultError> {
        let end = self.0.store.read(End::read)?;
        Ok(Sealing {
            vault: self.clone(),
            known: end.entries(),
            end,
        })
    }

    /// The seals that are there now, to be compared with the log's entries. Blocks.
    ///
    /// # Errors
    /// The store failed.
    pub fn seals(&self) -> Result<Seals<'_>, VaultError> {
        Ok(Seals {
            vault: self,
            entries: self.0.store.read(End::read)?.entries(),
            position: 0,
            before: NONE,
            tags: Vec::new(),
        })
    }

    /// Takes the seals out of the vault at `path`, a copy, that are not of the first `entries`. Blocks.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn cut_seals(path: &Path, entries: u64) -> Result<(), VaultError> {
        // At most the head of a log, which its store holds as an i64.
        let entries = [(entries as i64).into()];
        Sqlite::change(path, |sql| {
            sql.execute(
                "DELETE FROM grantlog_vault.seals WHERE first >= $1",
                &entries,
            )?;
            sql.execute(
                "UPDATE grantlog_vault.seals SET tags = substr(tags, 1, 16 * ($1 - first))
                 WHERE length(tags) > 16 * ($1 - first)",
                &entries,
            )
        })?;
        Ok(())
    }
}

/// Seals that are added to those in the store, and written together.
pub struct Sealing {
    vault: Vault,
    known: u64,
    end: End,
}

impl Sealing {
    /// How many entries have a seal, which is also the position of the next.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.end.entries()
    }

    /// Seals the next entry.
    pub fn add(&mut self, entry: &[u8]) {
        self.end.add(&self.vault.0.purpose_keys.seal, entry);
    }

    /// Writes what was added, unless somebody else did meanwhile.
    ///
    /// # Errors
    /// The store failed.
    pub async fn write(self) -> Result<(), VaultError> {
        if self.end.entries() == self.known {
            return Ok(());
        }
        let rows = self.end.into_rows();
        let lengthen = move |sql: &dyn Sql| sql.execute_each(LENGTHEN, &rows);
        self.vault.0.store.write(lengthen).await
    }
}

/// The seals of a log as they were at one moment, compared with its entries from the first on.
pub struct Seals<'v> {
    vault: &'v Vault,
    entries: u64,
    position: u64,
    before: Seal,
    /// Some of those that are compared next, from a multiple of as many on.
    tags: Vec<u8>,
}

impl Seals<'_> {
    /// How many entries are sealed.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Whether the next entry is the one that was sealed, or not sealed yet.
    ///
    /// # Errors
    /// The store failed.
    pub fn fits(&mut self, entry: &[u8]) -> Result<bool, VaultError> {
        let position = self.position;
        self.position += 1;
        if position >= self.entries {
            return Ok(true);
        }
        let index = position % (ROWS * BLOCK);
        if index == 0 {
            self.tags = self.read(position)?;
        }
        self.before = seal(
            &self.vault.0.purpose_keys.seal,
            &self.before,
            position,
            entry,
        );
        let found = self.tags.chunks_exact(BYTES).nth(index as usize);
        Ok(found.is_some_and(|found| found == self.before))
    }

    /// The tags of some rows, as far as none is missing.
    fn read(&self, from: u64) -> Result<Vec<u8>, VaultError> {
        // At most what is sealed, which the store holds as an i64.
        let range = [(from as i64).into(), (ROWS as i64).into()];
        let rows = self.vault.0.store.read(|sql| {
            sql.rows(
                "SELECT first, tags FROM grantlog_vault.seals WHERE first >= $1 ORDER BY first LIMIT $2",
                &range,
            )
        })?;
        let mut tags = Vec::new();
        for mut row in rows {
            let first: i64 = row.take(0)?;
            if first as u64 != from + (tags.len() / BYTES) as u64 {
                break;
            }
            tags.extend(row.take::<Vec<u8>>(1)?);
        }
        Ok(tags)
    }
}

#[cfg(test)]
mod tests {
    use super::super::PurposeKeys;
    use super::*;

    fn sealed(entries: &[&[u8]]) -> End {
        let key = PurposeKeys::derive(&[1; 32]).seal;
        let (first, tags) = (0, Vec::new());
        let mut end = End { first, tags };
        for entry in entries {
            end.add(&key, entry);
        }
        end
    }

    /// Computed by another implementation; stores hold such seals for ever.
    #[test]
    fn a_seal_is_what_it_always_was() {
        let tags = sealed(&[b"first", b"second"]).tags;
        let (first, second) = (
            0xdf5e_5da7_ecd0_b91a_c67a_1373_5f43_6558_u128,
            0x8993_369a_d579_1817_0af6_93c7_6f0b_9f09_u128,
        );
        assert_eq!(tags, [first.to_be_bytes(), second.to_be_bytes()].concat());
    }

    #[test]
    fn a_row_begins_with_each_block() {
        let entries = [b"entry".as_slice(); 2 * BLOCK as usize + 1];
        let end = sealed(&entries);
        assert_eq!(end.entries(), 513);
        let rows = end.into_rows().into_iter();
        let rows = rows.map(|mut row| {
            let tags: Vec<u8> = row.take(1).unwrap();
            (row.take::<i64>(0).unwrap(), tags.len())
        });
        let full = BLOCK as usize * BYTES;
        let expected = [(0, full), (256, full), (512, BYTES)];
        assert_eq!(rows.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_seal_is_of_one_entry_in_one_place() {
        let key = PurposeKeys::derive(&[1; 32]).seal;
        let seals = [
            seal(&key, &NONE, 0, b"entry"),
            seal(&key, &NONE, 1, b"entry"),
            seal(&key, &[1; BYTES], 0, b"entry"),
            seal(&key, &NONE, 0, b"other"),
            seal(&PurposeKeys::derive(&[2; 32]).seal, &NONE, 0, b"entry"),
        ];
        let distinct = std::collections::HashSet::from(seals);
        assert_eq!(distinct.len(), seals.len());
    }
}
