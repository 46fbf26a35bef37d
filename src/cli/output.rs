//! What a command answers: a table on a terminal, tab-separated lines in a pipe, JSON on request.
//!
//! Only data goes through here; progress, prompts and notes go to stderr (see [`note`]).

use std::io::{self, IsTerminal, Write};

use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width, presets};
use serde_json::{Value, json};

use super::text;

/// How data is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// A table on a terminal, tab-separated lines without a header elsewhere.
    #[default]
    Plain,
    /// One document.
    Json,
    /// One document a line.
    JsonLines,
}

/// What came of a command: a sentence for people, a document for programs.
#[derive(Clone, Debug)]
pub struct Report {
    /// One line.
    pub sentence: String,
    /// The same and more.
    pub document: Value,
}

/// Asked for on the command line.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct FormatArgs {
    /// Print one JSON document
    #[arg(long, global = true, conflicts_with = "jsonl", help_heading = "Output")]
    json: bool,
    /// Print one JSON document a line
    #[arg(long, global = true, help_heading = "Output")]
    jsonl: bool,
}

impl FormatArgs {
    /// What was asked for.
    #[must_use]
    pub fn format(self) -> Format {
        match (self.json, self.jsonl) {
            (true, _) => Format::Json,
            (_, true) => Format::JsonLines,
            _ => Format::Plain,
        }
    }
}

/// A column: its title and where its value stands in a row (JSON pointer, RFC 6901).
pub type Column = (&'static str, &'static str);

/// Where data goes.
pub struct Output {
    writer: Box<dyn Write>,
    format: Format,
    is_terminal: bool,
}

impl Output {
    /// The standard output.
    #[must_use]
    pub fn stdout(format: Format) -> Self {
        let stdout = io::stdout();
        Self {
            format,
            is_terminal: stdout.is_terminal(),
            writer: Box::new(stdout),
        }
    }

    /// How data is written.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// A list: `page` is a document whose `rows` member holds the rows.
    ///
    /// # Errors
    /// The reader went away, or cannot take more.
    pub fn list(&mut self, columns: &[Column], page: &Value, rows: &str) -> io::Result<()> {
        let items = page[rows].as_array().map_or(&[][..], Vec::as_slice);
        match self.format {
            Format::Json => writeln!(self.writer, "{}", text::json_pretty(page)),
            Format::JsonLines => items.iter().try_for_each(|item| self.json_line(item)),
            Format::Plain if self.is_terminal => {
                let table = list_table(columns, items, width_of(&plain_table()));
                writeln!(self.writer, "{}", table.trim_fmt())
            }
            Format::Plain => items
                .iter()
                .try_for_each(|item| writeln!(self.writer, "{}", cells(columns, item).join("\t"))),
        }?;
        self.writer.flush()
    }

    /// One row of a list that has no end.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub fn row(&mut self, columns: &[Column], row: &Value) -> io::Result<()> {
        match self.format {
            Format::Json | Format::JsonLines => self.json_line(row),
            Format::Plain => writeln!(self.writer, "{}", cells(columns, row).join("\t")),
        }?;
        self.writer.flush()
    }

    /// One thing: its members one a line.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub fn document(&mut self, document: &Value) -> io::Result<()> {
        let members = document.as_object().into_iter().flatten();
        match self.format {
            Format::Json => writeln!(self.writer, "{}", text::json_pretty(document)),
            Format::JsonLines => self.json_line(document),
            Format::Plain if self.is_terminal => {
                let mut table = plain_table();
                table.set_width(width_of(&table));
                for (name, value) in members {
                    table.add_row([text::plain(name), text::cell(Some(value))]);
                }
                writeln!(self.writer, "{}", table.trim_fmt())
            }
            Format::Plain => members
                .map(|(name, value)| format!("{}\t{}", text::plain(name), text::cell(Some(value))))
                .try_for_each(|line| writeln!(self.writer, "{line}")),
        }?;
        self.writer.flush()
    }

    /// A result that is a sentence for people and a document for programs.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub fn result(&mut self, sentence: &str, document: &Value) -> io::Result<()> {
        match self.format {
            Format::Json | Format::JsonLines => self.document(document),
            Format::Plain => {
                writeln!(self.writer, "{}", text::plain(sentence))?;
                self.writer.flush()
            }
        }
    }

    /// What came of a command.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub fn report(&mut self, report: &Report) -> io::Result<()> {
        self.result(&report.sentence, &report.document)
    }

    /// What programs are told of something that a person is told of on stderr.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub fn finding(&mut self, document: &Value) -> io::Result<()> {
        match self.format {
            Format::Json | Format::JsonLines => self.document(document),
            Format::Plain => Ok(()),
        }
    }

    /// Bytes that are the answer as they are, such as a completion script.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes)?;
        self.writer.flush()
    }

    fn json_line(&mut self, value: &Value) -> io::Result<()> {
        writeln!(self.writer, "{}", text::json(value))
    }
}

fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table
}

/// A terminal that does not say how wide it is, or says 0, is taken to be this wide.
const WIDTH: u16 = 80;

fn width_of(table: &Table) -> u16 {
    table.width().filter(|width| *width > 0).unwrap_or(WIDTH)
}

/// Between a column's content and the next one's.
const PADDING: u16 = 2;

