//! The program about itself.

use super::{Run, folder};

#[test]
fn help_is_a_map_with_the_exit_codes() {
    let ended = Run::new(&["--help"]).end();
    let help = ended.prints();
    for command in [
        "demo",
        "serve",
        "init",
        "doctor",
        "logins",
        "events",
        "grant",
        "replay",
        "verify",
        "proxy",
        "provider",
        "client",
        "operator",
        "api-key",
        "keys",
        "backup",
        "restore",
        "move",
        "migrate",
        "bench",
        "completions",
        "man",
        "version",
    ] {
        assert!(help.contains(&format!("\n  {command} ")), "{command}");
        let ended = Run::new(&[command, "--help"]).end();
        assert!(ended.prints().contains("Usage: grantlog"), "{command}");
    }
    for code in 0..=8 {
        assert!(help.contains(&format!("\n  {code}  ")), "exit code {code}");
    }
}

#[test]
fn groups_have_the_verbs_of_the_contract() {
    for (group, verbs) in [
        ("events", &["list", "get", "tail", "export", "types"][..]),
        ("grant", &["list", "show", "story", "revoke"]),
        ("proxy", &["list", "show", "add", "set", "remove"]),
        ("provider", &["list", "show", "add", "set", "remove"]),
        ("client", &["list", "show", "add", "set", "remove"]),
        ("operator", &["list", "show", "add", "set", "remove"]),
        ("keys", &["list", "rotate"]),
        ("migrate", &["status", "up"]),
    ] {
        let ended = Run::new(&[group, "--help"]).end();
        for verb in verbs {
            let line = format!("\n  {verb} ");
            assert!(ended.prints().contains(&line), "{group} {verb}");
        }
    }
}

/// Where only a server answers, no store is offered.
#[test]
fn a_store_is_offered_where_it_can_be_read() {
    for (command, offered) in [
        ("logins", true),
        ("events list", true),
        ("events get", true),
        ("events export", true),
        ("events tail", false),
        ("grant list", true),
        ("grant show", true),
        ("grant story", true),
        ("grant revoke", false),
        ("client list", false),
        ("client show", false),
        ("client add", false),
        ("client set", false),
        ("client remove", false),
    ] {
        let arguments: Vec<_> = command.split(' ').chain(["--help"]).collect();
        let ended = Run::new(&arguments).end();
        assert!(ended.prints().contains("--url <URL>"), "{command}");
        for flag in ["--data <DIR>", "--database <URL>", "--read-model <FILE>"] {
            assert_eq!(ended.stdout.contains(flag), offered, "{command} {flag}");
        }
    }
}

#[test]
fn help_says_how_lists_are_written() {
    for command in [["proxy", "add"], ["proxy", "set"], ["client", "add"]] {
        let ended = Run::new(&[command[0], command[1], "--help"]).end();
        let help: Vec<_> = ended.prints().split_whitespace().collect();
        assert!(help.join(" ").contains("list have commas"), "{command:?}");
    }
}

#[test]
fn the_version_is_a_line_or_a_document() {
    let version = env!("CARGO_PKG_VERSION");
    let line = Run::new(&["version"]).end();
    assert_eq!(line.prints(), format!("grantlog {version}\n"));
    let document = Run::new(&["version", "--json"]).end();
    let document: serde_json::Value = serde_json::from_str(document.prints()).expect("JSON");
    assert_eq!(document["version"], version);
}

#[test]
fn completions_and_manual_pages_are_written() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ended = Run::new(&["completions", shell]).end();
        assert!(ended.prints().contains("grantlog"), "{shell}");
    }
    let folder = folder();
    let ended = Run::new(&["man", "pages"]).inside(folder.path()).end();
    assert_eq!(ended.prints(), "wrote the manual pages to pages\n");
    let page = std::fs::read_to_string(folder.path().join("pages/grantlog-events-list.1"));
    assert!(page.expect("a page per command").contains("min\\-position"));
}

#[test]
fn what_is_not_understood_ends_with_2() {
    for arguments in [
        &["frobnicate"][..],
        &[],
        &["events", "get", "minus-one"],
        &["logins", "--json", "--jsonl"],
        &["logins", "--outcome", "perhaps"],
        &["grant", "show", "../proxies"],
        &["logins", "--limit", "0"],
        &["replay", "--until", "5"],
        &["replay", "--until", "5", "--check"],
        &["state", "at", "5", "weather:today"],
        &["logins", "--url", "http://auth.example.com"],
        &["logins", "--database", "postgres://u:hunter2@db/g"],
        &["logins", "--database", "postgres://db:99999/g"],
        &["events", "list", "--url", "http://127.0.0.1", "--data", "."],
        &["events", "--url", "http://127.0.0.1", "list", "--data", "."],
        &["events", "tail", "--data", "."],
        &["grant", "revoke", "0", "--yes", "--data", "."],
        &["client", "list", "--database", "postgres://db/g"],
        &["move", "--from", "sqlite://data"],
        &["move", "--from", "data", "--to", "postgres://db/g"],
        &[
            "move",
            "--from",
            "postgres://u:hunter2@db/g",
            "--to",
            "sqlite://data",
        ],
        &[
            "move",
            "--from",
            "sqlite://data",
            "--to",
            "postgres://u:hunter2@db/g",
        ],
        &[
            "move",
            "--from",
            "sqlite://data",
            "--to",
            "postgres://db/g?password=hunter2",
        ],
        &["provider", "add", "client_secret=hunter2"],
        &["grant", "revoke", "0"],
    ] {
        let ended = Run::new(arguments).end();
        assert_eq!(ended.code, Some(2), "{arguments:?} {ended:?}");
        assert!(!ended.stderr.contains("hunter2"), "{ended:?}");
    }
}

#[test]
fn event_types_are_tab_separated_in_a_pipe() {
    let ended = Run::new(&["events", "types"]).end();
    let lines: Vec<_> = ended.prints().lines().collect();
    assert!(lines.contains(&"grant.code_redeemed\t1"), "{lines:?}");
    let ended = Run::new(&["events", "types", "--jsonl"]).end();
    assert_eq!(ended.prints().lines().count(), lines.len());
}

#[test]
fn a_reader_that_went_away_is_no_failure() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut run = Run::new(&["completions", "bash"]);
    let output = run.command.stdout(writer).output().expect("it starts");
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty());
}
