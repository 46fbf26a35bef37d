//! What a process left that was killed in the middle of something: it goes on, or is told for what it is.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::rig::Rig;
use super::{Ended, Run, folder};

/// A server that has stopped, its backup, and where that can be restored.
struct Place {
    rig: Rig,
    copy: PathBuf,
    target: PathBuf,
}

async fn place() -> Place {
    let mut rig = Rig::start().await;
    rig.server.stop().await;
    let [copy, target] = ["copy", "restored"].map(|name| rig.server.folder().join(name));
    let backup = ["backup", copy.to_str().expect("text"), "--data", "data"];
    let backup = Run::new(&backup).inside(rig.server.folder()).end();
    assert_eq!(backup.code, Some(0), "{backup:?}");
    Place { rig, copy, target }
}

impl Place {
    fn restore(&self) -> Ended {
        self.on_target(&["restore", self.copy.to_str().expect("text")])
    }

    fn on_target(&self, command: &[&str]) -> Ended {
        let target = self.target.to_str().expect("text");
        Run::new(&[command, &["--data", target]].concat()).end()
    }

    fn give_key(&self) {
        let data = self.rig.server.folder().join("data");
        fs::copy(data.join("master.key"), self.target.join("master.key")).expect("copied");
    }
}

/// Leaves a file as a writer leaves it that is killed in the middle of a transaction, without a WAL.
fn interrupt(file: &Path) {
    let away = folder();
    let name = file.file_name().expect("a name").to_str().expect("text");
    let original = away.path().join(name);
    fs::copy(file, &original).expect("copied");
    let writer = Connection::open(&original).expect("opened");
    let much = "PRAGMA cache_size = 1; BEGIN; CREATE TABLE much (x);
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
        INSERT INTO much SELECT randomblob(4000) FROM n";
    writer.execute_batch(much).expect("written");
    for name in [name.to_owned(), format!("{name}-journal")] {
        fs::copy(away.path().join(&name), file.with_file_name(name)).expect("copied");
    }
}

/// Until a store has been served, its files have no WAL.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_start_that_was_killed_is_taken_up() {
    let mut place = place().await;
    let told = "its writer was killed in the middle of a transaction";
    for file in ["log.db", "vault.db"] {
        place.restore().prints();
        place.give_key();
        interrupt(&place.target.join(file));
        place.on_target(&["verify"]).fails(6, told);
        place.on_target(&["logins"]).fails(6, told);
        let doctor = place.on_target(&["doctor"]);
        assert!(doctor.stdout.contains(told), "{doctor:?}");
        let status = place.on_target(&["migrate", "status"]);
        assert_eq!(status.code, Some(6), "{status:?}");
        assert!(status.stderr.contains(told), "{status:?}");
        assert!(place.target.join(format!("{file}-journal")).exists());

        let target = place.target.to_str().expect("text").to_owned();
        place
            .rig
            .server
            .set_env("GRANTLOG_STORE__DATA_DIR", &target);
        place.rig.server.start_again().await;
        place.rig.server.stop().await;
        let verify = place.on_target(&["verify"]);
        assert!(verify.prints().contains("entries valid"), "{verify:?}");
        fs::remove_dir_all(&place.target).expect("removed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_goes_on_wherever_it_was_killed() {
    let place = place().await;
    let [log, vault] = ["log.db", "vault.db"].map(|file| place.target.join(file));
    let partial = |file: &Path| file.with_added_extension("partial");
    let all = [log.clone(), vault.clone(), partial(&log), partial(&vault)];
    for left in [
        &[partial(&vault)][..],
        &[partial(&vault), partial(&log)],
        &[vault.clone(), partial(&log)],
        // The vault was given back its partial name, to be copied anew.
        &[partial(&log)],
    ] {
        fs::create_dir_all(&place.target).expect("made");
        for file in left {
            fs::write(file, "broken off").expect("written");
        }
        place.restore().prints();
        place.give_key();
        place.on_target(&["verify"]).prints();
        for file in &all {
            let _ = fs::remove_file(file);
        }
    }
    // What another file's writer left would be taken back from this one.
    for leftover in ["log.db-wal", "vault.db-journal"] {
        let leftover = place.target.join(leftover);
        fs::write(&leftover, "of another file").expect("written");
        place.restore().fails(1, "belongs to another file");
        fs::remove_file(leftover).expect("removed");
    }
    assert!(!log.exists() && !vault.exists());
}

/// One process at a time makes a store in a folder.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_makes_a_store_where_one_is_being_made() {
    let place = place().await;
    fs::create_dir(&place.target).expect("made");
    let lock = fs::File::create(place.target.join("node.lock")).expect("made");
    lock.try_lock().expect("nobody has it");
    place.restore().fails(6, "another process uses");
    place
        .on_target(&["migrate", "up"])
        .fails(6, "another process uses");
    assert_eq!(
        fs::read_dir(&place.target).expect("a folder").count(),
        1,
        "nothing was made"
    );
}

/// A backup is whole when its vault, the last of it, has its name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_was_killed_is_not_restored() {
    let place = place().await;
    let vault = place.copy.join("vault.db");
    let whole = fs::read(&vault).expect("read");
    let refused = |reason: &str| {
        place.restore().fails(6, reason);
        assert!(!place.target.exists(), "nothing was made");
    };
    fs::rename(&vault, place.copy.join("vault.db.partial")).expect("renamed");
    refused("vault.db is missing: nothing was restored");
    // As versions before left it.
    fs::write(&vault, "").expect("emptied");
    refused("vault.db is not whole");
    fs::write(&vault, &whole).expect("written");
    interrupt(&vault);
    refused("vault.db is not whole");
}
