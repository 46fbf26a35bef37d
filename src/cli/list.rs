//! Lists of the API, page by page.

use std::num::NonZeroUsize;

use clap::Args;
use serde_json::Value;

use super::exit::Failure;
use super::output::{Column, Output, note};
use super::source::Source;

/// The API's own bound.
const PAGE_MAX: usize = 1000;

/// What every list can be asked.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "List")]
pub struct ListArgs {
    /// Print at most so many rows
    #[arg(long, value_name = "N", default_value = "100")]
    pub limit: NonZeroUsize,
    /// `desc` (newest first) or `asc`
    #[arg(long, value_name = "ORDER", value_parser = ["asc", "desc"])]
    sort: Option<String>,
    /// Continue where an earlier answer stopped (its `next`)
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    /// Wait until this position can be read
    #[arg(long, value_name = "POSITION")]
    min_position: Option<u64>,
}

impl ListArgs {
    /// As the API wants it said.
    #[must_use]
    pub fn query(&self) -> Vec<(&'static str, String)> {
        query([
            ("sort", self.sort.clone()),
            ("cursor", self.cursor.clone()),
            ("min_position", self.min_position.map(|n| n.to_string())),
        ])
    }
}

/// The filters that were given.
#[must_use]
pub fn query<const N: usize>(
    filters: [(&'static str, Option<String>); N],
) -> Vec<(&'static str, String)> {
    filters
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| (name, value)))
        .collect()
}

/// Up to `limit` rows in one document: `data`, and `next` where there are more.
///
/// # Errors
/// The source fails, or does not answer with a list.
pub async fn fetch(
    source: &Source,
    path: &str,
    query: &[(&'static str, String)],
    limit: usize,
) -> Result<Value, Failure> {
    let mut rows = Vec::new();
    let mut query = query.to_vec();
    loop {
        let wanted = (limit - rows.len()).min(PAGE_MAX);
        let mut asked = query.clone();
        asked.push(("limit", wanted.to_string()));
        let mut page = source.get(path, &asked).await?;
        let Value::Array(mut data) = page["data"].take() else {
            return Err(Failure::Error("expected a list".to_owned()));
        };
        let is_last = data.is_empty();
        rows.append(&mut data);
        let next = page["next"].as_str().map(str::to_owned);
        if let Some(cursor) = next.filter(|_| !is_last && rows.len() < limit) {
            query.retain(|(name, _)| *name != "cursor" && *name != "min_position");
            query.push(("cursor", cursor));
            continue;
        }
        rows.truncate(limit);
        page["data"] = Value::Array(rows);
        note_behind(&page);
        return Ok(page);
    }
}

/// Says if an answer does not know everything: what is not in it may have happened.
pub fn note_behind(page: &Value) {
    if let Some(behind) = page["behind"].as_u64() {
        note(&format!(
            "incomplete: the read models of this server lack the last {behind} entries of the log (grantlog_read_model_halted, \
             /api/v1/status)"
        ));
    }
}

/// Fetches and prints a list.
///
/// # Errors
/// As [`fetch`]; the output cannot be written.
pub async fn print(
    source: &Source,
    output: &mut Output,
    columns: &[Column],
    path: &str,
    query: &[(&'static str, String)],
    limit: usize,
) -> Result<(), Failure> {
    let page = fetch(source, path, query, limit).await?;
    Ok(output.list(columns, &page, "data")?)
}

/// An id as it may stand in a path.
///
/// # Errors
/// It holds anything but letters, digits, `_`, `-` and inner `.`.
pub fn id(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if text.is_empty() || text.starts_with('.') || !text.bytes().all(plain) {
        return Err("expected an id of letters, digits, `_`, `-` and `.`".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_cannot_leave_its_place_in_the_path() {
        for (text, accepted) in [
            ("gateway_0123abc", true),
            ("1", true),
            ("", false),
            ("..", false),
            ("a/b", false),
            ("a%2fb", false),
            ("a?b", false),
            ("é", false),
        ] {
            assert_eq!(id(text).is_ok(), accepted, "{text}");
        }
    }
}
