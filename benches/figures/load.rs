//! Many workers, each over its own connections, as fast as they are answered.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;

use crate::Fallible;
use crate::machine::CpuTime;

/// What one run of the load measured.
pub struct Sample {
    pub per_second: f64,
    pub p50: Duration,
    pub p99: Duration,
    /// The share of its CPU that the load client used: near 1, it was the limit.
    pub client_cpu: f64,
    /// The same of the server.
    pub server_cpu: f64,
}

/// Lets every worker take `step` again and again until `time` is over or it says that there is
/// nothing left to do.
pub async fn drive<W>(
    workers: &mut [W],
    time: Duration,
    server: u32,
    step: impl AsyncFn(&mut W) -> Fallible<bool>,
) -> Fallible<Sample> {
    let (client_before, server_before) = (CpuTime::of_self(), CpuTime::of(server));
    let began = Instant::now();
    let until = began + time;
    let step = &step;
    let runs = workers.iter_mut().map(|worker| async move {
        let mut latencies = Vec::new();
        loop {
            let began = Instant::now();
            if began >= until || !step(worker).await? {
                return Fallible::Ok(latencies);
            }
            latencies.push(began.elapsed());
        }
    });
    let mut latencies = try_join_all(runs).await?.concat();
    let elapsed = began.elapsed();
    if latencies.is_empty() {
        return Err("nothing was measured".into());
    }
    latencies.sort_unstable();
    Ok(Sample {
        per_second: latencies.len() as f64 / elapsed.as_secs_f64(),
        p50: latencies[latencies.len() / 2],
        p99: latencies[latencies.len() * 99 / 100],
        client_cpu: CpuTime::of_self().share_since(client_before, elapsed),
        server_cpu: CpuTime::of(server).share_since(server_before, elapsed),
    })
}
