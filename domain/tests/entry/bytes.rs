//! Written and read again, an event is the same; and it holds nothing personal.

use std::collections::BTreeSet;

use domain::entry::{Entry, Personal, encode};
use domain::event::Event;
use proptest::option;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::Value;

use crate::arbitrary::{envelope, event, grant_stream, of_each_type, text, whole_personal};

#[test]
fn there_is_a_strategy_for_every_type() {
    let mut runner = TestRunner::deterministic();
    let drawn: BTreeSet<(&str, u16)> = of_each_type()
        .iter()
        .map(|strategy| {
            let tree = strategy.new_tree(&mut runner).expect("nothing is filtered");
            let event = tree.current();
            (event.name(), event.schema())
        })
        .collect();
    let known: BTreeSet<(&str, u16)> = Event::TYPES.iter().copied().collect();
    assert_eq!(drawn, known);
    assert_eq!(
        known.len(),
        Event::TYPES.len(),
        "each type has a name of its own"
    );
}

#[test]
fn names_are_words_with_a_dot_between() {
    for (name, schema) in Event::TYPES {
        let (subject, fact) = name.split_once('.').expect("a dot");
        for word in [subject, fact] {
            assert!(!word.is_empty(), "{name}");
            assert!(
                word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                "{name}"
            );
        }
        assert!(*schema >= 1, "{name}");
    }
}

#[test]
fn what_is_unknown_is_an_error_and_never_skipped() {
    for (name, schema) in [
        ("grant.code_redeemed", 2),
        ("grant.code_redeemed", 0),
        ("grant.", 1),
    ] {
        let error = Event::decode(name, schema, "{}").expect_err("unknown");
        assert_eq!(
            error.to_string(),
            format!("unknown event {name} with schema {schema}")
        );
    }
    assert!(Event::decode("grant.code_redeemed", 1, "{}").is_err());
    for bytes in ["", "{}", "null", "[]", "\u{0}"] {
        assert!(Entry::decode(bytes.as_bytes()).is_err(), "{bytes}");
    }
}

/// The names of all members of a JSON value, however deep.
fn members(value: &Value) -> BTreeSet<String> {
    match value {
        Value::Object(object) => object
            .iter()
            .flat_map(|(name, value)| {
                let mut within = members(value);
                within.insert(name.clone());
                within
            })
            .collect(),
        Value::Array(values) => values.iter().flat_map(members).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => BTreeSet::new(),
    }
}

/// What an operator called a thing, not what a person is called.
const NAMED_BY_OPERATORS: [&str; 4] = ["provider.", "proxy.", "operator.", "api_key."];

/// The members of the part that is sealed beside an entry, which no entry may have.
fn personal_members(event: &Event) -> BTreeSet<String> {
    let mut personal = members(&serde_json::to_value(whole_personal()).expect("serializes"));
    personal.extend(["email", "phone", "address", "groups", "claims", "source"].map(str::to_owned));
    if NAMED_BY_OPERATORS
        .iter()
        .any(|thing| event.name().starts_with(thing))
    {
        personal.remove("name");
    }
    personal
}

#[test]
fn an_absent_personal_part_is_empty_and_hidden() {
    assert!(Personal::default().is_empty());
    assert!(!whole_personal().is_empty());
    assert!(!format!("{:?}", whole_personal()).contains("ada"));
    assert!(!format!("{:?}", whole_personal().identity).contains("ada"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn read_is_what_was_written(
        envelope in envelope(), event in event(), commitment in option::of(text())
    ) {
        let bytes = encode(&envelope, &event, commitment.as_deref());
        let entry = Entry::decode(&bytes).expect("own bytes");
        prop_assert_eq!(&encode(&entry.envelope, &entry.event, entry.commitment.as_deref()), &bytes);
        prop_assert_eq!(entry, Entry { envelope, event, commitment });
        prop_assert!(!bytes.contains(&b'\n'), "one entry is one line");
    }

    #[test]
    fn nothing_personal_is_in_an_entry(envelope in envelope(), event in event()) {
        let bytes = encode(&envelope, &event, None);
        let entry: Value = serde_json::from_slice(&bytes).expect("JSON");
        let shared: Vec<String> =
            members(&entry).intersection(&personal_members(&event)).cloned().collect();
        prop_assert_eq!(shared, Vec::<String>::new(), "{}", event.name());
    }

    #[test]
    fn damaged_bytes_are_refused_or_read_but_never_a_panic(
        envelope in envelope(), event in event(), at in any::<prop::sample::Index>(), byte: u8
    ) {
        let mut bytes = encode(&envelope, &event, None);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = Entry::decode(&bytes);
        bytes.truncate(at);
        prop_assert!(Entry::decode(&bytes).is_err());
    }

    #[test]
    fn a_grants_entry_names_its_grant((grant, stream) in grant_stream(), mut envelope in envelope()) {
        prop_assert_eq!(domain::entry::Envelope { stream, ..envelope.clone() }.grant_id(), Some(grant));
        envelope.stream = format!("client-{grant}");
        prop_assert_eq!(envelope.grant_id(), None);
    }
}
