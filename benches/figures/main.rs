//! The README's figures: `cargo bench --bench figures`, about two minutes. Words after `--` choose
//! among the kinds of request, such as `-- refresh introspect`.
//!
//! The real program serves on one CPU; this program plays the clients, their users' browsers and
//! the identity provider on another. Beside it, in the same rounds, stands a bare endpoint that
//! only parses, hashes and signs: what the machine allows. Every answer is checked; a wrong one
//! ends the run.

mod bare;
mod clock;
mod flow;
mod http;
mod load;
mod machine;
mod node;
mod provider;
mod report;

use std::cell::RefCell;
use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use flow::{Client, Tokens};
use http::Connection;
use load::{Sample, drive};
use machine::Pinning;
use node::{Node, Place};
use report::{Line, median, milliseconds, range, thousands};

type Fallible<T> = Result<T, Box<dyn Error>>;

const CONNECTIONS: usize = 32;
const ROUNDS: usize = 3;
const STARTS: usize = 5;
/// Grants that are made for the size of the log.
const SIZED_GRANTS: usize = 2_000;
/// Grants each connection refreshes in turn.
const GRANTS_EACH: usize = 32;
/// Codes that are redeemed in each round; they live for a minute.
const CODES: usize = 8_000;
const KINDS: [&str; 5] = [
    "refresh",
    "redeem a code",
    "register a client",
    "introspect",
    "whole flow: log in, redeem",
];
const SHORT: Duration = Duration::from_secs(2);
const LONG: Duration = Duration::from_secs(4);
/// Long enough for anything that ends by its number.
const BOUND: Duration = Duration::from_secs(30);

fn main() -> Fallible<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, word, host] = &arguments[..]
        && word == bare::ARGUMENT
    {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        return runtime.block_on(bare::serve(host));
    }
    // As part of the tests there is nothing to measure.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let chosen: Vec<&str> = arguments[1..]
        .iter()
        .map(String::as_str)
        .filter(|argument| *argument != "--bench")
        .collect();
    let pinning = Pinning::establish();
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let report = runtime.block_on(run(pinning, &chosen))?;
    Ok(std::io::stdout().write_all(report.as_bytes())?)
}

async fn run(pinning: Pinning, chosen: &[&str]) -> Fallible<String> {
    let busy = machine::busy();
    let folder = tempfile::tempdir_in(real_disk()?)?;
    let provider = provider::start().await?;
    let place = |name: &str| Place::new(folder.path(), name, &provider, pinning);

    progress("starting");
    let mut starts = Vec::new();
    let mut idle = f64::NAN;
    for n in 0..STARTS {
        let node = place(&format!("start-{n}"))?.start().await?;
        starts.push(milliseconds(node.started_in));
        node.catch_up().await?;
        (idle, _) = machine::memory_mib(node.process());
        node.stop().await?;
    }

    progress("sizing");
    let size = size_per_grant(&place("size")?, &provider).await?;

    let place = place("load")?;
    let node = place.start().await?;
    let bare = Bare::start(pinning).await?;
    let mut world = World::open(&node, &provider).await?;
    let wanted = KINDS.map(|kind| {
        chosen.is_empty()
            || chosen
                .iter()
                .any(|word| kind.split(' ').any(|it| it == *word))
    });
    let mut baseline = Line::new("bare endpoint, nothing kept");
    let mut lines = KINDS.map(Line::new);
    for round in 0..ROUNDS {
        progress(&format!("round {} of {ROUNDS}", round + 1));
        // Alternating, so that a drift of the machine favours nobody.
        if round % 2 == 0 {
            baseline.samples.push(bare.round().await?);
        }
        node.catch_up().await?;
        for (n, line) in lines.iter_mut().enumerate().filter(|(n, _)| wanted[*n]) {
            line.samples.push(world.measure(n, &node).await?);
        }
        if round % 2 == 1 {
            baseline.samples.push(bare.round().await?);
        }
    }
    let events = node.catch_up().await?;
    let (loaded, peak) = machine::memory_mib(node.process());
    drop(world);
    node.stop().await?;
    let node = place.start().await?;
    let restarted = milliseconds(node.started_in);
    node.stop().await?;

    let (start_low, start_high) = range(&starts);
    let start = median(starts);
    let lines = lines.into_iter().filter(|line| !line.samples.is_empty());
    let lines: Vec<Line> = std::iter::once(baseline).chain(lines).collect();
    let table = report::table(&lines);
    let machine = machine::describe();
    let pinned = pinning.describe();
    let version = env!("CARGO_PKG_VERSION");
    Ok(format!(
        "Grantlog {version}, embedded store, every answer durable on disk, read models following; \
         HS256, {CONNECTIONS} connections.\n\
         {machine}; {pinned}. Medians of {ROUNDS} alternating rounds; {:.0} % of the machine was \
         busy with other things before.\n\n{table}\n\
         | | |\n|---|---:|\n\
         | start to ready, empty log | {start:.0} ms ({start_low:.0}–{start_high:.0}) |\n\
         | start to ready, {} events | {restarted:.0} ms |\n\
         | memory, idle | {idle:.0} MiB |\n\
         | memory, after the load (highest) | {loaded:.0} MiB ({peak:.0}) |\n\
         | log, per grant with one refresh | {} bytes, {:.1} events |\n\
         | vault and read models, per such grant | {} and {} bytes |\n",
        busy * 100.0,
        thousands(events as f64),
        thousands(size.log),
        size.events,
        thousands(size.vault),
        thousands(size.read_model),
    ))
}

