//! Dependencies point inward, and each kind of outside world has one place.

use std::collections::BTreeSet;
use std::fs;

use crate::sources::{Source, check, root, sources};

/// The places where a program's line holds one of these words.
fn using<'a>(sources: &'a [Source], words: &'a [&str]) -> impl Iterator<Item = String> + 'a {
    sources.iter().flat_map(move |source| {
        source
            .program()
            .filter(|(_, line)| words.iter().any(|word| has_word(line, word)))
            .map(|(number, line)| format!("{}:{number}: {}", source.path, line.trim()))
    })
}

/// Whether a line holds a word that is not part of a longer one.
fn has_word(line: &str, word: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(is_name) && !line[at + word.len()..].starts_with(is_name)
    })
}

fn outside<'a>(folders: &'a [&str], allowed: &'a [&str]) -> Vec<Source> {
    let mut sources = sources(folders);
    sources.retain(|source| !source.is_under(allowed));
    sources
}

const PROGRAM: [&str; 3] = ["src/", "domain/src/", "projections/src/"];

/// From the inside to the outside: each place names only those that stand before it.
const INWARD: [&str; 22] = [
    "causes",
    "clock",
    "secret",
    "postgres",
    "migrations",
    "log",
    "keys",
    "vault",
    "tokens",
    "federation",
    "config",
    "app",
    "investigation",
    "administration",
    "http",
    "gateway",
    "server",
    "demo",
    "bench",
    "cli",
    "lib",
    "main",
];

#[test]
fn dependencies_point_inward() {
    let mut outward = Vec::new();
    for source in sources(&["src/"]) {
        let inside = source.path.trim_start_matches("src/");
        let place = inside.split(['/', '.']).next().unwrap_or_default();
        let at = INWARD.iter().position(|known| *known == place);
        let at = at.unwrap_or_else(|| panic!("where does src/{place} stand?"));
        let further_out = INWARD[at + 1..].iter();
        let forbidden: Vec<String> = further_out.map(|out| format!("crate::{out}")).collect();
        let forbidden: Vec<&str> = forbidden.iter().map(String::as_str).collect();
        outward.extend(using(std::slice::from_ref(&source), &forbidden));
    }
    check(
        "expected dependencies that point inward",
        outward,
        &[("src/keys/generate.rs", "a key's header names what it signs")],
    );
}

#[test]
fn the_domain_depends_on_nothing_that_does_io() {
    let text = fs::read_to_string(root().join("domain/Cargo.toml")).expect("domain/Cargo.toml");
    let manifest: toml::Table = text.parse().expect("a manifest");
    let dependencies: BTreeSet<&str> = manifest["dependencies"]
        .as_table()
        .expect("a table")
        .keys()
        .map(String::as_str)
        .collect();
    let allowed = BTreeSet::from([
        "base64",
        "chrono",
        "serde",
        "serde_json",
        "sha2",
        "subtle",
        "thiserror",
        "url",
        "uuid",
    ]);
    assert_eq!(
        dependencies, allowed,
        "each dependency of the domain is a decision"
    );
    let parts = [
        "std::fs",
        "std::net",
        "std::io",
        "std::env",
        "std::thread",
        "async",
        "await",
    ];
    // Addresses are values; nothing connects to them.
    check(
        "expected no IO and no waiting in the domain",
        using(&sources(&["domain/src/"]), &parts),
        &[(
            "domain/src/entry.rs:",
            "an address is kept, nothing connects to it",
        )],
    );
}

#[test]
fn features_of_the_domains_dependencies_bring_no_clock() {
    let text = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let manifest: toml::Table = text.parse().expect("a manifest");
    let dependencies = &manifest["workspace"]["dependencies"];
    for (name, forbidden) in [
        ("chrono", "clock"),
        ("chrono", "now"),
        ("uuid", "v4"),
        ("uuid", "v7"),
    ] {
        let dependency = &dependencies[name];
        assert_eq!(
            dependency["default-features"].as_bool(),
            Some(false),
            "{name}"
        );
        let features = dependency["features"].as_array().expect("features");
        assert!(
            !features.iter().any(|f| f.as_str() == Some(forbidden)),
            "{name}: {forbidden}"
        );
    }
}

