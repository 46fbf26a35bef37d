//! Comparing two read models, row by row.

use std::fmt;
use std::path::Path;

use rusqlite::Connection;
use rusqlite::types::Value;

use crate::ReadModelError;
use crate::model::open_read_only;

/// Where two read models differ first. Says where, not what: rows hold personal data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The table.
    pub table: String,
    /// The number of the row in the order of the table's key, from 0.
    pub row: u64,
    /// The first value of that row: a position, a number or an id.
    pub key: String,
    /// The column; none: one of the two does not have the row.
    pub column: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} (row {})", self.table, self.key, self.row)?;
        match &self.column {
            Some(column) => write!(f, " differs in {column}"),
            None => write!(f, " is in one of the two only"),
        }
    }
}

/// Compares all rows of two read models, whatever their files look like, and whether either shows
/// the past. `None`: they are equal.
///
/// # Errors
/// One of the files is not a read model of this version, or cannot be read.
pub fn compare(one: &Path, other: &Path) -> Result<Option<Difference>, ReadModelError> {
    let (one, other) = (open_read_only(one)?, open_read_only(other)?);
    let (one, other) = (one.unchecked_transaction()?, other.unchecked_transaction()?);
    let tables: Vec<String> = one
        .prepare(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'as_of' ORDER BY name",
        )?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for table in tables {
        if let Some(difference) = compare_table(&one, &other, &table)? {
            return Ok(Some(difference));
        }
    }
    Ok(None)
}

fn compare_table(
    one: &Connection,
    other: &Connection,
    table: &str,
) -> Result<Option<Difference>, ReadModelError> {
    let key: Vec<String> = one
        .prepare("SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk")?
        .query_map([table], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let sql = format!("SELECT * FROM {table} ORDER BY {}", key.join(", "));
    let (mut one, mut other) = (one.prepare(&sql)?, other.prepare(&sql)?);
    let columns: Vec<String> = one.column_names().map(str::to_owned).collect();
    let (mut one, mut other) = (one.query([])?, other.query([])?);
    for n in 0.. {
        let found = |row: &[Value], column: Option<String>| {
            Ok(Some(Difference {
                table: table.to_owned(),
                row: n,
                key: row.first().map(shown).unwrap_or_default(),
                column,
            }))
        };
        let (one, other) = (values(one.next()?)?, values(other.next()?)?);
        match (one, other) {
            (None, None) => break,
            (Some(row), None) | (None, Some(row)) => return found(&row, None),
            (Some(one), Some(other)) => {
                let same = one.iter().zip(&other).take_while(|(a, b)| a == b).count();
                if let Some(column) = columns.get(same) {
                    return found(&one, Some(column.clone()));
                }
            }
        }
    }
    Ok(None)
}

fn values(row: Option<&rusqlite::Row<'_>>) -> rusqlite::Result<Option<Vec<Value>>> {
    row.map(|row| {
        (0..row.as_ref().column_count())
            .map(|n| row.get(n))
            .collect()
    })
    .transpose()
}

fn shown(key: &Value) -> String {
    match key {
        Value::Integer(number) => number.to_string(),
        Value::Text(text) => text.clone(),
        Value::Null | Value::Real(_) | Value::Blob(_) => String::new(),
    }
}
