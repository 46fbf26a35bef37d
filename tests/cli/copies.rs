//! What investigators are given: a copy of the store, without a server, and mostly without a read model.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::rig::Rig;
use super::{Ended, Run, folder, set_mode};

/// A backup of a server in which somebody has logged in; the key that opens it; the grant.
struct Copy {
    _rig: Rig,
    folder: PathBuf,
    key: String,
    grant: String,
}

async fn copy() -> Copy {
    let mut rig = Rig::start().await;
    let client = rig.client().await;
    let claims = rig.log_in(&client).await.claims();
    rig.server.stop().await;
    let key = fs::read_to_string(rig.server.folder().join("data/master.key")).expect("a key");
    let backup = Run::new(&["backup", "copy", "--data", "data"]);
    let ended = backup.inside(rig.server.folder()).end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    Copy {
        folder: rig.server.folder().join("copy"),
        key: key.trim().to_owned(),
        grant: claims["grant"].as_str().expect("a grant").to_owned(),
        _rig: rig,
    }
}

impl Copy {
    fn run(&self, arguments: &[&str], data: &Path) -> Run {
        let data = data.to_str().expect("text");
        let run = Run::new(&[arguments, &["--data", data]].concat());
        run.with("GRANTLOG_KEYS__MASTER_KEY", &self.key)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_without_a_read_model_is_investigated() {
    let copy = copy().await;
    let restored = folder();
    let data = restored.path().join("data");
    let ended = copy.run(&["restore", copy.folder.to_str().expect("text")], &data);
    ended.end().prints();
    for folder in [&copy.folder, &data] {
        for (arguments, said) in [
            (&["logins"][..], "ada@example.com"),
            (&["events", "list"], "grant.code_redeemed"),
            (&["events", "get", "0"], "signing_key.created"),
            (&["events", "export"], "grant.code_redeemed"),
            (&["grant", "list"], &copy.grant),
            (&["grant", "show", &copy.grant], "ada@example.com"),
            (&["verify"], "entries valid"),
        ] {
            let ended = copy.run(arguments, folder).end();
            assert!(ended.prints().contains(said), "{arguments:?} {ended:?}");
        }
        let story = copy.run(&["grant", "story", &copy.grant], folder).end();
        assert!(story.stdout.contains("was redeemed"), "{story:?}");
        assert!(!folder.join("read.db").exists(), "looking changes nothing");
        let without_key = Run::new(&["logins", "--data", folder.to_str().expect("text")]);
        without_key.end().fails(8, "GRANTLOG_KEYS__MASTER_KEY_FILE");

        let makes = format!("`grantlog replay --data {}` makes it", folder.display());
        copy.run(&["replay", "--check"], folder)
            .end()
            .fails(3, &makes);
        copy.run(&["replay"], folder).end().prints();
        copy.run(&["replay", "--check"], folder).end().prints();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_is_a_damaged_log() {
    let copy = copy().await;
    let file = copy.folder.join("log.db");
    let whole = fs::read(&file).expect("read");
    let half = whole[..whole.len() / 2].to_vec();
    let mut beginning = whole.clone();
    beginning[..100].fill(b'x');
    let mut end = whole.clone();
    end[whole.len() / 2..].fill(b'x');
    for (bytes, reason) in [
        (half, "malformed"),
        (beginning, "not a database"),
        (end, "malformed"),
    ] {
        fs::write(&file, bytes).expect("written");
        let verified = copy.run(&["verify", "--json"], &copy.folder).end();
        assert_eq!(finding(&verified, 4)["intact"], false);
        let place = folder();
        let backup = place.path().join("backup");
        for arguments in [
            &["verify"][..],
            &["logins"],
            &["events", "export"],
            &["replay"],
            &["backup", backup.to_str().expect("text")],
        ] {
            copy.run(arguments, &copy.folder).end().fails(4, reason);
        }
    }
}

/// What cannot be looked at may be there.
#[test]
fn a_folder_that_lets_nobody_in_is_not_empty() {
    let (outside, program) = (folder(), folder());
    let data = outside.path().join("data");
    fs::create_dir(&data).expect("made");
    set_mode(outside.path(), 0o755);
    set_mode(&data, 0o000);
    let (path, from) = (
        data.display().to_string(),
        format!("sqlite://{}", data.display()),
    );
    for arguments in [
        &["verify", "--data", &path][..],
        &["logins", "--data", &path],
        &["move", "--from", &from, "--to", "postgres://127.0.0.1/g"],
    ] {
        let ended = Run::as_nobody(arguments, program.path())
            .inside(outside.path())
            .end();
        ended.fails(6, &format!("cannot use {path}/log.db: Permission denied"));
    }
    set_mode(&data, 0o700);
}

/// The document of a command that found something wrong.
#[track_caller]
fn finding(ended: &Ended, code: i32) -> Value {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    assert_ne!(ended.stderr, "", "a person is told, too");
    serde_json::from_str(&ended.stdout).expect("one document")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_a_document_too() {
    let copy = copy().await;
    let run = |arguments: &[&str]| copy.run(arguments, &copy.folder).end();
    let change = |file: &str, sql: &str| {
        let db = rusqlite::Connection::open(copy.folder.join(file)).expect("opened");
        db.execute_batch(sql).expect(sql);
    };
    run(&["replay"]).prints();
    let checked = run(&["replay", "--check", "--json"]);
    let checked: Value = serde_json::from_str(checked.prints()).expect("JSON");
    assert_eq!(checked["equal"], true);
    change("read.db", "UPDATE grants SET scope = 'all'");
    let differs = finding(&run(&["replay", "--check", "--json"]), 5);
    assert_eq!(differs["equal"], false);
    let reason = differs["reason"].as_str().expect("text");
    assert!(reason.contains("differs in scope"), "{reason}");
    run(&["replay", "--check"]).fails(5, reason);

    let verified = run(&["verify", "--json"]);
    let verified: Value = serde_json::from_str(verified.prints()).expect("JSON");
    let entries = &verified["entries"];
    assert_eq!(
        verified,
        json!({"entries": entries, "valid": entries, "sealed": entries, "intact": true})
    );
    change(
        "log.db",
        "DROP TRIGGER entries_are_not_changed; UPDATE entries SET entry = x'00' WHERE position = 5",
    );
    let broken = finding(&run(&["verify", "--json"]), 4);
    let reason = &broken["reason"];
    assert_eq!(
        broken,
        json!({"entries": entries, "valid": 5, "sealed": entries, "intact": false, "position": 5, "reason": reason})
    );
    run(&["verify"]).fails(4, "BROKEN at position 5: ");
    assert_eq!(
        finding(&run(&["replay", "--check", "--json"]), 4)["equal"],
        false
    );
}
