//! A move that is broken off, again and again, goes on where it stopped and ends as one that never was.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use domain::id::{GrantId, ProviderId, SubjectId};
use grantlog::clock;
use grantlog::log::{Append, Log, NewEntry, OpenError, Options};
use grantlog::migrations::Unfit;
use grantlog::postgres::{Lease, Postgres};
use grantlog::secret::Secret;
use grantlog::vault::{Identity, MasterKeys, Opened, Scope, UpstreamTokens, Vault, VaultError};
use support::postgres::Database;
use uuid::Uuid;

use super::super::{Run, folder, new_master_key};

const ENTRIES: u64 = 12_345;
const PEOPLE: u128 = 1_500;
/// Who has been erased.
const ERASED: u128 = 700;

/// A store of entries that need not mean anything, and of people with tokens; who they are.
async fn fill(data: &Path, key: &str) -> Vec<SubjectId> {
    let log = Log::open(data, Options { migrate: true }).expect("opened");
    let streams = 45;
    for batch in 0..ENTRIES / streams / 2 + 1 {
        let append = |stream: u64| Append {
            stream: format!("stream-é\0{stream}"),
            expected: batch * 2,
            premises: Vec::new(),
            entries: [None, Some(clock::random::<24>().to_vec())]
                .map(|sealed| NewEntry {
                    entry: clock::random::<200>().to_vec(),
                    sealed,
                })
                .into(),
        };
        let left = (ENTRIES - log.head()) / 2;
        for appended in log
            .append_batch((0..streams.min(left)).map(append).collect())
            .await
        {
            appended.expect("appended");
        }
    }
    let last = Append {
        stream: "last".to_owned(),
        expected: 0,
        premises: Vec::new(),
        entries: vec![NewEntry {
            entry: vec![0],
            sealed: Some(vec![]),
        }],
    };
    log.append(last).await.expect("appended");
    assert_eq!(log.head(), ENTRIES);
    log.close().await;
    let vault = open_vault(data, key);
    let people: Vec<_> = (0..PEOPLE)
        .map(|n| tokio::spawn(log_in(vault.clone(), n)))
        .collect();
    let mut subjects = Vec::new();
    for person in people {
        subjects.push(person.await.expect("joined"));
    }
    let erased = subjects[ERASED as usize];
    assert!(vault.destroy(erased, clock::now()).await.expect("erased"));
    subjects
}

fn open_vault(data: &Path, key: &str) -> Vault {
    let keys = MasterKeys::parse(key).expect("a key");
    Vault::open(&data.join("vault.db"), keys, true, clock::now()).expect("opened")
}

async fn log_in(vault: Vault, n: u128) -> SubjectId {
    let sub = n.to_string();
    let identity = Identity {
        provider: ProviderId(1),
        issuer: "https://idp.example",
        sub: &sub,
    };
    let tokens = UpstreamTokens {
        access_token: Secret::new(&sub),
        refresh_token: None,
        expires_at: None,
        refresh_expires_at: None,
        origin: None,
    };
    let grant = GrantId(Uuid::from_u128(n));
    vault
        .record_login(identity, grant, &tokens, clock::now())
        .await
        .expect("recorded")
}

struct Place<'a> {
    data: &'a Path,
    key: &'a str,
    database: &'a Database,
    store: Postgres,
}