#[test]
fn one_file_reads_the_clock_and_draws_randomness() {
    let sources = outside(&PROGRAM, &["src/clock.rs"]);
    let words = [
        "SystemTime::now",
        "Utc::now",
        "Local::now",
        "SystemRandom",
        "getrandom",
        "OsRng",
        "rand::fill",
        "new_v4",
        "now_v7",
    ];
    check(
        "expected only src/clock.rs to read the clock or draw randomness",
        using(&sources, &words),
        &[
            (
                "src/keys/generate.rs",
                "key generation takes its randomness itself",
            ),
            (
                "src/demo/identity_provider/mod.rs",
                "key generation takes its randomness itself",
            ),
        ],
    );
}

#[test]
fn sql_has_its_places() {
    let allowed = [
        "src/log/",
        "src/vault/",
        "src/migrations/",
        "src/postgres",
        "projections/",
    ];
    check(
        "expected SQL only in the log, the vault, what they share, and the read models",
        using(
            &outside(&PROGRAM, &allowed),
            &["rusqlite", "SELECT", "INSERT INTO", "DELETE FROM"],
        ),
        &[("src/cli/program.rs", "names the version of SQLite")],
    );
}

#[test]
fn http_servers_have_their_places() {
    let allowed = [
        "src/http",
        "src/gateway",
        "src/demo",
        "src/bench",
        "src/server",
        "src/ops",
    ];
    check(
        "expected axum only where requests are answered",
        using(&outside(&PROGRAM, &allowed), &["axum"]),
        &[],
    );
}

#[test]
fn one_file_reads_the_environment() {
    check(
        "expected only src/config/environment.rs to read the environment",
        using(
            &outside(&PROGRAM, &["src/config/environment.rs"]),
            &["env::var", "env::vars", "env::var_os", "env::vars_os"],
        ),
        &[],
    );
}

#[test]
fn nothing_outside_can_make_the_program_unwrap() {
    check(
        "expected no unwrap outside tests",
        using(&sources(&PROGRAM), &["unwrap()"]),
        &[],
    );
}

#[test]
fn nobody_switches_a_lint_off_without_its_noticing_when_it_is_not_needed() {
    let sources = sources(&["src/", "domain/", "projections/", "benches/"]);
    let allowing: Vec<String> = sources
        .iter()
        .flat_map(|source| {
            let lines = source.text.lines().filter(|line| {
                let line = line.trim_start();
                line.starts_with("#[allow(") || line.starts_with("#![allow(")
            });
            lines
                .map(|line| format!("{}: {line}", source.path))
                .collect::<Vec<_>>()
        })
        .collect();
    check("expected #[expect] with a reason", allowing, &[]);
}

#[test]
fn every_migration_is_in_its_folder() {
    for folder in ["log/sqlite", "read", "vault/sqlite"] {
        let path = root().join("migrations").join(folder);
        if path.exists() {
            let is_sql = |name: &str| name.ends_with(".sql");
            for entry in fs::read_dir(path).expect("a folder of migrations") {
                let name = entry
                    .expect("readable")
                    .file_name()
                    .to_string_lossy()
                    .into_owned();
                assert!(is_sql(&name), "{folder}/{name}");
            }
        }
    }
}

#[test]
fn words_are_whole() {
    assert!(has_word("use rusqlite::Row;", "rusqlite"));
    assert!(!has_word("let taxum = 1;", "axum"));
    assert!(!has_word("x.unwrap_or(1)", "unwrap()"));
    assert!(has_word("x.unwrap();", "unwrap()"));
}
