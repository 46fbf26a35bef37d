//! Text from outside, made harmless for where it is shown.

use domain::is_deceptive;
use serde_json::Value;

/// One line without anything deceptive; what would separate words becomes a space.
#[must_use]
pub fn plain(text: &str) -> String {
    text.chars()
        .filter_map(|character| match character {
            '\t' | '\n' | '\r' => Some(' '),
            other => (!is_deceptive(other)).then_some(other),
        })
        .collect()
}

/// JSON on one line in which deceptive characters are escaped, so that it means the same and may
/// be shown.
#[must_use]
pub fn json(value: &Value) -> String {
    escape(&value.to_string())
}

/// As [`json`], indented for people.
#[must_use]
pub fn json_pretty(value: &Value) -> String {
    escape(&format!("{value:#}"))
}

/// Outside of strings JSON has no such characters but line ends, which stay.
fn escape(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        if character != '\n' && is_deceptive(character) {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// A value as it stands in a cell.
#[must_use]
pub fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => plain(text),
        Some(Value::Array(items)) => {
            let items: Vec<_> = items.iter().map(|item| cell(Some(item))).collect();
            items.join(" ")
        }
        Some(other) => json(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json as value;

    #[test]
    fn controls_and_direction_overrides_do_not_reach_a_terminal() {
        for (text, expected) in [
            ("Claude Code", "Claude Code"),
            ("a\u{1b}[31mred", "a[31mred"),
            ("a\u{9b}31m", "a31m"),
            ("cod\u{202e}exe.txt", "codexe.txt"),
            ("\u{2066}x\u{2069}\u{200f}\u{feff}", "x"),
            ("so\u{ad}ft\u{34f}\u{3164}\u{fff9}", "soft"),
            ("two\r\nlines\tx", "two  lines x"),
            ("naïve 日本", "naïve 日本"),
        ] {
            assert_eq!(plain(text), expected);
        }
    }

    #[test]
    fn json_keeps_its_meaning() {
        let original = value!({"name": "a\u{202e}\u{9b}\u{e0001}\u{7f}\n"});
        for text in [json(&original), json_pretty(&original)] {
            assert!(
                !text.chars().any(|c| c != '\n' && is_deceptive(c)),
                "{text}"
            );
            let read: Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(read, original);
        }
    }

    #[test]
    fn cells_hold_one_line() {
        assert_eq!(cell(None), "");
        assert_eq!(cell(Some(&value!(["read", "write"]))), "read write");
        assert_eq!(cell(Some(&value!({"a": 1}))), r#"{"a":1}"#);
        assert_eq!(cell(Some(&value!(true))), "true");
    }
}
