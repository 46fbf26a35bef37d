//! The machine: what it is, which CPU does what, and how busy a process is. Known on Linux;
//! elsewhere nothing is pinned, and what is not known is left out.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, Command};
use std::thread::available_parallelism;
use std::time::Duration;

/// Which CPUs the two sides run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placement {
    /// Each side on one CPU of its own.
    Apart {
        /// Of the server under load.
        server: usize,
        /// Of everything else.
        client: usize,
    },
    /// Wherever the system puts them.
    Anywhere,
}

impl Placement {
    /// Puts this thread, and what it will start, on the client's CPU, if the system can and there
    /// are two.
    pub fn establish() -> Self {
        // Neighbours in number may be two halves of one core.
        let cpus = affinity::allowed();
        match (cpus.first(), cpus.last()) {
            (Some(&server), Some(&client)) if server != client && affinity::pin(client) => {
                Self::Apart { server, client }
            }
            _ => Self::Anywhere,
        }
    }

    /// Starts a process on the server's CPU.
    pub fn spawn(self, mut command: Command) -> io::Result<Child> {
        let Self::Apart { server, .. } = self else {
            return command.spawn();
        };
        // A process begins where the thread that starts it is.
        let starting = std::thread::spawn(move || {
            affinity::pin(server);
            command.spawn()
        });
        starting
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread that starts a process ended")))
    }

    pub fn describe(self) -> String {
        match self {
            Self::Apart { server, client } => format!(
                "server on CPU {server}; clients, browsers, identity provider and MCP server on CPU {client}"
            ),
            Self::Anywhere => "nothing pinned: one CPU, or a system that cannot".to_owned(),
        }
    }
}

/// Asks a process to end in good order.
pub(super) fn interrupt(child: &mut Child) -> io::Result<()> {
    #[cfg(unix)]
    {
        use rustix::process::{Pid, Signal, kill_process};
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("a process without a number"))?;
        Ok(kill_process(pid, Signal::INT)?)
    }
    #[cfg(not(unix))]
    child.kill()
}

/// The processors, the memory and the system.
pub(super) fn describe() -> String {
    let file = |path| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = file("/proc/cpuinfo");
    // Not what this thread, pinned, may use.
    let cpus = match cpuinfo.matches("processor\t").count() {
        0 => available_parallelism().map_or(1, usize::from),
        cpus => cpus,
    };
    let model = field(&cpuinfo, "model name").unwrap_or(std::env::consts::ARCH);
    let memory = kib(&file("/proc/meminfo"), "MemTotal");
    let memory = memory.map_or(String::new(), |kib| {
        format!("{} GiB of memory, ", kib / 1024 / 1024)
    });
    let kernel = file("/proc/sys/kernel/osrelease");
    let system = format!("{} {}", std::env::consts::OS, kernel.trim());
    format!("{cpus} CPUs ({model}), {memory}{}", system.trim())
}

/// The kind of file system that a folder is on, such as `ext4`; `tmpfs` is memory.
pub(super) fn file_system(folder: &Path) -> Option<String> {
    let folder = folder.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    let around = mounts.filter(|(place, _)| folder.starts_with(place));
    let (_, kind) = around.max_by_key(|(place, _)| place.len())?;
    Some(kind.to_owned())
}

/// The memory of a process in MiB.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    pub now_mib: f64,
    pub highest_mib: f64,
}

impl Memory {
    pub fn of(process: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        let mib = |name| Some(kib(&status, name)? as f64 / 1024.0);
        Some(Self {
            now_mib: mib("VmRSS")?,
            highest_mib: mib("VmHWM")?,
        })
    }
}

/// The time that a process has spent on CPUs so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct CpuTime(Duration);

impl CpuTime {
    /// The sum over its threads that live (`schedstat`).
    pub fn of(process: u32) -> Option<Self> {
        let threads = fs::read_dir(format!("/proc/{process}/task")).ok()?;
        let nanoseconds = threads.flatten().filter_map(|thread| {
            let spent = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            spent.split(' ').next()?.parse::<u64>().ok()
        });
        Some(Self(Duration::from_nanos(nanoseconds.sum())))
    }

    /// The share of `elapsed` that was spent since `before`.
    pub fn share_since(self, before: Self, elapsed: Duration) -> f64 {
        self.0.saturating_sub(before.0).as_secs_f64() / elapsed.as_secs_f64()
    }
}

/// The share of all CPUs that is busy, watched for half a second.
pub(super) fn busy() -> Option<f64> {
    let times = || -> Option<(u64, u64)> {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        let times = stat.lines().next()?.split_whitespace().skip(1);
        let times: Vec<u64> = times.filter_map(|time| time.parse().ok()).collect();
        let idle = times.get(3)? + times.get(4)?;
        Some((idle, times.iter().take(8).sum()))
    };
    let (idle_before, all_before) = times()?;
    std::thread::sleep(Duration::from_millis(500));
    let (idle, all) = times()?;
    let all = all.saturating_sub(all_before).max(1);
    Some(1.0 - idle.saturating_sub(idle_before) as f64 / all as f64)
}

fn kib(text: &str, name: &str) -> Option<u64> {
    field(text, name)?.strip_suffix(" kB")?.parse().ok()
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim())
}

#[cfg(target_os = "linux")]
mod affinity {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    /// The CPUs that this thread may run on, in order.
    pub fn allowed() -> Vec<usize> {
        let set = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
        (0..CpuSet::MAX_CPU)
            .filter(|cpu| set.is_set(*cpu))
            .collect()
    }

    /// Whether this thread, and what it starts from here on, runs on that CPU alone.
    pub fn pin(cpu: usize) -> bool {
        let mut set = CpuSet::new();
        set.set(cpu);
        sched_setaffinity(None, &set).is_ok()
    }
}

#[cfg(not(target_os = "linux"))]
mod affinity {
    pub fn allowed() -> Vec<usize> {
        Vec::new()
    }

    pub fn pin(_: usize) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_spends_time() {
        if cfg!(target_os = "linux") {
            let memory = Memory::of(std::process::id()).unwrap();
            assert!(memory.now_mib > 0.0 && memory.now_mib <= memory.highest_mib + 1.0);
            assert!(CpuTime::of(std::process::id()).is_some());
            assert_eq!(file_system(Path::new("/proc")).as_deref(), Some("proc"));
        }
        assert!(describe().contains("CPUs"));
    }
}
