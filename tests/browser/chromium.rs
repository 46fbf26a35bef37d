//! A headless Chromium, spoken to over a pipe in the Chrome DevTools Protocol: JSON messages with
//! a NUL behind each. No driver program, no port, and it ends when the pipe closes.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{Mutex, watch};

use crate::tab::Tab;

/// Generous, because a machine that runs every test at once is slow; no wait is ever this long.
const WAITS_AT_MOST: Duration = Duration::from_secs(20);

/// A running Chromium with a profile of its own.
pub struct Chromium {
    link: Arc<Link>,
    _process: Child,
    _profile: TempDir,
}

/// The two ends of the pipe.
pub struct Link {
    stdin: Mutex<ChildStdin>,
    next_id: AtomicU64,
    heard: watch::Sender<Heard>,
}

/// Everything Chromium has said.
#[derive(Default)]
pub struct Heard {
    answers: HashMap<u64, Value>,
    /// In the order in which things happened.
    pub events: Vec<Event>,
    has_ended: bool,
}

/// Something that happened in a tab.
pub struct Event {
    /// The tab's session.
    pub session: String,
    /// `Domain.event`
    pub method: String,
    pub params: Value,
}

impl Chromium {
    pub async fn start() -> Self {
        let profile = TempDir::new().expect("a temporary folder can be made");
        let mut process = command(&profile).spawn().expect("sh runs");
        let stdin = process.stdin.take().expect("standard input is piped");
        let stdout = process.stdout.take().expect("standard output is piped");
        let link = Arc::new(Link {
            stdin: Mutex::new(stdin),
            next_id: AtomicU64::new(1),
            heard: watch::Sender::default(),
        });
        tokio::spawn(listen(stdout, link.clone()));
        let chromium = Self {
            link,
            _process: process,
            _profile: profile,
        };
        chromium
            .link
            .call(None, "Browser.getVersion", json!({}))
            .await;
        chromium
    }

    /// Opens a tab; all of them share their cookies.
    pub async fn tab(&self) -> Tab {
        self.open(json!({})).await
    }

    /// Opens a tab of somebody without any cookies.
    pub async fn stranger(&self) -> Tab {
        let context = self
            .link
            .call(None, "Target.createBrowserContext", json!({}));
        self.open(context.await).await
    }

    /// Each tab has a window of its own, so that it is never in the background.
    async fn open(&self, context: Value) -> Tab {
        let mut blank = context;
        blank["url"] = json!("about:blank");
        blank["newWindow"] = json!(true);
        let target = self.link.call(None, "Target.createTarget", blank).await;
        let target = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = self.link.call(None, "Target.attachToTarget", target).await;
        let session = attached["sessionId"].as_str().expect("a session");
        Tab::attach(self.link.clone(), session).await
    }
}

impl Link {
    /// Sends a command and waits for its result.
    pub async fn call(&self, session: Option<&str>, method: &str, params: Value) -> Value {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let mut message = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = session {
            message["sessionId"] = json!(session);
        }
        let mut line = message.to_string().into_bytes();
        line.push(0);
        let sent = self.stdin.lock().await.write_all(&line).await;
        sent.unwrap_or_else(|error| panic!("no Chromium ({error}): run scripts/test"));
        let answer = self
            .wait(method, |heard| heard.answers.get(&id).cloned())
            .await;
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// Waits until `find` finds something in what Chromium has said.
    pub async fn wait<T>(&self, what: &str, mut find: impl FnMut(&Heard) -> Option<T>) -> T {
        let mut found = None;
        let mut heard = self.heard.subscribe();
        let condition = heard.wait_for(|heard| {
            found = find(heard);
            found.is_some() || heard.has_ended
        });
        let in_time = tokio::time::timeout(WAITS_AT_MOST, condition).await.is_ok();
        found.unwrap_or_else(|| match in_time {
            true => panic!("waiting for {what}, Chromium ended; scripts/test installs it"),
            false => panic!("no {what} after:\n{}", self.heard.borrow().tail()),
        })
    }

    /// Looks at what has been said so far.
    pub fn look<T>(&self, look: impl FnOnce(&Heard) -> T) -> T {
        look(&self.heard.borrow())
    }
}

impl Heard {
    /// The last events, for whoever reads a failure.
    fn tail(&self) -> String {
        let first = self.events.len().saturating_sub(25);
        let events = self.events[first..].iter().map(|event| {
            let params: String = event.params.to_string().chars().take(300).collect();
            format!("{} {params}\n", event.method)
        });
        events.collect()
    }

    fn hear(&mut self, mut message: Value) {
        if let Some(id) = message["id"].as_u64() {
            self.answers.insert(id, message);
        } else {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            self.events.push(Event {
                session: text(&message["sessionId"]),
                method: text(&message["method"]),
                params: message["params"].take(),
            });
        }
    }
}

async fn listen(stdout: ChildStdout, link: Arc<Link>) {
    let mut stdout = BufReader::new(stdout);
    let mut line = Vec::new();
    while stdout.read_until(0, &mut line).await.is_ok_and(|n| n > 0) {
        line.pop();
        let message = serde_json::from_slice(&line).expect("Chromium speaks JSON");
        link.heard.send_modify(|heard| heard.hear(message));
        line.clear();
    }
    link.heard.send_modify(|heard| heard.has_ended = true);
}

/// Chromium, or its twin under another name, reads descriptor 3 and writes descriptor 4.
const START: &str = r#"
for browser in chromium google-chrome chromium-browser; do
  command -v "$browser" >/dev/null && exec "$browser" "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1
done"#;

fn command(profile: &TempDir) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", START, "sh", "--headless", "--remote-debugging-pipe"]);
    command.arg(format!("--user-data-dir={}", profile.path().display()));
    command.args([
        // Pages come from the tests alone, and Chromium's sandbox refuses to run as root.
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--no-proxy-server",
        "--host-resolver-rules=MAP *.example 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, \
         EXCLUDE localhost",
        // A click right after a page has loaded counts.
        "--allow-pre-commit-input",
    ]);
    command.env("LC_ALL", "C.UTF-8");
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    command
}
