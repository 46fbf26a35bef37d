//! What the demo prints: data, so it goes to stdout, with styles only on a terminal.

use std::fmt::Display;
use std::io::{self, Write};

use anstream::AutoStream;

use crate::clock;

const BOLD: &str = "\x1b[1m";
const RED: &str = "\x1b[1;31m";
const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

/// The demo's story as it goes to stdout, line by line.
pub(super) struct Transcript(AutoStream<io::Stdout>);

/// How a step ended; both are as they should be.
#[derive(Clone, Copy)]
pub(super) enum Mark {
    /// It was let through.
    Ok,
    /// It was stopped, which it deserved.
    Stopped(&'static str),
}

impl Transcript {
    /// A transcript on stdout.
    pub fn new() -> Self {
        Self(anstream::stdout())
    }

    /// A heading, after an empty line.
    pub fn heading(&mut self, text: impl Display) -> io::Result<()> {
        writeln!(self.0, "\n{BOLD}{text}{PLAIN}")
    }

    /// A name and its value.
    pub fn fact(&mut self, name: &str, value: impl Display) -> io::Result<()> {
        writeln!(self.0, "  {name:<13} {value}")
    }

    /// One step of the story: now, what, who, how it ended, and what is remarkable about it.
    pub fn step(&mut self, what: &str, who: &str, mark: Mark, note: &str) -> io::Result<()> {
        let time = clock::now().format("%H:%M:%S");
        let (style, word) = match mark {
            Mark::Ok => (PLAIN, "ok"),
            Mark::Stopped(word) => (RED, word),
        };
        writeln!(
            self.0,
            "{DIM}{time}{PLAIN}  {what:<10}  {who:<11}  {style}{word:<5}{PLAIN}  {note}"
        )
    }

    /// One event as the record has it.
    pub fn event(&mut self, position: u64, at: &str, explain: &str) -> io::Result<()> {
        // The time of day of an RFC 3339 instant.
        let time = at.get(11..19).unwrap_or(at);
        writeln!(self.0, "{position:>8}  {DIM}{time}{PLAIN}  {explain}")
    }

    /// A line as it is.
    pub fn line(&mut self, text: impl Display) -> io::Result<()> {
        writeln!(self.0, "  {text}")
    }
}
