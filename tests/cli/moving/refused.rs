//! What a move leaves alone.

use std::fs;
use std::path::Path;

use support::postgres::Database;

use super::super::rig::Rig;
use super::super::{Ended, Run, folder, new_master_key, set_mode};
use super::{data, dump, move_to, report};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_must_not_be_moved_is_refused_and_nothing_is_touched() {
    let mut rig = Rig::start().await;
    let data = data(&rig.server);
    let database = Database::create();
    let untouched = |ended: Ended, code, reason: &str| {
        ended.fails(code, reason);
        assert_eq!(dump(&database), [""; 0], "{reason}");
        assert!(!data.join("moved.txt").exists());
    };
    untouched(
        move_to(&database, &data).end(),
        6,
        "already open for writing by another process",
    );
    rig.server.stop().await;
    let wrong = move_to(&database, &data).with("GRANTLOG_KEYS__MASTER_KEY", &new_master_key());
    untouched(wrong.end(), 8, "another master key");
    let nowhere = data.with_file_name("nowhere");
    untouched(move_to(&database, &nowhere).end(), 6, "there is no log at");
    assert!(!nowhere.exists());
    let reader = fs::rename(data.join("master.key"), data.join("kept.key"));
    reader.expect("renamed");
    untouched(move_to(&database, &data).end(), 8, "no master key");
    assert!(!data.join("master.key").exists(), "none is made");
    fs::rename(data.join("kept.key"), data.join("master.key")).expect("renamed");

    // What is said at the end is tried at the beginning.
    let outside = folder();
    for (path, mode) in [
        (data.parent().expect("a folder around it"), 0o755),
        (&data.join("log.lock"), 0o666),
        (&data, 0o555),
    ] {
        set_mode(path, mode);
    }
    let from = format!("sqlite://{}", data.display());
    let arguments = ["move", "--from", &from, "--to", &database.url()];
    let note = data.join("moved.txt");
    untouched(
        Run::as_nobody(&arguments, outside.path()).end(),
        6,
        &format!("cannot use {}: ", note.display()),
    );
    set_mode(&data, 0o700);

    // A key that opens the system's data key but not that of the month: half of a rotation.
    let vault = rusqlite::Connection::open(data.join("vault.db")).expect("opened");
    let sql = "UPDATE data_key SET wrapped_by = x'0011223344556677' WHERE scope <> x'59'";
    assert!(vault.execute(sql, []).expect("changed") > 0);
    drop(vault);
    untouched(move_to(&database, &data).end(), 8, "another master key");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_holds_something_else_is_left_as_it_is() {
    let [first, second] = [Rig::start().await, Rig::start().await].map(|rig| rig.server);
    let [mut first, mut second] = [first, second];
    first.stop().await;
    second.stop().await;
    let (first, second) = (data(&first), data(&second));
    let occupied = |database: &Database, folder: &Path| {
        let before = dump(database);
        move_to(database, folder)
            .end()
            .fails(1, "nothing was overwritten");
        assert_eq!(dump(database), before);
    };
    let database = Database::create();
    report(&move_to(&database, &first).end());
    occupied(&database, &second);
    // Part of another move.
    database.run("INSERT INTO grantlog_log.migrations (number) VALUES (0)");
    occupied(&database, &second);
    // A vault alone.
    database.run("DROP SCHEMA grantlog_log CASCADE");
    occupied(&database, &second);
    fs::remove_file(first.join("moved.txt")).expect("removed");
    occupied(&database, &first);
}
