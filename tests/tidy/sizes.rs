//! A file holds one idea and a function can be seen at once.

use crate::sources::{Source, check, sources};

const FILE_LINES_MAX: usize = 450;
const FUNCTION_LINES_MAX: usize = 80;

#[test]
fn files_are_short() {
    let long = sources(&[""])
        .into_iter()
        .filter(|source| source.text.lines().count() > FILE_LINES_MAX)
        .map(|source| format!("{} has {} lines", source.path, source.text.lines().count()));
    check(
        &format!("expected files of at most {FILE_LINES_MAX} lines"),
        long,
        &[],
    );
}

#[test]
fn functions_are_short() {
    let long = sources(&[""]).into_iter().flat_map(|source| {
        functions(&source)
            .into_iter()
            .filter(|(_, lines)| *lines > FUNCTION_LINES_MAX)
            .map(|(name, lines)| format!("{}: {name} has {lines} lines", source.path))
            .collect::<Vec<_>>()
    });
    check(
        &format!("expected functions of at most {FUNCTION_LINES_MAX} lines"),
        long,
        &[(
            "tests/federation/requests.rs: each_kind_is_asked_in_its_own_dialect",
            "a table: six kinds of provider, row by row",
        )],
    );
}

/// Each function with its number of lines, as rustfmt lays them out: from the line that names it
/// to the brace that closes it in the same column.
fn functions(source: &Source) -> Vec<(String, usize)> {
    let lines: Vec<&str> = source.text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else {
            continue;
        };
        let indent = &line[..line.len() - line.trim_start().len()];
        let (close, declared) = (format!("{indent}}}"), format!("{indent}}};"));
        let end = lines[start..]
            .iter()
            .position(|line| *line == close || *line == declared);
        if let Some(end) = end {
            found.push((name.to_owned(), end + 1));
        }
    }
    found
}

/// The function that a line begins to define.
fn function_name(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let is_definition = before.split_whitespace().all(|word| {
        matches!(word, "pub" | "const" | "async" | "unsafe") || word.starts_with("pub(")
    });
    let ends_here = line.ends_with('}') || line.ends_with(';');
    let name = after
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .next()?;
    (is_definition && !ends_here && !name.is_empty()).then_some(name)
}

#[test]
fn the_scanner_sees_functions() {
    let text = "impl A {\n    pub(super) async fn long(\n        a: B,\n    ) -> C {\n        d\n    }\n}\n\
                fn short() {}\n// a fn in words\ntrait T {\n    fn declared(&self);\n}\n";
    let source = Source {
        path: String::new(),
        text: text.to_owned(),
    };
    assert_eq!(functions(&source), [("long".to_owned(), 5)]);
}
