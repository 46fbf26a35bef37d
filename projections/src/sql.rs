//! How domain values stand in columns.

use std::net::{IpAddr, Ipv6Addr};

use chrono::DateTime;
use domain::Timestamp;
use ipnet::IpNet;
use rusqlite::Row;
use rusqlite::types::{FromSqlError, Type};

/// Microseconds since 1970.
pub(crate) fn micros(at: Timestamp) -> i64 {
    at.timestamp_micros()
}

/// An instant from its microseconds since 1970.
pub(crate) fn instant(micros: i64) -> Timestamp {
    DateTime::from_timestamp_micros(micros).unwrap_or_default()
}

/// A position as SQLite's integer; logs stay below 2^63 entries.
pub(crate) fn position(position: u64) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}

/// A position or a count from SQLite's integer.
pub(crate) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

/// An address as 16 bytes, IPv4 mapped into IPv6, so that every block of addresses is a range.
pub(crate) fn ip_key(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// An address from its 16 bytes.
pub(crate) fn ip_of(key: [u8; 16]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from(key)).to_canonical()
}

/// The first and last address of a block, as 16 bytes each.
pub(crate) fn ip_range(net: &IpNet) -> ([u8; 16], [u8; 16]) {
    (ip_key(net.network()), ip_key(net.broadcast()))
}

/// Reading columns by name.
pub(crate) trait Columns {
    fn at(&self, column: &str) -> rusqlite::Result<Timestamp>;
    fn at_opt(&self, column: &str) -> rusqlite::Result<Option<Timestamp>>;
    fn position(&self, column: &str) -> rusqlite::Result<u64>;
    fn parsed<T: std::str::FromStr>(&self, column: &str) -> rusqlite::Result<T>;
    fn parsed_opt<T: std::str::FromStr>(&self, column: &str) -> rusqlite::Result<Option<T>>;
    fn json<T: serde::de::DeserializeOwned>(&self, column: &str) -> rusqlite::Result<Option<T>>;
}

impl Columns for Row<'_> {
    fn at(&self, column: &str) -> rusqlite::Result<Timestamp> {
        self.get(column).map(instant)
    }

    fn at_opt(&self, column: &str) -> rusqlite::Result<Option<Timestamp>> {
        Ok(self.get::<_, Option<i64>>(column)?.map(instant))
    }

    fn position(&self, column: &str) -> rusqlite::Result<u64> {
        self.get(column).map(unsigned)
    }

    fn parsed<T: std::str::FromStr>(&self, column: &str) -> rusqlite::Result<T> {
        self.parsed_opt(column)?.ok_or_else(|| damaged(column))
    }

    fn parsed_opt<T: std::str::FromStr>(&self, column: &str) -> rusqlite::Result<Option<T>> {
        let Some(text) = self.get::<_, Option<String>>(column)? else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|_| damaged(column))
    }

    fn json<T: serde::de::DeserializeOwned>(&self, column: &str) -> rusqlite::Result<Option<T>> {
        let Some(text) = self.get::<_, Option<String>>(column)? else {
            return Ok(None);
        };
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|_| damaged(column))
    }
}

/// A column does not hold what was written into it.
pub(crate) fn damaged(column: &str) -> rusqlite::Error {
    let cause = FromSqlError::Other(format!("damaged column {column}").into());
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, cause.into())
}

/// JSON text for a column.
pub(crate) fn json<T: serde::Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}
