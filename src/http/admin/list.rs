//! Lists: what is asked for in a query string, and pages as JSON, NDJSON or CSV.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use domain::Timestamp;
use projections::{Listed, Page, Paging};
use serde::Serialize;

use super::Admin;
use super::problem::Problem;

/// The query of a request, and the form its answer shall have.
pub struct Query {
    pairs: Vec<(String, String)>,
    format: Format,
    /// The resource's absolute address, from configuration.
    address: String,
    /// Behind which position a header goes on (`Last-Event-ID`).
    pub resumed_after: Option<u64>,
    /// Behind which position a stream begins, whatever was said of it.
    pub begins_behind: Option<u64>,
}

#[derive(Clone, Copy)]
enum Format {
    Json,
    Ndjson,
    Csv,
}

const NDJSON: &str = "application/x-ndjson";
const CSV: &str = "text/csv";

impl FromRequestParts<Admin> for Query {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, admin: &Admin) -> Result<Self, Infallible> {
        let query = parts.uri.query().unwrap_or_default();
        Ok(Self {
            pairs: form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect(),
            format: format(&parts.headers),
            address: format!("{}{}", admin.shared.urls.server, parts.uri.path()),
            begins_behind: None,
            resumed_after: parts
                .headers
                .get("last-event-id")
                .and_then(|id| id.to_str().ok()?.parse().ok()),
        })
    }
}

/// The first of our formats that the client names; JSON for everybody else.
fn format(headers: &HeaderMap) -> Format {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|range| range.split(';').next())
        .find_map(|mime| match mime.trim() {
            "application/json" => Some(Format::Json),
            NDJSON => Some(Format::Ndjson),
            CSV => Some(Format::Csv),
            _ => None,
        })
        .unwrap_or(Format::Json)
}

impl Query {
    /// Its pairs in order.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Which page it asks for, of a list whose rows are all in memory.
    ///
    /// # Errors
    /// A parameter is unknown, repeated or malformed.
    pub fn paging(&self, list: &str) -> Result<Paging, Problem> {
        Ok(Paging::parse(list, self.pairs())?)
    }

    /// The `min_position` of a request for one thing, which takes no other parameter.
    ///
    /// # Errors
    /// Another parameter is given, or it is malformed.
    pub fn min_position(&self) -> Result<Option<u64>, Problem> {
        match self.pairs().find(|(name, _)| *name != "min_position") {
            None => Ok(self.paging("")?.min_position),
            Some((name, _)) => {
                let shown: String = name.chars().take(100).collect();
                let detail = format!("{shown}: expected no parameter but min_position");
                Err(Problem::bad_request("invalid_parameter", detail).naming(shown))
            }
        }
    }

    /// Whether one of these parameters is given.
    pub fn has_any(&self, names: &[&str]) -> bool {
        self.pairs().any(|(name, _)| names.contains(&name))
    }

    /// The query without some parameters, as text.
    pub fn without(&self, names: &[&str]) -> String {
        let pairs = self.pairs().filter(|(name, _)| !names.contains(name));
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs(pairs)
            .finish()
    }

    /// The same read, of something that the path names.
    #[must_use]
    pub fn of(mut self, name: &str, value: &impl ToString) -> Self {
        self.pairs.push((name.to_owned(), value.to_string()));
        self
    }

    /// Renders a page of what the log held with `head` entries, and how many of them it does not know of.
    ///
    /// # Errors
    /// Never for rows that serialize.
    pub fn answer<R: Listed>(&self, page: &Page<R>, head: u64) -> Result<Response, Problem> {
        let known = page.watermark.map_or(0, |last| last + 1);
        let behind = head.checked_sub(known).filter(|behind| *behind > 0);
        let (mime, body) = match self.format {
            Format::Json => ("application/json", json(page, behind)),
            Format::Ndjson => (NDJSON, page.rows.iter().try_fold(Vec::new(), line)),
            Format::Csv => ("text/csv; charset=utf-8; header=present", csv(page)),
        };
        let body = body.map_err(|error| Problem::read_model(&error))?;
        let mut response = ([(header::CONTENT_TYPE, mime)], body).into_response();
        let headers = response.headers_mut();
        if let Some(watermark) = page.watermark {
            headers.insert(X_WATERMARK, watermark.into());
        }
        if let Some(behind) = behind {
            headers.insert(X_BEHIND, behind.into());
        }
        if let Some(next) = &page.next
            && let Ok(link) = HeaderValue::from_str(&self.link(next))
        {
            headers.insert(header::LINK, link);
        }
        Ok(response)
    }

    /// RFC 8288: where the next page is, for formats that have no place for it.
    fn link(&self, next: &str) -> String {
        let pairs = self.pairs().filter(|(name, _)| *name != "cursor");
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(pairs)
            .append_pair("cursor", next)
            .finish();
        format!("<{}?{query}>; rel=\"next\"", self.address)
    }
}

const X_WATERMARK: HeaderName = HeaderName::from_static("x-watermark");
const X_BEHIND: HeaderName = HeaderName::from_static("x-behind");

#[derive(Serialize)]
struct Document<'a, R: Serialize> {
    #[serde(flatten)]
    page: &'a Page<R>,
    #[serde(skip_serializing_if = "Option::is_none")]
    behind: Option<u64>,
}

fn json<R: Listed>(page: &Page<R>, behind: Option<u64>) -> Result<Vec<u8>, std::io::Error> {
    Ok(serde_json::to_vec(&Document { page, behind })?)
}

fn line<R: Listed>(mut lines: Vec<u8>, row: &R) -> Result<Vec<u8>, std::io::Error> {
    serde_json::to_writer(&mut lines, row)?;
    lines.push(b'\n');
    Ok(lines)
}

fn csv<R: Listed>(page: &Page<R>) -> Result<Vec<u8>, std::io::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(R::COLUMNS)?;
    for row in &page.rows {
        writer.write_record(row.record())?;
    }
    writer
        .into_inner()
        .map_err(|error| std::io::Error::other(error.to_string()))
}

/// The place in a list, oldest first, of what was made at an instant; the id decides among those of the same one.
pub fn place(at: Timestamp, id: &[u8]) -> Vec<u8> {
    [&at.timestamp_micros().to_be_bytes(), id].concat()
}
