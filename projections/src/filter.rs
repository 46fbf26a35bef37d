//! Filters of lists, read from the pairs of a query string or a command line.
//!
//! Nothing is guessed: an unknown name, a value of another kind or a name that is given twice is
//! an error that says which and what was expected.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::Timestamp;
use ipnet::IpNet;
use sha2::{Digest, Sha256};

use crate::page::Page;
use crate::sql;
use crate::time;

/// A filter that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct BadFilter {
    /// Its name, as it was given.
    pub name: String,
    /// What would have been understood.
    pub expected: String,
}

impl fmt::Display for BadFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}", self.name, self.expected)
    }
}

impl BadFilter {
    fn new(name: &str, expected: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            expected: expected.into(),
        }
    }
}

/// What every list of the log's rows takes beside its own filters.
const TIMES: [&str; 2] = ["since", "until"];

const CURSOR: &str = "the next of a page of this same query";
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 1000;

/// Which part of a list to show, and in which order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paging {
    /// From when on, inclusive.
    pub since: Option<Timestamp>,
    /// Until when, inclusive.
    pub until: Option<Timestamp>,
    /// Oldest first instead of newest first.
    pub ascending: bool,
    /// How many rows at most: 1 to 1000.
    pub limit: usize,
    /// The read model has to know this position before it is asked.
    pub min_position: Option<u64>,
    /// The place of the last row of the page before. It need not be there any more.
    cursor: Option<Vec<u8>>,
    /// Which query cursors of this one belong to.
    query: [u8; 8],
}

impl Paging {
    /// Names of the parameters that every list takes.
    pub const NAMES: [&str; 4] = ["limit", "cursor", "sort", "min_position"];

    /// Reads the query of a list whose rows are few and in memory, and which has no filters.
    ///
    /// # Errors
    /// A name is unknown or given twice, or a value is not of its kind.
    pub fn parse<'a>(
        list: &str,
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, BadFilter> {
        let (_, paging) = Pairs::paged(list, &[], pairs)?;
        Ok(paging)
    }

    /// The page of rows that are all in memory, each with its place: bytes whose order is the list's.
    #[must_use]
    pub fn page<R>(&self, mut rows: Vec<(impl AsRef<[u8]>, R)>, watermark: Option<u64>) -> Page<R> {
        if let Some(cursor) = self.cursor.as_deref() {
            rows.retain(|(place, _)| match self.ascending {
                true => place.as_ref() > cursor,
                false => place.as_ref() < cursor,
            });
        }
        rows.sort_by(|(one, _), (other, _)| one.as_ref().cmp(other.as_ref()));
        if !self.ascending {
            rows.reverse();
        }
        self.cut(rows, |(place, _)| place.as_ref().to_vec(), watermark)
            .map(|(_, row)| row)
    }

    /// The page of the rows behind the cursor: of the one after it there may be some, too.
    pub(crate) fn cut<R>(
        &self,
        mut rows: Vec<R>,
        place: impl Fn(&R) -> Vec<u8>,
        watermark: Option<u64>,
    ) -> Page<R> {
        let more = rows.len() > self.limit;
        rows.truncate(self.limit);
        let last = rows.last().filter(|_| more);
        Page {
            next: last.map(|last| self.cursor_after(&place(last))),
            rows,
            watermark,
        }
    }

    /// The position that the page before ended with.
    pub(crate) fn position(&self) -> Option<u64> {
        let place = self.cursor.as_deref()?.try_into().ok()?;
        Some(u64::from_be_bytes(place))
    }

    fn cursor_after(&self, place: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode([place, &self.query].concat())
    }
}

/// The pairs of a query, each taken once.
pub(crate) struct Pairs {
    left: Vec<(String, String)>,
}

impl Pairs {
    /// Checks the names and takes what all lists of the log's rows have in common.
    pub fn read<'a>(
        list: &str,
        own: &[&'static str],
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
        now: Timestamp,
    ) -> Result<(Self, Paging), BadFilter> {
        let (mut pairs, mut paging) = Self::paged(list, &[own, &TIMES].concat(), pairs)?;
        paging.since = pairs.with("since", time::EXPECTED, |text| time::since(text, now))?;
        paging.until = pairs.with("until", time::EXPECTED, |text| time::until(text, now))?;
        if paging.cursor.is_some() && paging.position().is_none() {
            return Err(BadFilter::new("cursor", CURSOR));
        }
        Ok((pairs, paging))
    }

