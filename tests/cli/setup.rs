//! Configuration and the first steps.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use super::rig::Rig;
use super::{Run, folder, set_mode};

#[test]
fn bad_configuration_ends_with_8_and_names_its_place() {
    for (text, reason) in [
        (
            "[server]\nlistne = '127.0.0.1:1'\n",
            "unknown key `server.listne`, did you mean `server.listen`? (grantlog.toml:2:1)",
        ),
        ("[server\n", "not valid TOML"),
        (
            "[server]\npublic_url = 'http://auth.example.com'\n",
            "`server.public_url`: expected an https URL",
        ),
        (
            "[admin]\nbootstrap_token = 'hunter2'\n",
            "expected at least 32 random characters, found 7 characters",
        ),
        (
            "[store]\ndatabase_url = 'postgres://u:hunter2@db/g'\n",
            "`keys.master_key` is missing",
        ),
        (
            "[store]\ndatabase_url = 'postgres://u:hunter2@db:99999/g'\n",
            "`store.database_url`: expected a URL that begins with postgres://, found one that cannot be used: invalid value for option `port`",
        ),
        (
            "[store]\ndatabase_url = 'postgres://u:hunter2@db/g?sslmoed=disable'\n",
            "found one that cannot be used: one of its parameters is not known",
        ),
        (
            "[store]\ndatabase_url = 'postgres://u:hunter2@db/g?sslmode=prefer'\n",
            "found one that cannot be used: sslmode is not disable, require or verify-full",
        ),
    ] {
        let folder = folder();
        fs::write(folder.path().join("grantlog.toml"), text).expect("written");
        for command in ["serve", "doctor", "verify", "replay"] {
            let ended = Run::new(&[command]).inside(folder.path()).end();
            // long lines are wrapped
            let stderr = ended
                .stderr
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ");
            assert_eq!(ended.code, Some(8), "{command} {ended:?}");
            assert!(
                stderr.replace("| ", "").contains(reason),
                "{command} {ended:?}"
            );
            assert!(!stderr.contains("hunter2"), "{ended:?}");
        }
        let left: Vec<_> = fs::read_dir(folder.path()).expect("readable").collect();
        assert_eq!(left.len(), 1, "nothing was made");
    }
}

#[test]
fn the_file_is_the_named_one_or_that_of_the_environment() {
    let folder = folder();
    fs::write(folder.path().join("other.toml"), "nonsense = 1\n").expect("written");
    let named = Run::new(&["doctor", "--config", "other.toml"]);
    named
        .inside(folder.path())
        .end()
        .fails(8, "unknown key `nonsense`");
    let variable = Run::new(&["doctor"]).with("GRANTLOG_CONFIG", "other.toml");
    variable
        .inside(folder.path())
        .end()
        .fails(8, "(other.toml:1:1)");
    let nowhere = Run::new(&["doctor", "--config", "nowhere.toml"]);
    nowhere
        .inside(folder.path())
        .end()
        .fails(8, "cannot read nowhere.toml");
    let variable = Run::new(&["doctor"]).with("GRANTLOG_SERVER__LISTN", "x");
    variable
        .inside(folder.path())
        .end()
        .fails(8, "GRANTLOG_SERVER__LISTEN");
}

#[test]
fn init_overwrites_nothing() {
    let folder = folder();
    let file = folder.path().join("grantlog.toml");
    fs::write(&file, "# mine\n").expect("written");
    let ended = Run::new(&["init"]).inside(folder.path()).end();
    ended.fails(1, "grantlog.toml exists already: nothing was overwritten");
    assert_eq!(fs::read_to_string(&file).expect("still there"), "# mine\n");
    assert!(!folder.path().join("grantlog-data").exists());

    let data = folder.path().join("data");
    fs::create_dir(&data).expect("made");
    fs::write(data.join("log.db"), "mine").expect("written");
    let arguments = ["init", "--config", "new.toml", "--data", "data"];
    let ended = Run::new(&arguments).inside(folder.path()).end();
    ended.fails(1, "data is not empty: nothing was overwritten");
    assert!(
        !folder.path().join("new.toml").exists(),
        "nothing is left behind"
    );
    assert_eq!(
        fs::read_to_string(data.join("log.db")).expect("still there"),
        "mine"
    );
}

#[test]
fn init_refuses_what_could_not_be_served() {
    let folder = folder();
    let arguments = ["init", "--public-url", "http://auth.example.com"];
    let ended = Run::new(&arguments).inside(folder.path()).end();
    assert_eq!(ended.code, Some(8), "{ended:?}");
    assert!(!folder.path().join("grantlog.toml").exists());
}

