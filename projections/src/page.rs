//! Pages of lists, and their rows as CSV records.

use serde::Serialize;
use serde_json::Value;

/// A row of a list.
pub trait Listed: Serialize {
    /// Its members in the order of a table's columns.
    const COLUMNS: &'static [&'static str];

    /// Its values in that order, for a CSV writer to quote. Absent ones are empty, texts
    /// [`inert`].
    fn record(&self) -> Vec<String> {
        let row = serde_json::to_value(self).unwrap_or_default();
        Self::COLUMNS
            .iter()
            .map(|column| row.get(column).map(cell).unwrap_or_default())
            .collect()
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => inert(text.clone()),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => inert(value.to_string()),
    }
}

/// Text as a cell of a table: an apostrophe precedes what a spreadsheet would take for a formula, and so would run
/// what a stranger wrote.
#[must_use]
pub fn inert(text: String) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        format!("'{text}")
    } else {
        text
    }
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Page<R> {
    /// The rows, in order.
    #[serde(rename = "data")]
    pub rows: Vec<R>,
    /// What to ask for to get the next page; absent: this is the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The highest position of the log that the answer knows of; absent: none at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watermark: Option<u64>,
}

impl<R> Page<R> {
    /// The same page of other rows.
    #[must_use]
    pub fn map<T>(self, map: impl FnMut(R) -> T) -> Page<T> {
        Page {
            rows: self.rows.into_iter().map(map).collect(),
            next: self.next,
            watermark: self.watermark,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Row {
        a: &'static str,
        b: i32,
        c: Option<&'static str>,
    }

    impl Listed for Row {
        const COLUMNS: &'static [&'static str] = &["b", "a", "c"];
    }

    #[test]
    fn what_a_spreadsheet_would_run_is_made_text() {
        for a in ["=1+1", "+1", "-1", "@x", "\tx", "\rx"] {
            let record = Row { a, b: -2, c: None }.record();
            assert_eq!(record, ["-2".to_owned(), format!("'{a}"), String::new()]);
        }
    }
}