/// No column that is not an id's becomes narrower than this.
const NARROW: u16 = 12;

/// Ids are copied, so they are never broken over lines. Where that leaves too little to the other columns, a row is one long
/// line, which the terminal breaks without adding anything to it.
fn list_table(columns: &[Column], items: &[Value], width: u16) -> Table {
    let mut table = plain_table();
    table.set_header(columns.iter().map(|(title, _)| *title));
    for item in items {
        table.add_row(cells(columns, item));
    }
    let contents = table.column_max_content_widths();
    let needed = columns.iter().zip(contents).map(|((_, pointer), content)| {
        let least = if is_id(pointer) {
            content
        } else {
            content.min(NARROW)
        };
        least.saturating_add(PADDING)
    });
    let needed: Vec<u16> = needed.collect();
    if needed.iter().copied().map(u32::from).sum::<u32>() > width.into() {
        table.set_content_arrangement(ContentArrangement::Disabled);
    } else {
        table.set_width(width);
        let constraints = columns.iter().zip(needed).map(|((_, pointer), needed)| {
            if is_id(pointer) {
                ColumnConstraint::ContentWidth
            } else {
                ColumnConstraint::LowerBoundary(Width::Fixed(needed))
            }
        });
        table.set_constraints(constraints);
    }
    table
}

fn is_id(pointer: &str) -> bool {
    pointer.ends_with("/id") || pointer.ends_with("_id") || pointer == "/subject"
}

fn cells(columns: &[Column], row: &Value) -> Vec<String> {
    columns
        .iter()
        .map(|(_, pointer)| text::cell(row.pointer(pointer)))
        .collect()
}

/// Tells a person something that is not data. Nobody listening is no failure.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{}", text::plain(text));
}

/// Asks a person before something is taken away.
///
/// # Errors
/// Nobody is there to ask and `--yes` was not said, or the answer is no.
pub fn confirm(question: &str, yes: bool) -> Result<(), super::Failure> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        let reason = format!("{question} Nobody is there to ask: say --yes");
        return Err(super::Failure::Usage(reason));
    }
    let mut stderr = io::stderr();
    write!(stderr, "{} [y/N] ", text::plain(question))?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(super::Failure::Error("nothing was done".to_owned())),
    }
}

/// What a command answers that only did something.
#[must_use]
pub fn done(what: &str, id: &str) -> Value {
    json!({ what: id })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("one writer").write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const COLUMNS: &[Column] = &[("ID", "/id"), ("NAME", "/client/name")];

    #[track_caller]
    fn written(
        format: Format,
        is_terminal: bool,
        write: impl Fn(&mut Output) -> io::Result<()>,
    ) -> String {
        let memory = Memory::default();
        let mut output = Output {
            writer: Box::new(memory.clone()),
            format,
            is_terminal,
        };
        write(&mut output).expect("written to memory");
        let bytes = memory.0.lock().expect("one writer").clone();
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn a_list_is_what_its_reader_wants() {
        let page = json!({"data": [{"id": 1, "client": {"name": "a\u{1b}\tb"}}, {"id": 2}], "watermark": 9});
        let list = |output: &mut Output| output.list(COLUMNS, &page, "data");
        assert_eq!(written(Format::Plain, false, list), "1\ta b\n2\t\n");
        let table = written(Format::Plain, true, list);
        assert!(table.contains("ID") && table.contains("NAME") && !table.contains('\u{1b}'));
        let lines = written(Format::JsonLines, true, list);
        assert_eq!(lines.lines().count(), 2);
        let document: Value =
            serde_json::from_str(&written(Format::Json, false, list)).expect("JSON");
        assert_eq!(document, page);
    }

    #[test]
    fn ids_are_not_broken_over_lines() {
        let columns = [
            ("AT", "/at"),
            ("EXPLAIN", "/explain"),
            ("CLIENT", "/client_id"),
            ("SUBJECT", "/subject"),
        ];
        let id = "gateway_01a208498d6d7daabe5f14e7a9205700";
        let row = json!({
            "at": "2026-11-23T08:16:56.104211Z", "explain": "It was used again. ".repeat(9), "client_id": id, "subject": &id[8..],
        });
        for (width, rows) in [(40, 1), (80, 1), (110, 20), (120, 20), (300, 2)] {
            let table = list_table(&columns, std::slice::from_ref(&row), width).to_string();
            assert!(
                table.contains(id) && table.contains(&format!(" {} ", &id[8..])),
                "{width}"
            );
            let lines = table.lines().count() - 1;
            assert!(lines <= rows, "{lines} lines at {width}: {table}");
            if rows > 1 {
                let longest = table.lines().map(str::len).max();
                assert!(longest <= Some(width.into()), "{width}: {table}");
            }
        }
    }

    #[test]
    fn a_document_is_a_member_a_line() {
        let document = json!({"id": 1, "scopes": ["read", "write"]});
        let show = |output: &mut Output| output.document(&document);
        assert_eq!(
            written(Format::Plain, false, show),
            "id\t1\nscopes\tread write\n"
        );
        assert_eq!(
            written(Format::JsonLines, false, show),
            "{\"id\":1,\"scopes\":[\"read\",\"write\"]}\n"
        );
    }
}
