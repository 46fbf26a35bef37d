//! The frozen bytes of one event of each type and schema that was ever released. The log is for
//! ever: what a program once wrote, every later one must read, and must not write differently.
//!
//! A type that can say more than when its sample was written has a second sample beside the first,
//! `….1.2.json`, and so on; the first is what stored events of that time look like.
//!
//! A sample is written once, by `GRANTLOG_WRITE_GOLDEN=1 cargo test -p domain --test golden`,
//! from its event in `samples.rs`, and never changed again. If an event's shape has to change in
//! a way that this test notices, it gets a new schema number and an upcast.

mod manual;
mod samples;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use domain::entry::{Entry, Envelope, encode};
use domain::event::Event;
use serde_json::Value;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn path(name: &str, schema: u16) -> PathBuf {
    folder().join(format!("{name}.{schema}.json"))
}

/// Every sample with its file.
fn samples() -> Vec<(PathBuf, Envelope, Event)> {
    let mut times: BTreeMap<(&str, u16), u16> = BTreeMap::new();
    let samples = samples::samples().into_iter();
    samples
        .map(|(envelope, event)| {
            let (name, schema) = (event.name(), event.schema());
            let nth = times.entry((name, schema)).or_default();
            *nth += 1;
            let path = match nth {
                1 => path(name, schema),
                nth => folder().join(format!("{name}.{schema}.{nth}.json")),
            };
            (path, envelope, event)
        })
        .collect()
}

/// The frozen samples: (file name, bytes).
fn frozen() -> Vec<(String, Vec<u8>)> {
    let mut frozen: Vec<(String, Vec<u8>)> = fs::read_dir(folder())
        .expect("the folder of samples")
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .map(|path| {
            let name = path
                .file_name()
                .expect("a file")
                .to_string_lossy()
                .into_owned();
            (name, fs::read(path).expect("a readable sample"))
        })
        .collect();
    frozen.sort();
    frozen
}

/// Writes the samples that are missing, if asked to; never touches one that is there.
#[expect(
    clippy::disallowed_methods,
    reason = "the only switch of a test program is in its environment"
)]
fn write_missing() {
    if std::env::var_os("GRANTLOG_WRITE_GOLDEN").is_none() {
        return;
    }
    for (path, envelope, event) in samples() {
        if !path.exists() {
            let bytes = encode(&envelope, &event, Some(samples::COMMITMENT));
            fs::write(path, bytes).expect("a writable folder");
        }
    }
}

#[test]
fn every_type_has_a_frozen_sample() {
    write_missing();
    let missing: Vec<_> = Event::TYPES
        .iter()
        .map(|(name, schema)| path(name, *schema))
        .chain(samples().into_iter().map(|(path, ..)| path))
        .filter(|path| !path.exists())
        .collect();
    assert!(
        missing.is_empty(),
        "no frozen sample of {missing:?}: add each to domain/tests/golden/samples.rs, run \
         `GRANTLOG_WRITE_GOLDEN=1 cargo test -p domain --test golden`, and commit the new files"
    );
}

#[test]
fn every_frozen_sample_is_read_and_written_again_byte_for_byte() {
    for (file, bytes) in frozen() {
        let entry = Entry::decode(&bytes).unwrap_or_else(|error| panic!("{file}: {error:?}"));
        let (name, schema) = (entry.event.name(), entry.event.schema());
        let frozen: Value = serde_json::from_slice(&bytes).expect("JSON");
        if frozen["schema"] == schema {
            assert!(file.starts_with(&format!("{name}.{schema}.")), "{file}");
            let written = encode(&entry.envelope, &entry.event, entry.commitment.as_deref());
            assert_eq!(
                String::from_utf8_lossy(&written),
                String::from_utf8_lossy(&bytes),
                "{file} is written differently today: serde's defaults must bridge the change, or \
                 the event needs a new schema number"
            );
        }
    }
}

/// A sample that leaves everything optional out would freeze nothing of it.
#[test]
fn samples_say_what_their_events_can_say() {
    for (path, envelope, event) in samples() {
        let written = encode(&envelope, &event, Some(samples::COMMITMENT));
        if let Ok(frozen) = fs::read(&path) {
            assert_eq!(
                String::from_utf8_lossy(&frozen),
                String::from_utf8_lossy(&written),
                "{}: the sample in samples.rs is not the frozen one",
                path.display()
            );
        }
    }
}

/// Every text in a JSON value with the name of the member that holds it.
fn texts<'a>(member: &'a str, value: &'a Value, found: &mut Vec<(&'a str, &'a str)>) {
    match value {
        Value::Object(object) => object
            .iter()
            .for_each(|(name, value)| texts(name, value, found)),
        Value::Array(values) => values.iter().for_each(|value| texts(member, value, found)),
        Value::String(text) => found.push((member, text)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Members whose texts look like secrets and are none: hashes and a salt that opens nothing
/// without the key in the vault.
fn tells_nothing(member: &str) -> bool {
    member.ends_with("sha256") || matches!(member, "code_challenge" | "commitment" | "salt" | "kid")
}

fn looks_secret(text: &str) -> bool {
    let prefixes = [
        "gw_code_",
        "gw_refresh_",
        "gw_secret_",
        "gw_admin_",
        "gw_key_",
        "eyJ",
        "Bearer",
    ];
    let is_base64url = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let is_random = text.len() >= 20
        && text.bytes().all(is_base64url)
        && text.bytes().any(|b| b.is_ascii_uppercase())
        && text.bytes().any(|b| b.is_ascii_digit());
    is_random || prefixes.iter().any(|prefix| text.contains(prefix))
}

#[test]
fn no_sample_holds_anything_with_the_shape_of_a_secret() {
    let frozen = frozen();
    assert!(frozen.len() >= Event::TYPES.len());
    for (file, bytes) in &frozen {
        let entry: Value = serde_json::from_slice(bytes).expect("JSON");
        let mut found = Vec::new();
        texts("", &entry, &mut found);
        for (member, text) in found {
            assert!(
                tells_nothing(member) || !looks_secret(text),
                "{file}: {member} is {text}"
            );
            let words = [
                "token",
                "secret",
                "code",
                "password",
                "verifier",
                "key",
                "assertion",
            ];
            assert!(!words.contains(&member), "{file}: {member} is {text}");
        }
    }
}

#[test]
fn what_a_secret_looks_like() {
    assert!(looks_secret("gw_refresh_0123.1.abc"));
    assert!(looks_secret("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"));
    assert!(!looks_secret("https://client.example/callback"));
    assert!(!looks_secret("grant-0192e4a0c9d07f3e8b1a5c2d3e4f5061"));
}
