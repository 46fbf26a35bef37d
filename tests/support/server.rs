//! The server under test: the real binary, alone in a temporary folder, on free loopback ports.

mod process;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::answer::Answer;
use crate::interop::Provider;
use crate::oauth::{Proxy, send};

/// The first operator's token of every server under test.
const ADMIN_TOKEN: &str = "bootstrap-k7Qm2Zr9Xw4Tn8Vb1Lc6Jd3Hf5Gs0PyA";
const READY_WITHIN: Duration = Duration::from_secs(30);
const POLL_EVERY: Duration = Duration::from_millis(20);

/// A running `grantlog serve`. Killed when dropped; its log is shown if the test failed.
#[derive(Debug)]
pub struct Server {
    child: Child,
    setup: Setup,
    folder: TempDir,
    http: reqwest::Client,
    /// The authorization server's origin.
    pub url: String,
    /// The gateway's origin.
    pub gateway_url: String,
    /// The origin of metrics and health.
    pub ops_url: String,
    /// The first operator's token; role `admin`.
    pub admin_token: String,
}

/// What a test wants different from a plain server.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    env: Vec<(String, String)>,
    config: Option<String>,
    disk_can_fill: bool,
}

impl Setup {
    /// Sets an environment variable of the server.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Gives the server a configuration file (TOML).
    #[must_use]
    pub fn config(mut self, toml: &str) -> Self {
        self.config = Some(toml.to_owned());
        self
    }

    /// Lets the test fill the server's disk, see [`Server::fill_disk`].
    #[must_use]
    pub fn disk_can_fill(mut self) -> Self {
        self.disk_can_fill = true;
        self
    }

    /// Starts the server and waits until it is ready.
    pub async fn start(self) -> Server {
        let folder = TempDir::new().expect("a temporary folder can be made");
        if let Some(toml) = &self.config {
            fs::write(folder.path().join("grantlog.toml"), toml).expect("the folder is writable");
        }
        let [server, gateway, ops] = free_ports().map(|port| format!("127.0.0.1:{port}"));
        let defaults = [
            ("GRANTLOG_SERVER__LISTEN", server.clone()),
            ("GRANTLOG_SERVER__PUBLIC_URL", format!("http://{server}")),
            ("GRANTLOG_GATEWAY__LISTEN", gateway.clone()),
            ("GRANTLOG_GATEWAY__PUBLIC_URL", format!("http://{gateway}")),
            ("GRANTLOG_OPS__LISTEN", ops.clone()),
            (
                "GRANTLOG_STORE__DATA_DIR",
                folder.path().join("data").display().to_string(),
            ),
            ("GRANTLOG_ADMIN__BOOTSTRAP_TOKEN", ADMIN_TOKEN.to_owned()),
            ("GRANTLOG_LIMITS__REGISTRATIONS_PER_MINUTE", "0".to_owned()),
            ("GRANTLOG_LIMITS__AUTHORIZATIONS_PER_MINUTE", "0".to_owned()),
            ("GRANTLOG_LIMITS__TOKENS_PER_MINUTE", "0".to_owned()),
        ];
        let env = defaults.map(|(name, value)| (name.to_owned(), value));
        let setup = Self {
            env: env.into_iter().chain(self.env).collect(),
            ..self
        };
        let mut server = Server {
            child: setup.serve(folder.path()),
            setup,
            folder,
            http: build(loopback_client()),
            url: format!("http://{server}"),
            gateway_url: format!("http://{gateway}"),
            ops_url: format!("http://{ops}"),
            admin_token: ADMIN_TOKEN.to_owned(),
        };
        server.wait_until_ready().await;
        server
    }

    /// Runs `serve` until it ends by itself; for configurations it must refuse.
    pub async fn refused(self) -> Output {
        self.run(&["serve"]).await
    }

    /// Runs a command with this configuration, in a folder of its own.
    pub async fn run(self, args: &[&str]) -> Output {
        let folder = TempDir::new().expect("a temporary folder can be made");
        if let Some(toml) = &self.config {
            fs::write(folder.path().join("grantlog.toml"), toml).expect("the folder is writable");
        }
        self.until_it_ends(folder.path(), args).await
    }

