//! What is damaged is told for what it is, and what can be made anew is.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use rusqlite::Connection;
use support::Server;

use super::Run;
use super::rig::Rig;

/// Puts other bytes in the place of an entry, as nobody may who goes through SQLite's front door.
fn replace_entry(log: &Path, position: u32, entry: &[u8]) {
    let db = Connection::open(log).expect("opened");
    db.execute_batch("DROP TRIGGER IF EXISTS entries_are_not_changed")
        .expect("dropped");
    let replaced = db.execute(
        "UPDATE entries SET entry = ?1 WHERE position = ?2",
        (entry, position),
    );
    assert_eq!(replaced.expect("replaced"), 1);
}

fn entry(log: &Path, position: u32) -> Vec<u8> {
    let db = Connection::open(log).expect("opened");
    let sql = "SELECT entry FROM entries WHERE position = ?1";
    db.query_row(sql, [position], |row| row.get(0))
        .expect("an entry")
}

async fn refused(server: &mut Server, code: i32, said: &str) {
    let refused = server.refused_again().await;
    let stderr = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(code), "{stderr}");
    assert!(stderr.contains(said), "{stderr}");
}

/// Settings are read before anything is served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_is_damaged_and_one_of_a_newer_program_are_two_things() {
    let mut rig = Rig::start().await;
    rig.server.stop().await;
    let data = rig.server.folder().join("data");
    let log = data.join("log.db");
    // `verify` would say of any change that its seal does not fit.
    let vault = Connection::open(data.join("vault.db")).expect("opened");
    vault.execute("DELETE FROM seals", []).expect("deleted");
    drop(vault);
    for position in 0..4 {
        let whole = entry(&log, position);
        let text = String::from_utf8(whole.clone()).expect("text");
        let of_newer = text.replacen("\"schema\":1", "\"schema\":9", 1);
        assert_ne!(of_newer, text);
        let misshapen = text.replacen("\"data\":{", "\"data\":null,\"was\":{", 1);
        assert_ne!(misshapen, text);
        for (bytes, code, said) in [
            (&b"{}"[..], 4, "not an entry"),
            (misshapen.as_bytes(), 4, "has unreadable data"),
            (of_newer.as_bytes(), 6, "with schema 9"),
        ] {
            replace_entry(&log, position, bytes);
            // What was folded before does not need to be read.
            let _ = fs::remove_file(data.join("read.db"));
            refused(&mut rig.server, code, said).await;
            let _ = fs::remove_file(data.join("read.db"));
            for command in [
                &["logins"][..],
                &["events", "list"],
                &["replay"],
                &["verify"],
            ] {
                let command = [command, &["--data", "data"]].concat();
                let ended = Run::new(&command).inside(rig.server.folder()).end();
                ended.fails(code, said);
            }
        }
        replace_entry(&log, position, &whole);
    }
    rig.server.start_again().await;
}

/// Whatever table the damage is in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_read_models_are_built_anew() {
    let mut rig = Rig::start().await;
    let client = rig.client().await;
    let tokens = rig.log_in(&client).await;
    client.revoke(&tokens.refresh).await.expect(200);
    rig.server.events("type=grant.*").await;
    rig.server.stop().await;
    let file = rig.server.folder().join("data/read.db");
    for table in ["grants", "clients", "proxies", "providers", "events"] {
        let db = Connection::open(&file).expect("opened");
        let page_size: u32 = db
            .pragma_query_value(None, "page_size", |row| row.get(0))
            .expect("a size");
        let sql = "SELECT rootpage FROM sqlite_schema WHERE tbl_name = ?1";
        let mut roots = db.prepare(sql).expect("prepared");
        let roots: Vec<u32> = roots
            .query_map([table], |row| row.get(0))
            .and_then(Iterator::collect)
            .expect("roots");
        assert!(!roots.is_empty(), "{table}");
        let mut pages = fs::File::options().write(true).open(&file).expect("opened");
        for root in roots {
            let at = SeekFrom::Start(u64::from(root - 1) * u64::from(page_size));
            pages.seek(at).expect("found");
            pages.write_all(&[0xff; 512]).expect("written");
        }
        rig.server.start_again().await;
        assert!(rig.server.log().contains("built anew"), "{table}");
        assert!(!rig.admits(&tokens.access).await, "it stays revoked");
        let grants = rig.server.get("/api/v1/grants?min_position=1").await;
        let grants = grants.expect(200).json();
        assert_eq!(grants["data"].as_array().map(Vec::len), Some(1));
        rig.server.stop().await;
    }
}