impl Place<'_> {
    fn arguments(&self) -> [String; 5] {
        let from = format!("sqlite://{}", self.data.display());
        ["move", "--from", &from, "--to", &self.database.url()].map(str::to_owned)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_grantlog"));
        command.args(self.arguments()).env_clear();
        command.env("GRANTLOG_KEYS__MASTER_KEY", self.key);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    fn start(&self) -> Child {
        self.command().spawn().expect("it starts")
    }

    fn lease(&self) -> Lease {
        self.store
            .block_on(self.store.lease())
            .expect("a connection")
    }

    fn run(&self, lease: &Lease, sql: &str) {
        self.store.block_on(lease.batch_execute(sql)).expect(sql);
    }

    /// Waits until so many entries are there, and keeps more from coming.
    fn stop_at(&self, entries: i64) -> Lease {
        let (lease, deadline) = (self.lease(), deadline());
        while self
            .database
            .run("SELECT to_regclass('grantlog_log.log_head') IS NULL")
            == "t"
        {
            assert!(Instant::now() < deadline, "there is no log yet");
        }
        loop {
            let take = "SELECT next FROM grantlog_log.log_head FOR UPDATE";
            self.run(&lease, "BEGIN");
            let row = self
                .store
                .block_on(lease.query_typed_opt(take, &[]))
                .expect(take);
            if row.is_some_and(|row| row.get::<_, i64>(0) >= entries) {
                return lease;
            }
            self.run(&lease, "COMMIT");
            assert!(Instant::now() < deadline, "the entries do not come");
        }
    }

    /// Waits until somebody waits for what is held.
    fn wait_for_waiting(&self) {
        let waits = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let deadline = deadline();
        while self.database.run(waits) == "0" {
            assert!(Instant::now() < deadline, "nobody waits");
        }
    }

    /// No program takes the part for the whole.
    fn is_unfinished(&self) {
        let opened = Log::open_postgres(&self.database.url(), Options { migrate: true });
        assert!(matches!(opened, Err(OpenError::Schema(Unfit::Unfinished))));
        let verify = Run::new(&["verify"]).inside(self.data);
        verify
            .on(self.database, self.key)
            .end()
            .fails(6, "has not come to its end: run `grantlog move` again");
    }
}

fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