    async fn until_it_ends(&self, folder: &Path, args: &[&str]) -> Output {
        let output = tokio::time::timeout(READY_WITHIN, self.command(folder, args).output()).await;
        output.expect("the server ends").expect("the server runs")
    }

    fn serve(&self, folder: &Path) -> Child {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(log_path(folder));
        let log = log.expect("the folder is writable");
        let mut command = self.command(folder, &["serve"]);
        command
            .stdout(log.try_clone().expect("a file handle can be cloned"))
            .stderr(log);
        command.spawn().expect("the server runs")
    }

    fn command(&self, folder: &Path, args: &[&str]) -> Command {
        let mut command = if self.disk_can_fill {
            // Without its signal, a file that may not grow is a write that fails.
            let mut shell = clean("sh".as_ref(), folder);
            shell
                .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
                .arg(binary());
            shell
        } else {
            grantlog(folder)
        };
        command.args(args);
        if self.config.is_some() {
            command.args(["--config", "grantlog.toml"]);
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }
}

impl Server {
    /// A server as it comes, without rate limits.
    pub async fn start() -> Self {
        Setup::default().start().await
    }

    /// A server that differs from the plain one.
    pub fn setup() -> Setup {
        Setup::default()
    }

    /// Sets an environment variable for its next start.
    pub fn set_env(&mut self, name: &str, value: &str) {
        let variable = (name.to_owned(), value.to_owned());
        self.setup.env.push(variable);
    }

    /// Runs it on the same data until it ends by itself; for what it must refuse.
    pub async fn refused_again(&self) -> Output {
        self.setup
            .until_it_ends(self.folder.path(), &["serve"])
            .await
    }

    /// Its temporary folder; the data folder is `data` in it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Everything it has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(log_path(self.folder.path())).unwrap_or_default()
    }

    /// Sends an administration request as the first operator.
    pub async fn admin(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let request = self.http.request(method, format!("{}{path}", self.url));
        let request = request.bearer_auth(&self.admin_token);
        send(match body {
            Some(body) => request.json(body),
            None => request,
        })
        .await
    }

    /// `GET`s an administration resource.
    pub async fn get(&self, path: &str) -> Answer {
        self.admin(Method::GET, path, None).await
    }