/// What a grant with one refresh leaves on disk, in bytes, and in the log, in events.
struct SizePerGrant {
    log: f64,
    vault: f64,
    read_model: f64,
    events: f64,
}

async fn size_per_grant(place: &Place, provider: &str) -> Fallible<SizePerGrant> {
    let files = ["log.db", "vault.db", "read.db"];
    let node = place.start().await?;
    let mut registering = Connection::open(&node.host).await?;
    let client = flow::register(&mut registering).await?;
    drop(registering);
    let events_before = node.catch_up().await?;
    node.stop().await?;
    let before = files.map(|file| place.size_of(file).unwrap_or(0));

    let node = place.start().await?;
    let mut workers = workers(&node.host, provider).await?;
    let left = RefCell::new(SIZED_GRANTS);
    let grant = async |worker: &mut Worker| {
        if !take_one(&left) {
            return Ok(false);
        }
        let Worker {
            server, provider, ..
        } = worker;
        let code = flow::log_in(server, provider, &client).await?;
        let tokens = flow::redeem(server, &client, &code).await?;
        flow::refresh(server, &client, &tokens.refresh_token).await?;
        Ok(true)
    };
    drive(&mut workers, BOUND, node.process(), grant).await?;
    drop(workers);
    let events = node.catch_up().await? - events_before;
    node.stop().await?;
    let [log, vault, read_model] = [0, 1, 2].map(|n| {
        let after = place.size_of(files[n]).unwrap_or(0);
        after.saturating_sub(before[n]) as f64 / SIZED_GRANTS as f64
    });
    Ok(SizePerGrant {
        log,
        vault,
        read_model,
        events: events as f64 / SIZED_GRANTS as f64,
    })
}

/// Clients, browsers and their grants, on one node.
struct World {
    client: Client,
    workers: Vec<Worker>,
}

/// One connection's worth of it.
struct Worker {
    server: Connection,
    provider: Connection,
    grants: Vec<Tokens>,
    /// Whose turn it is.
    next: usize,
}

async fn workers(host: &str, provider: &str) -> Fallible<Vec<Worker>> {
    let mut workers = Vec::new();
    for _ in 0..CONNECTIONS {
        workers.push(Worker {
            server: Connection::open(host).await?,
            provider: Connection::open(provider).await?,
            grants: Vec::new(),
            next: 0,
        });
    }
    Ok(workers)
}

impl World {
    async fn open(node: &Node, provider: &str) -> Fallible<Self> {
        let mut workers = workers(&node.host, provider).await?;
        let client = flow::register(&mut workers[0].server).await?;
        let grant = async |worker: &mut Worker| {
            let Worker {
                server, provider, ..
            } = worker;
            let code = flow::log_in(server, provider, &client).await?;
            worker
                .grants
                .push(flow::redeem(server, &client, &code).await?);
            Ok(worker.grants.len() < GRANTS_EACH)
        };
        drive(&mut workers, BOUND, node.process(), grant).await?;
        Ok(Self { client, workers })
    }