fn end(mut moving: Child, signal: &str) {
    let id = moving.id().to_string();
    let sent = Command::new("kill").args([signal, &id]).status();
    assert!(sent.expect("kill runs").success());
    assert_eq!(
        moving.wait().expect("it ends").code(),
        None,
        "ended by the signal"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_is_broken_off_goes_on() {
    let (folder, database, key) = (folder(), Database::create(), new_master_key());
    let data = folder.path().join("data");
    let subjects = fill(&data, &key).await;
    let before = fs::read(data.join("log.db")).expect("read");
    let store = Postgres::new(&database.url(), 2).expect("a URL");
    let place = Place {
        data: &data,
        key: &key,
        database: &database,
        store,
    };
    // In the middle of a step: nothing of it has been committed, or all of it.
    for (entries, signal) in [
        (0, "-KILL"),
        (1000, "-INT"),
        (5000, "-KILL"),
        (12_000, "-TERM"),
    ] {
        let moving = place.start();
        let held = place.stop_at(entries);
        end(moving, signal);
        place.run(&held, "COMMIT");
        place.is_unfinished();
    }
    assert!(!data.join("moved.txt").exists(), "the folder may be served");
    // After everything has been compared: the folder is no longer served, and the database not yet.
    let held = place.lease();
    place.run(
        &held,
        "BEGIN; LOCK TABLE grantlog_log.migrations IN SHARE MODE",
    );
    let moving = place.start();
    place.wait_for_waiting();
    end(moving, "-KILL");
    place.run(&held, "COMMIT");
    place.is_unfinished();
    let folder_is_served = Log::open(&data, Options { migrate: true });
    assert!(matches!(folder_is_served, Err(OpenError::Moved(_))));
    // While the vault is carried once more; whatever happened to it meanwhile is replaced.
    database.run("UPDATE grantlog_vault.data_key SET created_at = 5");
    place.run(&held, "BEGIN; LOCK TABLE grantlog_vault.secret");
    let moving = place.start();
    place.wait_for_waiting();
    end(moving, "-KILL");
    place.run(&held, "COMMIT");
    place.is_unfinished();
    let rows = "SELECT count(*) FROM grantlog_vault.data_key WHERE created_at = 5";
    assert_eq!(
        database.run(rows),
        (PEOPLE + 3).to_string(),
        "all of it or nothing"
    );

    let arguments = place.arguments();
    let arguments: Vec<&str> = arguments
        .iter()
        .map(String::as_str)
        .chain(["--json"])
        .collect();
    let ended = Run::new(&arguments)
        .with("GRANTLOG_KEYS__MASTER_KEY", &key)
        .end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let said: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(
        (&said["entries"], &said["carried"]),
        (&ENTRIES.into(), &0.into())
    );
    assert!(data.join("moved.txt").exists());
    assert_eq!(fs::read(data.join("log.db")).expect("read"), before);
    arrived(&data, &database, &key, &subjects).await;
}

/// On a terminal a bar, elsewhere a line after each five seconds, of which the next step tells.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_tells_how_far_it_has_come() {
    let (folder, database, key) = (folder(), Database::create(), new_master_key());
    let data = folder.path().join("data");
    fill(&data, &key).await;
    let store = Postgres::new(&database.url(), 1).expect("a URL");
    let place = Place {
        data: &data,
        key: &key,
        database: &database,
        store,
    };
    let mut moving = place.command();
    let moving = moving.stderr(Stdio::piped()).spawn().expect("it starts");
    let held = place.stop_at(1000);
    std::thread::sleep(Duration::from_secs(5));
    place.run(&held, "COMMIT");
    let moved = moving.wait_with_output().expect("it ends");
    let said = String::from_utf8(moved.stderr).expect("text");
    let step = said
        .lines()
        .find_map(|line| line.strip_prefix("Moving entries "));
    let step = step.and_then(|step| step.strip_suffix(&format!("000/{ENTRIES}")));
    assert!(moved.status.success() && step.is_some(), "{said}");

    // It is compared once more.
    let mut terminal = Command::new("python3");
    let spawn = "import pty, sys; pty.spawn(sys.argv[1:])";
    terminal.args(["-c", spawn, env!("CARGO_BIN_EXE_grantlog")]);
    terminal.args(place.arguments()).stdin(Stdio::null());
    terminal.env("GRANTLOG_KEYS__MASTER_KEY", &key);
    let shown = terminal.output().expect("these tests need python3");
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    let bar = "Comparing entries 1,000/12,345 \u{2595}";
    assert!(shown.contains(bar), "{shown}");
}

/// Everything is there, told by reading it and not by what the program says.
async fn arrived(data: &Path, database: &Database, key: &str, subjects: &[SubjectId]) {
    let here = Log::open_read_only(data).expect("opened");
    let there = Log::open_postgres(&database.url(), Options { migrate: false }).expect("opened");
    for from in (0..=ENTRIES).step_by(2000) {
        let (here, there) = (
            here.read_after(from, 2000).await,
            there.read_after(from, 2000).await,
        );
        assert!(
            here.expect("read") == there.expect("read"),
            "other entries after {from}"
        );
    }
    let connections = Postgres::new(&database.url(), 2).expect("a URL");
    let keys = MasterKeys::parse(key).expect("a key");
    let vault = Vault::open_postgres(connections, keys, false, clock::now()).expect("opened");
    let kid = |vault: &Vault| {
        vault
            .signing_keys()
            .infos()
            .next()
            .expect("a key")
            .kid
            .clone()
    };
    assert_eq!(kid(&vault), kid(&open_vault(data, key)));
    for (n, subject) in (0..).zip(subjects) {
        let scope = Scope::Subject(*subject);
        vault
            .load(scope)
            .await
            .expect("a key, or that it was destroyed");
        let tokens = vault
            .upstream(GrantId(Uuid::from_u128(n)))
            .await
            .expect("read");
        if n == ERASED {
            assert!(tokens.is_none());
            assert!(matches!(
                vault.seal(scope, b"", b"x"),
                Err(VaultError::Erased(_))
            ));
            continue;
        }
        assert_eq!(
            tokens.expect("there").tokens.access_token.expose(),
            n.to_string()
        );
        assert_eq!(log_in(vault.clone(), n).await, *subject, "the same person");
        let sealed = vault.seal(scope, b"", b"x").expect("sealed");
        let opened = vault.open_sealed(scope, b"", &sealed).expect("opened");
        assert!(matches!(opened, Opened::Plain(_)));
    }
}