    /// `POST`s to an administration resource.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.admin(Method::POST, path, Some(body)).await
    }

    /// `PATCH`es an administration resource.
    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.admin(Method::PATCH, path, Some(body)).await
    }

    /// `DELETE`s an administration resource.
    pub async fn delete(&self, path: &str) -> Answer {
        self.admin(Method::DELETE, path, None).await
    }

    /// The callback URL a provider must know before it can be added under this id.
    pub fn callback_url(&self, provider_id: u64) -> String {
        format!("{}/api/v1/oauth/callback/{provider_id}", self.url)
    }

    /// Adds a provider; its id.
    pub async fn add_provider(&self, provider: &Value) -> u64 {
        let added = self
            .post("/api/v1/providers", provider)
            .await
            .expect(201)
            .json();
        added["id"].as_u64().expect("a provider has an id")
    }

    /// Adds the real provider, by discovery; its id.
    pub async fn add_oidc(&self, provider: &Provider) -> u64 {
        let settings = json!({
            "name": "interop",
            "type": "oidc",
            "issuer": provider.issuer,
            "client_id": provider.client_id,
            "client_secret": provider.client_secret,
            "scopes": "openid email offline_access read write",
        });
        self.add_provider(&settings).await
    }

    /// Adds a proxy in front of `upstream_url`; `config` holds the `oauth_proxy_*` members beyond
    /// `oauth_proxy_enabled` and `oauth_proxy_mode`.
    pub async fn add_proxy(&self, upstream_url: &str, mut config: Value) -> Proxy {
        config["oauth_proxy_enabled"] = json!(true);
        config["oauth_proxy_mode"] = json!("gateway");
        let proxy = json!({ "name": "interop", "upstream_url": upstream_url, "config": config });
        let added = self
            .post("/api/v1/proxies", &proxy)
            .await
            .expect(201)
            .json();
        let member = |name: &str| {
            added[name]
                .as_str()
                .expect("a proxy has its URLs")
                .to_owned()
        };
        Proxy {
            http: self.http.clone(),
            id: added["id"].as_u64().expect("a proxy has an id"),
            issuer: member("issuer"),
            mcp_url: member("mcp_url"),
        }
    }

    /// The events that pass `filter` (a query string), oldest first.
    pub async fn events(&self, filter: &str) -> Vec<Value> {
        self.list(&format!("/api/v1/events?sort=asc&{filter}"))
            .await
    }

    /// The rows of a list resource, once the read model has everything that is in the log now.
    pub async fn list(&self, path: &str) -> Vec<Value> {
        let head = self.get("/api/v1/status").await.expect(200).json()["head"].clone();
        let join = if path.contains('?') { '&' } else { '?' };
        let answer = self
            .get(&format!("{path}{join}limit=1000&min_position={head}"))
            .await;
        answer.expect(200).json()["data"]
            .as_array()
            .expect("a list has data")
            .clone()
    }

    /// The types of those events.
    pub async fn event_types(&self, filter: &str) -> Vec<String> {
        let events = self.events(filter).await;
        events
            .iter()
            .map(|event| event["type"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// Runs a command against this server as the first operator.
    pub async fn command(&self, args: &[&str]) -> Output {
        let mut command = grantlog(self.folder.path());
        command
            .args(args)
            .env("GRANTLOG_URL", &self.url)
            .env("GRANTLOG_TOKEN", &self.admin_token);
        command.output().await.expect("the command runs")
    }

    /// Runs a command that opens the stores itself, configured as this server is.
    pub async fn offline(&self, args: &[&str]) -> Output {
        let mut command = grantlog(self.folder.path());
        let env = self.setup.env.iter();
        command
            .args(args)
            .envs(env.map(|(name, value)| (name, value)));
        command.output().await.expect("the command runs")
    }

    async fn wait_until_ready(&mut self) {
        let url = format!("{}/readyz", self.ops_url);
        let ready = async {
            loop {
                if let Some(status) = self.child.try_wait().expect("the server can be waited for") {
                    panic!(
                        "the server ended with {status} before it was ready:\n{}",
                        self.log()
                    );
                }
                let answer = self.http.get(&url).send().await;
                if answer.is_ok_and(|answer| answer.status().is_success()) {
                    return;
                }
                tokio::time::sleep(POLL_EVERY).await;
            }
        };
        let ready = tokio::time::timeout(READY_WITHIN, ready).await;
        assert!(
            ready.is_ok(),
            "the server is not ready after {READY_WITHIN:?}:\n{}",
            self.log()
        );
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the server's log\n{}", self.log());
        }
    }
}

/// An HTTP client for loopback: no proxy, no redirects.
pub(crate) fn loopback_client() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
}

/// Such a client, as it comes.
pub fn plain_http() -> reqwest::Client {
    build(loopback_client())
}

pub(crate) fn build(client: reqwest::ClientBuilder) -> reqwest::Client {
    client
        .build()
        .expect("an HTTP client without special needs can be built")
}

/// The binary under test, in `folder`, with nothing of this process's environment.
fn grantlog(folder: &Path) -> Command {
    clean(&binary(), folder)
}

fn clean(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(folder)
        .env_clear()
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Cargo builds the binary beside the folder of the test executables before it runs any of them.
fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its executable");
    let folder = test
        .ancestors()
        .nth(2)
        .expect("a test lies in target/<profile>/deps");
    folder.join(format!("grantlog{}", std::env::consts::EXE_SUFFIX))
}

fn log_path(folder: &Path) -> PathBuf {
    folder.join("server.log")
}

/// Ports that were free a moment ago, below those the system gives to outgoing connections; test
/// processes begin at different places, threads go on where the last one stopped.
fn free_ports() -> [u16; 3] {
    static DRAWN: AtomicU32 = AtomicU32::new(0);
    [(); 3].map(|()| {
        loop {
            let drawn = DRAWN.fetch_add(1, Ordering::Relaxed);
            let port = 10_000 + (std::process::id().wrapping_mul(101) + drawn) % 22_000;
            let port = u16::try_from(port).expect("32000 is a port");
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return port;
            }
        }
    })
}
