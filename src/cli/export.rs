//! `grantlog events export`: everything that passes a filter, in constant memory.

use projections::inert;
use serde_json::Value;

use super::events::ExportFormat;
use super::exit::Failure;
use super::list::note_behind;
use super::output::Output;
use super::source::Source;
use super::text;

const PAGE: usize = 1000;

/// The columns of the table; `data` is the rest of the event.
const COLUMNS: [(&str, &str); 15] = [
    ("position", "/position"),
    ("recorded_at", "/recorded_at"),
    ("type", "/type"),
    ("stream", "/stream"),
    ("version", "/version"),
    ("actor_kind", "/actor/kind"),
    ("actor_id", "/actor/id"),
    ("proxy_id", "/proxy_id"),
    ("client_id", "/client_id"),
    ("grant_id", "/grant_id"),
    ("subject", "/subject"),
    ("request_id", "/request_id"),
    ("ip", "/source/ip"),
    ("explain", "/explain"),
    ("data", "/data"),
];

/// Writes every event that passes, oldest first, up to what was there at the beginning.
///
/// # Errors
/// See [`Failure`].
pub async fn run(
    source: &Source,
    path: &str,
    mut filters: Vec<(&'static str, String)>,
    format: ExportFormat,
    output: &mut Output,
) -> Result<(), Failure> {
    filters.push(("sort", "asc".to_owned()));
    filters.push(("limit", PAGE.to_string()));
    match format {
        ExportFormat::Jsonl => {
            rows(source, path, filters, |row| {
                Ok(output.raw(format!("{}\n", text::json(row)).as_bytes())?)
            })
            .await
        }
        ExportFormat::Csv => {
            let header: Vec<_> = COLUMNS.iter().map(|(name, _)| (*name).to_owned()).collect();
            output.raw(&record(&header)?)?;
            rows(source, path, filters, |row| {
                Ok(output.raw(&record(&fields(row))?)?)
            })
            .await
        }
        ExportFormat::Json => {
            let mut before = "{\"data\":[\n";
            rows(source, path, filters, |row| {
                let row = format!("{before}{}", text::json(row));
                before = ",\n";
                Ok(output.raw(row.as_bytes())?)
            })
            .await?;
            let nothing = if before == ",\n" { "" } else { before };
            Ok(output.raw(format!("{nothing}\n]}}\n").as_bytes())?)
        }
    }
}

async fn rows(
    source: &Source,
    path: &str,
    mut filters: Vec<(&'static str, String)>,
    mut each: impl FnMut(&Value) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut end: Option<u64> = None;
    loop {
        let page = source.get(path, &filters).await?;
        let rows = page["data"].as_array().map_or(&[][..], Vec::as_slice);
        let end = *end.get_or_insert_with(|| {
            note_behind(&page);
            page["watermark"].as_u64().unwrap_or(u64::MAX)
        });
        for row in rows {
            if row["position"]
                .as_u64()
                .is_some_and(|position| position > end)
            {
                return Ok(());
            }
            each(row)?;
        }
        match page["next"].as_str() {
            Some(cursor) if !rows.is_empty() => {
                let cursor = cursor.to_owned();
                filters.retain(|(name, _)| *name != "cursor");
                filters.push(("cursor", cursor));
            }
            Some(_) | None => return Ok(()),
        }
    }
}

fn fields(row: &Value) -> Vec<String> {
    COLUMNS
        .iter()
        .map(|(_, pointer)| inert(text::cell(row.pointer(pointer))))
        .collect()
}

fn record(fields: &[String]) -> Result<Vec<u8>, Failure> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer
        .write_record(fields)
        .map_err(|error| Failure::Error(error.to_string()))?;
    writer
        .into_inner()
        .map_err(|error| Failure::Error(error.to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_spreadsheet_runs_nothing() {
        let row =
            json!({"position": 1, "explain": "=HYPERLINK(\"http://evil\")", "client_id": "-1"});
        let line = String::from_utf8(record(&fields(&row)).expect("a record")).expect("text");
        assert!(
            line.contains("\"'=HYPERLINK(\"\"http://evil\"\")\""),
            "{line}"
        );
        assert!(line.starts_with("1,") && line.contains(",'-1,"));
    }
}
