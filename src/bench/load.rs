//! Many workers, each over its own connections, as fast as they are answered.

use std::cell::Cell;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;

use super::machine::CpuTime;
use super::{BenchError, Fallible};

/// What one run of the load measured.
pub(super) struct Sample {
    pub steps: usize,
    pub per_second: f64,
    pub p50: Duration,
    pub p99: Duration,
    /// The share of its CPU that the server used.
    pub server_cpu: Option<f64>,
    /// The same of the load client: near 1, it was the limit.
    pub client_cpu: Option<f64>,
}

/// When a run ends.
#[derive(Clone)]
pub(super) struct Until {
    time: Duration,
    left: Cell<usize>,
}

impl Until {
    /// After this long.
    pub fn elapsed(time: Duration) -> Self {
        Self::elapsed_or(time, usize::MAX)
    }

    /// After this long, or so many steps.
    pub fn elapsed_or(time: Duration, steps: usize) -> Self {
        let left = Cell::new(steps);
        Self { time, left }
    }

    fn is_over(&self, began: Instant) -> bool {
        let left = self.left.get();
        self.left.set(left.saturating_sub(1));
        left == 0 || began.elapsed() >= self.time
    }
}

/// Lets every worker take `step` again and again until it is time to stop. `server` is the
/// process whose CPU is watched.
pub(super) async fn drive<W>(
    workers: &mut [W],
    until: &Until,
    server: u32,
    step: impl AsyncFn(&mut W) -> Fallible<()>,
) -> Fallible<Sample> {
    let client = std::process::id();
    let before = (CpuTime::of(server), CpuTime::of(client));
    let began = Instant::now();
    let step = &step;
    let runs = workers.iter_mut().map(|worker| async move {
        let mut latencies = Vec::new();
        while !until.is_over(began) {
            let began = Instant::now();
            step(worker).await?;
            latencies.push(began.elapsed());
        }
        Fallible::Ok(latencies)
    });
    let mut latencies = try_join_all(runs).await?.concat();
    let elapsed = began.elapsed();
    let after = (CpuTime::of(server), CpuTime::of(client));
    latencies.sort_unstable();
    let at = |hundredth: usize| latencies.get(latencies.len() * hundredth / 100);
    let (Some(p50), Some(p99)) = (at(50), at(99)) else {
        return Err(BenchError::Unexpected("no answer in time".to_owned()));
    };
    let share = |before: Option<CpuTime>, after: Option<CpuTime>| {
        Some(after?.share_since(before?, elapsed))
    };
    Ok(Sample {
        steps: latencies.len(),
        per_second: latencies.len() as f64 / elapsed.as_secs_f64(),
        p50: *p50,
        p99: *p99,
        server_cpu: share(before.0, after.0),
        client_cpu: share(before.1, after.1),
    })
}
