//! The little SQL that the vault needs, in the words both stores understand.
//!
//! Every statement names its tables with the schema (`grantlog_vault.secret`) and its values by number
//! (`$1`); a value is a number, a text or bytes. What may happen at once on several nodes is
//! decided by the rows themselves: an insert that yields to an earlier one, an update that names
//! what it replaces. A statement never relies on what another one has read before it.

use chrono::DateTime;
use domain::Timestamp;

use super::{Tampered, VaultError};

/// A transaction of the store, or its reading side.
pub(super) trait Sql {
    /// Runs a statement. Returns how many rows it inserted, changed or deleted.
    fn execute(&self, sql: &'static str, values: &[Value<'_>]) -> Result<u64, VaultError>;

    /// Runs a statement. Returns the rows that it gave.
    fn rows(&self, sql: &'static str, values: &[Value<'_>]) -> Result<Vec<Row>, VaultError>;

    /// Runs a statement with the values of each row, in their order.
    fn execute_each(&self, sql: &'static str, rows: &[Row]) -> Result<(), VaultError> {
        for row in rows {
            self.execute(sql, &row.values())?;
        }
        Ok(())
    }

    /// The first row, if there is any.
    fn row(&self, sql: &'static str, values: &[Value<'_>]) -> Result<Option<Row>, VaultError> {
        Ok(self.rows(sql, values)?.into_iter().next())
    }
}

/// What is put into a column.
#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    /// Of the column's type, whichever that is.
    Null,
    Int(Option<i64>),
    Text(Option<&'a str>),
    Bytes(&'a [u8]),
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Int(Some(number))
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Some(text))
    }
}

impl<'a, T: AsRef<[u8]>> From<&'a T> for Value<'a> {
    fn from(bytes: &'a T) -> Self {
        Self::Bytes(bytes.as_ref())
    }
}

/// What came out of a column.
#[derive(PartialEq)]
pub(super) enum Field {
    Null,
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
}

impl Field {
    fn value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Int(number) => Value::Int(Some(*number)),
            Self::Text(text) => Value::Text(Some(text)),
            Self::Bytes(bytes) => Value::Bytes(bytes),
        }
    }
}

/// A row; its columns are taken out in any order, each once.
#[derive(PartialEq)]
pub(super) struct Row(Vec<Field>);

impl Row {
    pub fn new(fields: Vec<Field>) -> Self {
        Self(fields)
    }

    /// What is in it, to be put into another row.
    pub fn values(&self) -> Vec<Value<'_>> {
        self.0.iter().map(Field::value).collect()
    }

    /// Takes the value of a column, counted from 0.
    pub fn take<T: TryFrom<Field>>(&mut self, column: usize) -> Result<T, VaultError> {
        let field = self.0.get_mut(column).ok_or(VaultError::Column(column))?;
        T::try_from(std::mem::replace(field, Field::Null)).map_err(|_| VaultError::Column(column))
    }
}

/// The column holds something else.
pub(super) struct OtherType;

macro_rules! from_field {
    ($type:ty, $variant:ident) => {
        impl TryFrom<Field> for $type {
            type Error = OtherType;

            fn try_from(field: Field) -> Result<Self, OtherType> {
                match field {
                    Field::$variant(value) => Ok(value),
                    _ => Err(OtherType),
                }
            }
        }

        impl TryFrom<Field> for Option<$type> {
            type Error = OtherType;

            fn try_from(field: Field) -> Result<Self, OtherType> {
                match field {
                    Field::Null => Ok(None),
                    field => field.try_into().map(Some),
                }
            }
        }
    };
}

from_field!(i64, Int);
from_field!(String, Text);
from_field!(Vec<u8>, Bytes);

impl TryFrom<Field> for uuid::Uuid {
    type Error = OtherType;

    fn try_from(field: Field) -> Result<Self, OtherType> {
        let bytes: Vec<u8> = field.try_into()?;
        Self::from_slice(&bytes).map_err(|_| OtherType)
    }
}

/// An instant, as columns hold it.
pub(super) fn instant(micros: i64) -> Result<Timestamp, Tampered> {
    DateTime::from_timestamp_micros(micros).ok_or(Tampered)
}
