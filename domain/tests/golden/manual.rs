//! `docs/events.md` names every event with exactly the members of its data.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use domain::event::Event;

use crate::samples;

fn manual() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/events.md");
    std::fs::read_to_string(path).expect("docs/events.md")
}

/// The cells of the tables' rows, by the number of columns.
fn rows(manual: &str, columns: usize) -> Vec<Vec<&str>> {
    manual
        .lines()
        .filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'))
        .map(|line| line.split('|').map(str::trim).collect::<Vec<_>>())
        .filter(|cells| cells.len() == columns && cells[0].starts_with('`'))
        .collect()
}

/// The words in backticks.
fn words(cell: &str) -> BTreeSet<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_event_is_in_the_manual_with_the_members_of_its_data() {
    let manual = manual();
    let told: BTreeMap<&str, BTreeSet<&str>> = rows(&manual, 3)
        .into_iter()
        .map(|cells| (cells[0].trim_matches('`'), words(cells[2])))
        .collect();
    let known: BTreeSet<&str> = Event::TYPES.iter().map(|(name, _)| *name).collect();
    assert_eq!(told.keys().copied().collect::<BTreeSet<_>>(), known);
    let mut members: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (_, event) in samples::samples() {
        let data = serde_json::to_value(&event).expect("plain");
        let data = data.as_object().expect("an object");
        let known = members.entry(event.name()).or_default();
        known.extend(data.keys().cloned());
    }
    for (name, members) in members {
        let members: BTreeSet<&str> = members.iter().map(String::as_str).collect();
        assert_eq!(told[name], members, "{name}");
    }
}

#[test]
fn every_member_is_explained_once() {
    let manual = manual();
    let used: BTreeSet<&str> = rows(&manual, 3)
        .into_iter()
        .flat_map(|cells| words(cells[2]))
        .collect();
    let explained: Vec<&str> = rows(&manual, 2)
        .into_iter()
        .flat_map(|cells| words(cells[0]))
        .collect();
    assert_eq!(explained.iter().copied().collect::<BTreeSet<_>>(), used);
    assert_eq!(explained.len(), used.len(), "a member is explained twice");
}