    /// Checks the names and takes what says which page it is. `list` tells apart cursors of
    /// different lists.
    fn paged<'a>(
        list: &str,
        own: &[&'static str],
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<(Self, Paging), BadFilter> {
        let mut left: Vec<(String, String)> = Vec::new();
        for (name, value) in pairs {
            if !own.contains(&name) && !Paging::NAMES.contains(&name) {
                return Err(unknown(name, own));
            }
            if left.iter().any(|(known, _)| known == name) {
                return Err(BadFilter::new(name, "to be given once"));
            }
            left.push((name.to_owned(), value.to_owned()));
        }
        let query = fingerprint(list, &left);
        let mut pairs = Self { left };
        let paging = pairs.paging(query)?;
        Ok((pairs, paging))
    }

    fn paging(&mut self, query: [u8; 8]) -> Result<Paging, BadFilter> {
        Ok(Paging {
            since: None,
            until: None,
            ascending: self
                .with("sort", "asc or desc", |text| match text {
                    "asc" => Some(true),
                    "desc" => Some(false),
                    _ => None,
                })?
                .unwrap_or(false),
            limit: self
                .with("limit", "a number from 1 to 1000", |text| {
                    let limit = text.parse().ok()?;
                    (1..=LIMIT_MAX).contains(&limit).then_some(limit)
                })?
                .unwrap_or(LIMIT),
            min_position: self.number("min_position")?,
            cursor: self.with("cursor", CURSOR, |text| {
                let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
                let (place, of) = bytes.split_last_chunk::<8>()?;
                (*of == query).then(|| place.to_vec())
            })?,
            query,
        })
    }

    /// The value of a filter, if it was given.
    pub fn take(&mut self, name: &str) -> Option<String> {
        let at = self.left.iter().position(|(known, _)| known == name)?;
        Some(self.left.swap_remove(at).1)
    }

    /// The value of a filter, made sense of by `read`.
    pub fn with<T>(
        &mut self,
        name: &str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, BadFilter> {
        self.take(name)
            .map(|text| read(&text).ok_or_else(|| BadFilter::new(name, expected)))
            .transpose()
    }

    /// The value of a filter that is not empty.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, BadFilter> {
        self.with(name, "some text", |text| {
            (!text.is_empty()).then(|| text.to_owned())
        })
    }

    /// The value of a filter that names something of a kind that says itself what it expects.
    pub fn parsed<T>(&mut self, name: &str) -> Result<Option<T>, BadFilter>
    where
        T: FromStr<Err: fmt::Display>,
    {
        let Some(text) = self.take(name) else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|error: T::Err| {
            let error = error.to_string();
            BadFilter::new(name, error.strip_prefix("expected ").unwrap_or(&error))
        })
    }

    /// The value of a filter that is a position.
    pub fn number(&mut self, name: &str) -> Result<Option<u64>, BadFilter> {
        self.with(name, "a position, a number from 0", |text| {
            text.parse().ok()
        })
    }

    /// The value of a filter that is a yes or a no.
    pub fn flag(&mut self, name: &str) -> Result<Option<bool>, BadFilter> {
        self.with(name, "true or false", |text| text.parse().ok())
    }
}

/// An IP address or a CIDR block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpRange {
    pub(crate) first: [u8; 16],
    pub(crate) last: [u8; 16],
}

impl FromStr for IpRange {
    type Err = BadIpRange;
    fn from_str(text: &str) -> Result<Self, BadIpRange> {
        let net = text
            .parse::<IpNet>()
            .or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from))
            .map_err(|_| BadIpRange)?;
        let (first, last) = sql::ip_range(&net);
        Ok(Self { first, last })
    }
}

/// The text is neither an IP address nor a CIDR block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an IP address or a CIDR block")]
pub struct BadIpRange;

fn unknown(name: &str, own: &[&'static str]) -> BadFilter {
    let known = || own.iter().copied().chain(Paging::NAMES);
    let nearest = known()
        .map(|known| (strsim::damerau_levenshtein(known, name), known))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, known)| distance * 2 <= known.len());
    let all = known().collect::<Vec<_>>().join(", ");
    BadFilter::new(
        name,
        match nearest {
            Some((_, nearest)) => {
                format!("a filter of this list; did you mean {nearest}? There are {all}")
            }
            None => format!("a filter of this list: {all}"),
        },
    )
}

/// What a query asks for, whatever page of it.
fn fingerprint(list: &str, pairs: &[(String, String)]) -> [u8; 8] {
    let mut pairs: Vec<_> = pairs
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "cursor" | "limit" | "min_position"))
        .collect();
    pairs.sort_unstable();
    let mut hash = Sha256::new();
    hash.update(list);
    for (name, value) in pairs {
        for part in [name, value] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    }
    let digest: [u8; 32] = hash.finalize().into();
    digest.first_chunk().copied().unwrap_or_default()
}
