//! `grantlog demo` as a new user meets it: the program, its transcript, and what it leaves behind.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

/// The program, with its temporary files in a folder of the test's own, on a machine without root
/// certificates: it needs nothing installed.
fn demo(temporary: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_grantlog"));
    command.arg("demo").env("TMPDIR", temporary);
    for nowhere in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
        command.env(nowhere, temporary.join("none"));
    }
    command
}

fn is_empty(folder: &Path) -> bool {
    folder
        .read_dir()
        .is_ok_and(|mut entries| entries.next().is_none())
}

/// What a step's line says, without its time: what, who, how it ended.
fn steps(transcript: &str) -> Vec<String> {
    transcript
        .lines()
        .skip_while(|line| *line != "The story")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .map(|line| {
            line.split_whitespace()
                .skip(1)
                .take(3)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect()
}

#[test]
fn every_step_holds_and_nothing_stays_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let output = demo(temporary.path()).arg("--exit").output().unwrap();
    let transcript = String::from_utf8(output.stdout).unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{transcript}\n{complaints}");
    assert_eq!(
        steps(&transcript),
        [
            "discover client ok",
            "register client ok",
            // The theft.
            "authorize ada@demo ok",
            "consent ada@demo ok",
            "login ada@demo ok",
            "token client ok",
            "tools/list client ok",
            "tools/call client ok",
            "refresh client ok",
            "tools/call client ok",
            "refresh thief REUSE",
            "tools/list client 401",
            "refresh client 400",
            // The orderly end.
            "authorize grace@demo ok",
            "consent grace@demo ok",
            "login grace@demo ok",
            "token client ok",
            "tools/list client ok",
            "tools/call client ok",
            "revoke client ok",
            "tools/list client 401",
        ]
    );
    for told in [
        "NOT for production",
        "came back",
        "the grant was revoked",
        "entries valid",
    ] {
        assert!(transcript.contains(told), "no {told:?} in\n{transcript}");
    }
    assert!(!transcript.contains('\x1b'), "styles in a pipe");
    assert!(is_empty(temporary.path()), "the data folder is still there");
}

#[cfg(unix)]
#[test]
fn it_serves_until_it_is_interrupted() {
    let temporary = tempfile::tempdir().unwrap();
    let mut demo = demo(temporary.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(demo.stdout.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("Ctrl-C ends it") {
        line.clear();
        assert_ne!(
            stdout.read_line(&mut line).unwrap(),
            0,
            "it ended by itself"
        );
    }
    assert!(!is_empty(temporary.path()));
    let pid = demo.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert!(demo.wait().unwrap().success());
    assert!(is_empty(temporary.path()), "the data folder is still there");
}
