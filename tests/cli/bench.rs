//! The program measures itself; here only that it does, with numbers too small to mean anything.

use serde_json::Value;
use support::postgres::Database;

use super::{Run, folder};

const SMALL: [&str; 8] = [
    "--seconds",
    "0.1",
    "--rounds",
    "1",
    "--connections",
    "2",
    "--streams",
    "3",
];

fn bench(more: &[&str]) -> Run {
    Run::new(&[&["bench"][..], &SMALL, more].concat())
}

#[test]
fn everything_is_measured_and_nothing_is_left_behind() {
    let folder = folder();
    let ended = bench(&["--json"]).inside(folder.path()).end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let report: Value = serde_json::from_str(&ended.stdout).expect("one document");
    let conditions = &report["conditions"];
    assert_eq!(conditions["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        (&conditions["rounds"], &conditions["connections"]),
        (&1.into(), &2.into())
    );
    assert!(conditions["placement"].is_string() && conditions["machine"].is_string());
    let names = |member: &str| -> Vec<String> {
        let items = report[member].as_array().expect("a list");
        let name = |item: &Value| item["name"].as_str().expect("a name").to_owned();
        items.iter().map(name).collect()
    };
    let rows = [
        "bare",
        "refresh",
        "redeem",
        "register",
        "introspect",
        "flow",
        "bare-proxy",
        "tools-list",
        "upstream-alone",
        "bare-proxy-alone",
        "tools-list-alone",
    ];
    assert_eq!(names("rows"), rows);
    for row in report["rows"].as_array().expect("a list") {
        assert!(row["per_second"].as_u64() > Some(0), "{row}");
        assert!(row["p50_ms"].as_f64() <= row["p99_ms"].as_f64(), "{row}");
        let is_alone = row["connections"] == 1;
        assert_eq!(row["of_bare"].is_null(), is_alone, "{row}");
    }
    let figures = names("figures");
    for name in [
        "start_empty",
        "start_full",
        "log_per_grant",
        "gateway_added",
        "stream_events",
    ] {
        assert!(figures.iter().any(|figure| figure == name), "{figures:?}");
    }
    if cfg!(target_os = "linux") {
        for name in ["memory_idle", "memory_highest", "streams_memory_after"] {
            assert!(figures.iter().any(|figure| figure == name), "{figures:?}");
        }
    }
    let left = std::fs::read_dir(folder.path()).expect("a folder");
    assert_eq!(left.count(), 0);
}

#[test]
fn a_kind_alone_is_measured_beside_what_it_is_compared_with() {
    let folder = folder();
    let ended = bench(&["refresh"]).inside(folder.path()).end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let titles: Vec<_> = ended
        .stdout
        .lines()
        .filter_map(|line| line.split('\t').next())
        .collect();
    assert_eq!(titles[..2], ["bare endpoint, nothing kept", "refresh"]);
    assert!(
        ended.stderr.contains("client and server share the machine"),
        "{ended:?}"
    );
    let ended = bench(&[
        "introspect",
        "--entries",
        "3000",
        "--grants",
        "1",
        "--markdown",
    ])
    .inside(folder.path())
    .end();
    assert!(ended.stdout.contains("\n| introspect | "), "{ended:?}");
    assert!(
        ended.stdout.contains("embedded, 3,000 entries before"),
        "{ended:?}"
    );
}

#[test]
fn a_long_log_is_there_when_the_server_starts() {
    let folder = folder();
    let ended = bench(&["refresh", "start", "--entries", "3000", "--json"])
        .inside(folder.path())
        .end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let report: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let figures = report["figures"].as_array().expect("a list");
    let full = figures.iter().find(|it| it["name"] == "start_full");
    let title = full.and_then(|it| it["title"].as_str()).expect("a title");
    let digits: String = title.chars().filter(char::is_ascii_digit).collect();
    assert!(digits.parse::<u64>().expect("a number") > 3000, "{title}");
}

#[test]
fn what_cannot_be_measured_is_said() {
    for arguments in [
        &["bench", "tokens"][..],
        &["bench", "--seconds", "0"],
        &["bench", "--seconds", "soon"],
        &["bench", "--connections", "0"],
        &["bench", "--rounds", "0"],
        &["bench", "--entries", "9", "--database", "postgres://h/d"],
        &["bench", "--markdown", "--json"],
    ] {
        Run::new(arguments).end().fails(2, "error: ");
    }
    let ended = Run::new(&["bench", "tokens"]).end();
    ended.fails(2, "possible values: refresh, redeem, register");
    let ended = bench(&["refresh", "--dir", "no/such/folder"]).end();
    ended.fails(1, "the system refused a port, a process or a folder");
    let ended = Run::new(&["bench", "--help"]).end();
    let help = ended.prints().split_whitespace().collect::<Vec<_>>();
    let help = help.join(" ");
    for word in [
        "--seconds",
        "--connections",
        "--rounds",
        "--streams",
        "--entries",
        "--grants",
        "tools-list",
        "of bare",
    ] {
        assert!(help.contains(word), "{word}");
    }
    assert!(!help.contains("--bare"), "{help}");
}

#[test]
fn a_shared_store_is_measured_with_several_nodes_and_only_if_it_is_empty() {
    let (folder, database) = (folder(), Database::create());
    let url = database.url();
    let shared = ["refresh", "--json", "--nodes", "2", "--database", &url];
    let ended = bench(&shared).inside(folder.path()).end();
    let report: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let store = report["conditions"]["store"].as_str();
    assert!(store.is_some_and(|it| it.starts_with("PostgreSQL, 2 nodes")));
    assert_eq!(report["rows"][1]["name"], "refresh");
    let before = database.run("SELECT count(*) FROM grantlog_log.entries");
    let again = bench(&shared).inside(folder.path()).end();
    again.fails(1, "not empty");
    let after = database.run("SELECT count(*) FROM grantlog_log.entries");
    assert_eq!(before, after);
}
