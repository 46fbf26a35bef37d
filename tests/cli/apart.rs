//! Log, vault and master key have lives of their own, and meet again in every state.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::postgres::Database;
use support::{Server, Tokens};

use super::rig::Rig;
use super::{Run, folder, new_master_key};

fn on_folder(command: &[&str], data: &Path) -> Run {
    Run::new(command).with("GRANTLOG_STORE__DATA_DIR", data.to_str().expect("text"))
}

async fn until_rewrapped(server: &Server) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !server
        .log()
        .contains("all data keys are wrapped by the first master key now")
    {
        assert!(Instant::now() < deadline, "data keys are not wrapped anew");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The new key in front, a restart, and the old one away; on a shared store the new one at the end of the list before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_master_key_is_rotated_by_restarts() {
    for database in [None, Some(Database::create())] {
        let [old, new] = [new_master_key(), new_master_key()];
        let mut setup = Server::setup().env("GRANTLOG_KEYS__MASTER_KEY", &old);
        if let Some(database) = &database {
            setup = setup.env("GRANTLOG_STORE__DATABASE_URL", &database.url());
        }
        let mut rig = Rig::on(setup, json!({"oauth_proxy_require_consent": false})).await;
        let client = rig.client().await;
        let mut newest = rig.log_in(&client).await;
        let lists = [format!("{old},{new}"), format!("{new},{old}"), new.clone()];
        for (list, rewraps) in lists.iter().zip([false, true, false]) {
            rig.server.set_env("GRANTLOG_KEYS__MASTER_KEY", list);
            rig.server.stop().await;
            rig.server.start_again().await;
            if rewraps {
                until_rewrapped(&rig.server).await;
            }
            newest = Tokens::of(&client.refresh(&newest.refresh).await.expect(200));
            assert!(rig.admits(&newest.access).await);
            rig.log_in(&client).await;
        }
        rig.server.stop().await;
        rig.server.set_env("GRANTLOG_KEYS__MASTER_KEY", &old);
        let refused = rig.server.refused_again().await;
        assert_eq!(
            refused.status.code(),
            Some(8),
            "the old key opens nothing any more"
        );
        rig.server
            .set_env("GRANTLOG_KEYS__MASTER_KEY", &format!("{old},{new}"));
        let doctor = rig.server.offline(&["doctor", "--json"]).await;
        let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
        assert!(said.contains("all are needed"), "{said}");
    }
}

/// Its people lose their names, and nothing else is lost; that keys are missing is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vault_that_is_older_than_the_log_costs_names_only() {
    let mut rig = Rig::start().await;
    let client = rig.client().await;
    rig.server.stop().await;
    let data = rig.server.folder().join("data");
    let copy = rig.server.folder().join("copy");
    let backup = ["backup", copy.to_str().expect("text")];
    on_folder(&backup, &data).end().prints();
    rig.server.start_again().await;
    rig.log_in(&client).await;
    rig.server.stop().await;
    fs::copy(copy.join("vault.db"), data.join("vault.db")).expect("copied");
    for file in ["read.db", "vault.db-wal", "vault.db-shm"] {
        let _ = fs::remove_file(data.join(file));
    }
    rig.server.start_again().await;

    let logins = rig.server.get("/api/v1/logins").await.expect(200).json();
    let login = &logins["data"][0];
    assert_eq!(
        (&login["outcome"], &login["email"]),
        (&json!("success"), &Value::Null)
    );
    assert_eq!(logins.get("behind"), None);
    let subject = rig.log_in(&client).await.claims()["sub"].clone();
    assert_ne!(subject, login["subject"], "a new subject");
    assert!(
        rig.server
            .log()
            .contains("what is sealed beside an entry does not open")
    );

    let check = on_folder(&["replay", "--check"], &data).end();
    assert!(check.prints().contains("0 differences"));
    let verify = on_folder(&["verify"], &data).end();
    assert_eq!(verify.code, Some(4), "{verify:?}");
    let told = "every entry itself is valid. The vault is older than the log";
    assert!(verify.stderr.contains(told), "{verify:?}");
}

/// One alone is not made whole by a new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_or_a_vault_alone_is_not_served() {
    let mut rig = Rig::start().await;
    rig.server.stop().await;
    let data = rig.server.folder().join("data");
    let away = folder();
    for (file, said) in [
        ("vault.db", "no vault beside it: put the vault back"),
        ("log.db", "no log beside it: put the log back"),
    ] {
        fs::rename(data.join(file), away.path().join(file)).expect("moved");
        let refused = rig.server.refused_again().await;
        assert_eq!(refused.status.code(), Some(6));
        let stderr = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(stderr.contains(said), "{stderr}");
        on_folder(&["migrate", "up"], &data).end().fails(6, said);
        let doctor = on_folder(&["doctor"], &data).end();
        assert!(doctor.stdout.contains(said), "{doctor:?}");
        assert!(!doctor.stdout.contains("master key"), "{doctor:?}");
        assert!(!data.join(file).exists(), "nothing was made");
        fs::rename(away.path().join(file), data.join(file)).expect("moved");
    }
    fs::write(
        away.path().join("log.db"),
        fs::read(data.join("log.db")).expect("read"),
    )
    .expect("kept");
    fs::write(data.join("log.db"), "").expect("emptied");
    assert_eq!(rig.server.refused_again().await.status.code(), Some(6));
    fs::rename(away.path().join("log.db"), data.join("log.db")).expect("moved");
    rig.server.start_again().await;
}

/// A restore that was broken off left nothing that passes for a store, and can be run again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_is_whole_or_not_there_and_for_its_owner_alone() {
    let mut rig = Rig::start().await;
    rig.server.stop().await;
    let data = rig.server.folder().join("data");
    let around = folder();
    let [copy, target] = ["copy", "restored"].map(|name| around.path().join(name));
    let [copy_arg, target_arg] =
        [&copy, &target].map(|path| path.to_str().expect("text").to_owned());
    on_folder(&["backup", &copy_arg], &data).end().prints();

    let restore = || Run::new(&["restore", &copy_arg, "--data", &target_arg]).end();
    fs::rename(copy.join("vault.db"), around.path().join("vault.db")).expect("moved");
    restore().fails(6, "vault.db is missing: nothing was restored");
    assert!(!target.exists());
    fs::rename(around.path().join("vault.db"), copy.join("vault.db")).expect("moved");

    fs::create_dir(&target).expect("made");
    for file in ["vault.db.partial", "log.db.partial"] {
        fs::write(target.join(file), "broken off").expect("written");
    }
    restore().prints();
    // As it is when both files were there and only the vault had its name.
    fs::rename(target.join("log.db"), target.join("log.db.partial")).expect("renamed");
    fs::write(target.join("vault.db.partial"), "").expect("written");
    restore().fails(1, "vault.db exists already: nothing was overwritten");
    fs::remove_file(target.join("vault.db.partial")).expect("removed");
    restore().prints();
    fs::copy(data.join("master.key"), target.join("master.key")).expect("copied");
    on_folder(&["verify"], &target).end().prints();
    restore().fails(1, "vault.db exists already: nothing was overwritten");
    on_folder(&["replay"], &target).end().prints();
    #[cfg(unix)]
    for folder in [&target, &copy] {
        use std::os::unix::fs::PermissionsExt;
        for file in fs::read_dir(folder).expect("listed") {
            let file = file.expect("listed");
            let mode = file.metadata().expect("there").permissions().mode();
            assert_eq!(mode & 0o077, 0, "{:?}", file.file_name());
        }
    }
}
