//! The real peers: programs under `tests/interop`, started and stopped with the test.
//!
//! `scripts/test` installs what they need. Where it has not run, starting one fails the test and
//! says so: a skipped interoperability test proves nothing.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

const READY_WITHIN: Duration = Duration::from_secs(30);
const RUNS_AT_MOST: Duration = Duration::from_secs(60);

/// A running OpenID provider (npm `oidc-provider`). Every login name exists; the e-mail address is
/// `<name>@example.com`, unverified where the name begins with `unverified`.
#[derive(Debug)]
pub struct Provider {
    _child: Child,
    /// Its issuer.
    pub issuer: String,
    /// The id Grantlog has there.
    pub client_id: String,
    /// The secret Grantlog has there.
    pub client_secret: String,
}

/// A running MCP server (official TypeScript SDK) with the tools `add`, `echo`, `count` and
/// `seen_headers`.
#[derive(Debug)]
pub struct McpServer {
    _child: Child,
    /// Its MCP endpoint.
    pub url: String,
}

/// What a client program did.
#[derive(Debug)]
pub struct Run {
    /// Its steps, one JSON object each.
    pub steps: Vec<Value>,
}

impl Provider {
    /// Starts a provider that returns browsers to `redirect_uris` only.
    pub async fn start(redirect_uris: &[&str]) -> Self {
        let mut command = node("provider.mjs");
        command.env("REDIRECT_URIS", redirect_uris.join(" "));
        let (child, ready) = start(command).await;
        let member = |name: &str| {
            ready[name]
                .as_str()
                .expect("the provider says who it is")
                .to_owned()
        };
        Self {
            _child: child,
            issuer: member("issuer"),
            client_id: member("client_id"),
            client_secret: member("client_secret"),
        }
    }
}

impl McpServer {
    /// Starts an MCP server.
    pub async fn start() -> Self {
        let (child, ready) = start(node("mcp-server.mjs")).await;
        let url = ready["url"]
            .as_str()
            .expect("the MCP server says where it is")
            .to_owned();
        Self { _child: child, url }
    }
}

impl Run {
    /// The step of this name; panics with all steps if it was not taken.
    #[track_caller]
    pub fn step(&self, name: &str) -> &Value {
        let step = self.steps.iter().find(|step| step["step"] == name);
        step.unwrap_or_else(|| panic!("no step {name} in {:#?}", self.steps))
    }
}

/// Runs a JavaScript program of `tests/interop` to its end; it must succeed.
pub async fn run_node(program: &str, args: &[&str]) -> Run {
    let mut command = node(program);
    command.args(args);
    run(program, command).await
}

/// Runs a Python program of `tests/interop` to its end; it must succeed.
pub async fn run_python(program: &str, args: &[&str]) -> Run {
    let python = installed(".venv/bin/python");
    let mut command = command(&python);
    command
        .arg(folder().join(program))
        .args(args)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    run(program, command).await
}

async fn run(program: &str, mut command: Command) -> Run {
    let output = tokio::time::timeout(RUNS_AT_MOST, command.output()).await;
    let output = output.unwrap_or_else(|_| panic!("{program} still runs after {RUNS_AT_MOST:?}"));
    let output = output.unwrap_or_else(|error| panic!("{program} does not start: {error}"));
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{program} failed:\n{stdout}\n{stderr}"
    );
    let steps = stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("a step is a JSON line"));
    Run {
        steps: steps.collect(),
    }
}

/// Starts a program and waits for the JSON line it prints when it is ready.
async fn start(mut command: Command) -> (Child, Value) {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?} does not start ({error}); run scripts/test"));
    let stdout = child.stdout.take().expect("standard output is piped");
    let mut lines = BufReader::new(stdout).lines();
    let line = tokio::time::timeout(READY_WITHIN, lines.next_line()).await;
    let line = line.unwrap_or_else(|_| panic!("{command:?} is not ready after {READY_WITHIN:?}"));
    let line = line.expect("standard output is text");
    let line = line.unwrap_or_else(|| panic!("{command:?} ended before it was ready"));
    let ready = serde_json::from_str(&line).expect("the ready line is JSON");
    (child, ready)
}

fn node(program: &str) -> Command {
    installed("node_modules");
    let local = folder().join(".venv/bin/node");
    let mut command = command(if local.exists() {
        &local
    } else {
        Path::new("node")
    });
    command.arg(folder().join(program));
    command
}

fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(folder())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
        .env("NO_PROXY", "127.0.0.1,localhost")
        .env("NODE_NO_WARNINGS", "1");
    command
}

fn installed(path: &str) -> PathBuf {
    let path = folder().join(path);
    assert!(
        path.exists(),
        "{} is not there: run scripts/test, which installs it",
        path.display()
    );
    path
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("interop")
}
