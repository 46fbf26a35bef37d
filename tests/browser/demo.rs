//! `grantlog demo` in the browser of whoever tries it.

use std::process::Stdio;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::accessibility::is_accessible;
use crate::chromium::Chromium;
use crate::rig::{ALLOW, REFUSE, param};
use crate::scripts::{discover, register, request};
use crate::site::Site;

/// A demo that has told its story and serves.
struct Demo {
    mcp_url: String,
    provider: String,
    _process: Child,
    _temporary: TempDir,
}

impl Demo {
    async fn start() -> Self {
        let temporary = TempDir::new().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_grantlog"));
        command.arg("demo").env("TMPDIR", temporary.path());
        command.stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut told = Vec::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            let ends = line.starts_with("Ctrl-C ends it");
            told.push(line);
            if ends {
                break;
            }
        }
        let word_after = |label: &str| {
            let line = told.iter().find_map(|line| line.trim().strip_prefix(label));
            let word = line.and_then(|rest| rest.split_whitespace().next());
            word.unwrap_or_else(|| panic!("no {label}: {told:#?}"))
                .to_owned()
        };
        Self {
            mcp_url: word_after("MCP server"),
            provider: word_after("Provider"),
            _process: process,
            _temporary: temporary,
        }
    }
}

#[tokio::test]
async fn its_login_is_a_page_for_everybody_and_leads_back_to_the_client() {
    let (demo, chromium, site) = tokio::join!(Demo::start(), Chromium::start(), Site::start());
    let redirect_uri = site.at("localhost", "/callback");
    let mut tab = chromium.tab().await;
    tab.open(&site.at("localhost", "/")).await;
    let metadata = discover(&tab, &demo.mcp_url).await;
    let client_id = register(&tab, &metadata, &redirect_uri).await;
    let request = request(&metadata, &demo.mcp_url, &client_id, &redirect_uri);
    for (login, decision, answer) in [("", REFUSE, "error"), ("ada@demo", ALLOW, "code")] {
        tab.open(&request).await;
        tab.click(ALLOW).await;
        tab.loaded(&demo.provider).await;
        is_accessible(&tab).await;
        tab.write("[name=login]", login).await;
        tab.write("[name=password]", "analytical-engine").await;
        tab.click(decision).await;
        param(&tab.loaded(&redirect_uri).await, answer);
        let mut complaints = tab.complaints().await;
        complaints.retain(|complaint| complaint.contains(&demo.provider));
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
}