#[test]
fn doctor_prints_a_line_a_check_with_its_fix() {
    let folder = folder();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port();
    let text = format!(
        "[server]\nlisten = '127.0.0.1:{port}'\n[gateway]\nlisten = '127.0.0.1:0'\n[ops]\nlisten = '192.0.2.1:80'\n"
    );
    fs::write(folder.path().join("grantlog.toml"), text).expect("written");
    drop(fs::create_dir(folder.path().join("grantlog-data")));
    let ended = Run::new(&["doctor"]).inside(folder.path()).end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("checks failed"), "{ended:?}");
    let line = |check: &str| {
        let mut lines = ended.stdout.lines();
        lines
            .find(|line| line.split('\t').nth(1) == Some(check))
            .unwrap_or_default()
    };
    assert!(line("configuration").starts_with("ok\t"), "{ended:?}");
    assert!(line("server.listen").starts_with("warning\t"), "{ended:?}");
    assert!(line("gateway.listen").starts_with("ok\t"), "{ended:?}");
    assert!(
        line("ops.listen").ends_with("\tchoose an address of this machine"),
        "{ended:?}"
    );
    for line in ended.stdout.lines() {
        let cells: Vec<_> = line.split('\t').collect();
        assert!(cells[0] == "ok" || !cells[3].is_empty(), "no fix: {line}");
    }
}

/// What `doctor` finds in a folder, by check: its status and what it found.
fn examined(folder: &Path) -> HashMap<String, (String, String)> {
    let ended = Run::new(&["doctor"]).inside(folder).end();
    let lines = ended.stdout.lines().map(|line| {
        let cells: Vec<_> = line.split('\t').map(str::to_owned).collect();
        (cells[1].clone(), (cells[0].clone(), cells[2].clone()))
    });
    lines.collect()
}

/// Declared, or in the store: what `serve` would take passes, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_knows_the_providers_that_serve_would() {
    let mut rig = Rig::start().await;
    rig.server.stop().await;
    let folder = rig.server.folder();
    let declare = |provider: &str| {
        let text = format!(
            "[store]\ndata_dir = 'data'\n[ops]\nlisten = '127.0.0.1:0'\n\
             [[provider]]\nname = 'company'\ntype = 'oidc'\nissuer = 'http://127.0.0.1:9'\nclient_id = 'us'\nclient_secret = 'hush'\n\
             [[proxy]]\nname = 'docs'\nupstream_url = 'http://127.0.0.1:9/mcp'\n{provider}\n"
        );
        fs::write(folder.join("grantlog.toml"), text).expect("written");
    };
    let by_number = |number: u32| format!("config = {{ oauth_proxy_provider_id = {number} }}");
    for (provider, found) in [
        ("provider = 'company'".to_owned(), None),
        ("provider = 'fake'".to_owned(), None),
        (by_number(1), None),
        (by_number(2), None),
        (by_number(3), Some("there is no provider 3")),
        (
            "provider = 'compny'".to_owned(),
            Some("unknown provider \"compny\", did you mean \"company\"?"),
        ),
        (
            "provider = 'okta'".to_owned(),
            Some("unknown provider \"okta\""),
        ),
    ] {
        declare(&provider);
        let expected = found.map(|found| ("failed".to_owned(), found.to_owned()));
        let checks = examined(folder);
        assert_eq!(
            checks.get("provider of docs"),
            expected.as_ref(),
            "{provider}"
        );
    }
    fs::remove_dir_all(folder.join("data")).expect("removed");
    declare("provider = 'fake'");
    assert!(examined(folder).contains_key("provider of docs"));
}

#[test]
fn doctor_warns_of_secrets_that_others_may_read() {
    let folder = folder();
    let secret = folder.path().join("client-secret");
    fs::write(&secret, "hush").expect("written");
    let text = "[[provider]]\nname = 'company'\ntype = 'oidc'\nissuer = 'http://127.0.0.1:9'\n\
        client_id = 'us'\nclient_secret_file = 'client-secret'\n";
    fs::write(folder.path().join("grantlog.toml"), text).expect("written");
    for (mode, is_told) in [(0o640, true), (0o604, true), (0o600, false)] {
        set_mode(&secret, mode);
        let checks = examined(folder.path());
        let expected = format!("client-secret has mode {mode:04o}: others may read it");
        let expected = is_told.then_some(("warning".to_owned(), expected));
        assert_eq!(checks.get("secret file"), expected.as_ref());
    }
    let data = folder.path().join("grantlog-data");
    fs::create_dir(&data).expect("made");
    for (mode, status) in [(0o750, "warning"), (0o700, "ok")] {
        set_mode(&data, mode);
        assert_eq!(examined(folder.path())["store.data_dir"].0, status);
    }
}
