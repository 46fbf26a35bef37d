//! The machine: what it is, which CPU does what, and how busy a process is. Linux; elsewhere less
//! is known and nothing is pinned.

use std::fs;
use std::process::Command;
use std::thread::available_parallelism;
use std::time::Duration;

/// The CPU of the server under load, where there are two.
const SERVER_CPU: &str = "0";
/// The CPU of everything else.
const CLIENT_CPU: &str = "1";

/// Whether each side has a CPU of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pinning {
    Apart,
    None,
}

impl Pinning {
    /// Puts this process on its CPU, if `taskset` and two CPUs are there. Before any thread starts.
    pub fn establish() -> Self {
        let cpus = available_parallelism().map_or(1, usize::from);
        let this = std::process::id().to_string();
        let pin = || {
            let mut taskset = Command::new("taskset");
            let output = taskset.args(["-c", "-p", CLIENT_CPU, &this]).output();
            output.is_ok_and(|output| output.status.success())
        };
        if cpus >= 2 && pin() {
            Self::Apart
        } else {
            Self::None
        }
    }

    /// `program` as a command that runs on the server's CPU.
    pub fn command(self, program: &str) -> Command {
        match self {
            Self::None => Command::new(program),
            Self::Apart => {
                let mut command = Command::new("taskset");
                command.args(["-c", SERVER_CPU, program]);
                command
            }
        }
    }

    pub fn describe(self) -> String {
        match self {
            Self::Apart => format!(
                "server on CPU {SERVER_CPU}, load client and identity provider on CPU {CLIENT_CPU}"
            ),
            Self::None => "nothing pinned: no taskset, or a single CPU".to_owned(),
        }
    }
}

/// The processor, its number, the memory and the system.
pub fn describe() -> String {
    let file = |path| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = file("/proc/cpuinfo");
    let model = field(&cpuinfo, "model name").unwrap_or("unknown processor");
    let cpus = cpuinfo.matches("processor\t").count().max(1);
    let memory = kib(&file("/proc/meminfo"), "MemTotal").map_or(0, |kib| kib / 1024 / 1024);
    let kernel = file("/proc/sys/kernel/osrelease");
    format!(
        "{cpus} CPUs ({model}), {memory} GiB of memory, {} {}",
        std::env::consts::OS,
        kernel.trim()
    )
}

/// The memory of a process in MiB: now, and at its highest.
pub fn memory_mib(process: u32) -> (f64, f64) {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let mib = |name| kib(&status, name).map_or(f64::NAN, |kib| kib as f64 / 1024.0);
    (mib("VmRSS"), mib("VmHWM"))
}

/// The time that a process has spent on CPUs so far.
#[derive(Clone, Copy)]
pub struct CpuTime(Duration);

impl CpuTime {
    pub fn of_self() -> Self {
        Self::of(std::process::id())
    }

    /// The sum over its threads that live, in nanoseconds (`schedstat`); zero where it is unknown.
    pub fn of(process: u32) -> Self {
        let threads = fs::read_dir(format!("/proc/{process}/task"));
        let nanoseconds = threads
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|thread| {
                let spent = fs::read_to_string(thread.path().join("schedstat")).ok()?;
                spent.split(' ').next()?.parse::<u64>().ok()
            });
        Self(Duration::from_nanos(nanoseconds.sum()))
    }

    /// The share of `elapsed` that was spent since `before`.
    pub fn share_since(self, before: Self, elapsed: Duration) -> f64 {
        self.0.saturating_sub(before.0).as_secs_f64() / elapsed.as_secs_f64()
    }
}

/// The share of all CPUs that was busy in the last half second.
pub fn busy() -> f64 {
    let times = || -> Option<(u64, u64)> {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        let times = stat.lines().next()?.split_whitespace().skip(1);
        let times: Vec<u64> = times.filter_map(|time| time.parse().ok()).collect();
        let idle = times.get(3)? + times.get(4)?;
        Some((idle, times.iter().take(8).sum()))
    };
    let before = times();
    std::thread::sleep(Duration::from_millis(500));
    let (Some((idle_before, all_before)), Some((idle, all))) = (before, times()) else {
        return 0.0;
    };
    1.0 - (idle - idle_before) as f64 / (all - all_before).max(1) as f64
}

fn kib(text: &str, name: &str) -> Option<u64> {
    field(text, name)?.strip_suffix(" kB")?.parse().ok()
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim())
}