    /// One sample of a kind of request, by its place in [`KINDS`].
    async fn measure(&mut self, kind: usize, node: &Node) -> Fallible<Sample> {
        match kind {
            0 => self.refresh(node).await,
            1 => self.redeem(node).await,
            2 => self.register(node).await,
            3 => self.introspect(node).await,
            _ => self.whole_flow(node).await,
        }
    }

    async fn refresh(&mut self, node: &Node) -> Fallible<Sample> {
        let Self { client, workers } = self;
        let refresh = async |worker: &mut Worker| {
            let turn = worker.next % GRANTS_EACH;
            worker.next += 1;
            let grant = &mut worker.grants[turn];
            *grant = flow::refresh(&mut worker.server, client, &grant.refresh_token).await?;
            Ok(true)
        };
        drive(workers, LONG, node.process(), refresh).await
    }

    async fn redeem(&mut self, node: &Node) -> Fallible<Sample> {
        let Self { client, workers } = self;
        let left = RefCell::new(CODES);
        let codes = RefCell::new(Vec::new());
        let log_in = async |worker: &mut Worker| {
            let Worker {
                server, provider, ..
            } = worker;
            let more = take_one(&left);
            if more {
                let code = flow::log_in(server, provider, client).await?;
                codes.borrow_mut().push(code);
            }
            Ok(more)
        };
        drive(workers, BOUND, node.process(), log_in).await?;
        node.catch_up().await?;
        let redeem = async |worker: &mut Worker| {
            let code = codes.borrow_mut().pop();
            if let Some(code) = &code {
                flow::redeem(&mut worker.server, client, code).await?;
            }
            Ok(code.is_some())
        };
        drive(workers, BOUND, node.process(), redeem).await
    }

    async fn register(&mut self, node: &Node) -> Fallible<Sample> {
        let register = async |worker: &mut Worker| {
            flow::register(&mut worker.server).await?;
            Ok(true)
        };
        drive(&mut self.workers, SHORT, node.process(), register).await
    }

    async fn introspect(&mut self, node: &Node) -> Fallible<Sample> {
        let Self { client, workers } = self;
        let introspect = async |worker: &mut Worker| {
            let grant = &worker.grants[worker.next % GRANTS_EACH];
            worker.next += 1;
            flow::introspect(&mut worker.server, client, &grant.access_token).await?;
            Ok(true)
        };
        drive(workers, SHORT, node.process(), introspect).await
    }

    async fn whole_flow(&mut self, node: &Node) -> Fallible<Sample> {
        let Self { client, workers } = self;
        let whole = async |worker: &mut Worker| {
            let Worker {
                server, provider, ..
            } = worker;
            let code = flow::log_in(server, provider, client).await?;
            flow::redeem(server, client, &code).await?;
            Ok(true)
        };
        drive(workers, LONG, node.process(), whole).await
    }
}

/// The bare endpoint, in a process of its own; killed when dropped.
struct Bare {
    child: Child,
    host: String,
}

impl Bare {
    async fn start(pinning: Pinning) -> Fallible<Self> {
        let host = node::free_port()?;
        let this = std::env::current_exe()?;
        let mut command: Command = pinning.command(&this.to_string_lossy());
        let child = command.args([bare::ARGUMENT, &host]).spawn()?;
        let bare = Self { child, host };
        let began = Instant::now();
        while Connection::open(&bare.host).await.is_err() {
            if began.elapsed() > BOUND {
                return Err("the bare endpoint does not start".into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(bare)
    }

    async fn round(&self) -> Fallible<Sample> {
        let client = Client::invented();
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(Connection::open(&self.host).await?);
        }
        let token = "gw_refresh_00112233445566778899aabbccddeeff.1.".to_owned() + &"x".repeat(43);
        let refresh = async |connection: &mut Connection| {
            flow::refresh(connection, &client, &token).await?;
            Ok(true)
        };
        drive(&mut connections, LONG, self.child.id(), refresh).await
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn take_one(left: &RefCell<usize>) -> bool {
    let mut left = left.borrow_mut();
    let any = *left > 0;
    *left = left.saturating_sub(1);
    any
}

/// Beside the build: a temporary folder may be memory, where durability costs nothing.
fn real_disk() -> Fallible<&'static Path> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(folder)?;
    Ok(folder)
}

fn progress(what: &str) {
    let _ = writeln!(std::io::stderr(), "{what} …");
}
