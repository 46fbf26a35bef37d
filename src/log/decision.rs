//! The rule of appending, and what becomes of a batch by it; pure.

use std::collections::HashMap;

use super::backend::Row;
use super::queue::Submitted;
use super::types::{AppendError, Appended, Premise, StoredEntry};

/// The rule about one append, by the state it met: where it goes, or how many entries its stream has instead.
pub(super) type Decision = Result<u64, u64>;

/// Applies the one rule of appending, each append seeing those before it: its stream, and those that it rests on, are as long as
/// it expects.
pub(super) fn decide<'a>(
    head: u64,
    mut versions: HashMap<&'a str, u64>,
    batch: &'a [Submitted],
) -> Vec<Decision> {
    let mut next = head;
    let mut decisions = Vec::with_capacity(batch.len());
    for Submitted { append, .. } in batch {
        let holds = |premise: &Premise| {
            versions
                .get(premise.stream.as_str())
                .copied()
                .unwrap_or_default()
                == premise.length
        };
        let rests = append.premises.iter().all(holds);
        let version = versions.entry(&append.stream).or_default();
        if *version != append.expected || !rests {
            decisions.push(Err(*version));
            continue;
        }
        let count = append.entries.len() as u64;
        decisions.push(Ok(next));
        next += count;
        *version += count;
    }
    decisions
}

/// The streams that a decision about these appends looks at, each with the length that is expected of it.
pub(super) fn expectations(batch: &[Submitted]) -> impl Iterator<Item = (&str, u64)> {
    batch.iter().flat_map(|Submitted { append, .. }| {
        let premises = append.premises.iter();
        let premises = premises.map(|premise| (premise.stream.as_str(), premise.length));
        [(append.stream.as_str(), append.expected)]
            .into_iter()
            .chain(premises)
    })
}

pub(super) fn rows<'a>(batch: &'a [Submitted], decisions: &[Decision]) -> Vec<Row<'a>> {
    let mut rows = Vec::with_capacity(batch.len());
    for (submitted, decision) in batch.iter().zip(decisions) {
        let Ok(first) = decision else { continue };
        let append = &submitted.append;
        for (i, new) in (0..).zip(&append.entries) {
            rows.push(Row {
                position: first + i,
                stream: &append.stream,
                version: append.expected + i,
                entry: &new.entry,
                sealed: new.sealed.as_deref(),
            });
        }
    }
    rows
}

/// The entries of the appends that were decided to be written, as the store has them.
pub(super) fn taken<'a>(
    batch: &'a mut [Submitted],
    decisions: &'a [Decision],
) -> impl Iterator<Item = StoredEntry> + 'a {
    let written = batch.iter_mut().zip(decisions);
    let written = written.filter_map(|(submitted, decision)| Some((submitted, decision.ok()?)));
    written.flat_map(|(Submitted { append, .. }, first)| {
        let entries = std::mem::take(&mut append.entries);
        let stream = &append.stream;
        let expected = append.expected;
        (0..).zip(entries).map(move |(i, new)| StoredEntry {
            position: first + i,
            stream: stream.clone(),
            version: expected + i,
            entry: new.entry,
            sealed: new.sealed,
        })
    })
}

/// Whether these are the rows, moved by so much.
pub(super) fn same(rows: &[Row<'_>], stored: &[StoredEntry], by: u64) -> bool {
    let same = |(row, stored): (&Row<'_>, &StoredEntry)| {
        row.position + by == stored.position
            && row.stream == stored.stream
            && row.version == stored.version
            && row.entry == stored.entry
            && row.sealed == stored.sealed.as_deref()
    };
    rows.len() == stored.len() && rows.iter().zip(stored).all(same)
}

pub(super) fn move_by(decisions: &mut [Decision], by: u64) {
    for position in decisions.iter_mut().flatten() {
        *position += by;
    }
}

pub(super) fn answer(batch: Vec<Submitted>, decisions: &[Decision]) {
    for (submitted, decision) in batch.into_iter().zip(decisions) {
        submitted.answer(match *decision {
            Ok(first_position) => Ok(Appended { first_position }),
            Err(actual) => Err(AppendError::Conflict { actual }),
        });
    }
}
