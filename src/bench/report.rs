//! What was measured: rates in rows, everything else in figures, and under which conditions.

use std::time::Duration;

use serde::{Serialize, Serializer};

use super::Plan;
use super::load::Sample;
use super::machine::{self, Memory, Placement};
use super::markdown::thousands;
use super::rounds::Load;
use super::tools::Streams;
use crate::keys::Algorithm;

/// Everything that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// How.
    pub conditions: Conditions,
    /// What has a rate.
    pub rows: Vec<Row>,
    /// What has not.
    pub figures: Vec<Figure>,
}

/// How it was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Conditions {
    /// Of this program.
    pub version: &'static str,
    /// Which store, and what its answers mean.
    pub store: String,
    /// The file system of the data folder; `tmpfs` is memory, where durability is free.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_system: Option<String>,
    /// Processors, memory, system.
    pub machine: String,
    /// Which side runs where; both share the machine.
    pub placement: String,
    /// The share of the machine that other things took before, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub busy_before: Option<f64>,
    /// How access tokens are signed.
    pub algorithm: Algorithm,
    /// Of the load client, where a row does not say otherwise.
    pub connections: usize,
    /// How often each row was measured; rows are medians.
    pub rounds: usize,
    /// How long each row was measured in each round.
    pub seconds: f64,
}

/// One kind of request.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What programs call it.
    pub name: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// How many at once.
    pub connections: usize,
    /// The median over the rounds.
    pub per_second: u64,
    /// The slowest round.
    pub per_second_min: u64,
    /// The fastest round.
    pub per_second_max: u64,
    /// The median ratio to the bare endpoint in the same round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of_bare: Option<f64>,
    /// Half of the answers came within this time.
    pub p50_ms: f64,
    /// All but one in a hundred did.
    pub p99_ms: f64,
    /// How busy the server's CPU was with it, 0 to 1 where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_cpu: Option<f64>,
    /// The same of the load client: near 1, it was the limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_cpu: Option<f64>,
}

/// One number.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// What programs call it.
    pub name: &'static str,
    /// What people call it.
    pub title: String,
    /// Rounded.
    #[serde(serialize_with = "whole_if_it_is")]
    pub value: f64,
    /// Of the value.
    pub unit: &'static str,
}

/// One kind of request, measured in several rounds.
pub(super) struct Line {
    pub load: Load,
    pub samples: Vec<Sample>,
}

/// What a grant with one refresh leaves, in bytes on disk and in events.
pub(super) struct SizePerGrant {
    pub log: f64,
    pub vault: f64,
    pub read_model: f64,
    pub events: f64,
}

impl Conditions {
    pub(super) fn of(plan: &Plan, placement: Placement) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            store: match (&plan.database, plan.nodes) {
                (None, _) => {
                    let before = match plan.entries {
                        0 => String::new(),
                        entries => format!(", {} entries before", thousands(entries as f64)),
                    };
                    format!("embedded{before}; every answer durable on disk, read models following")
                }
                (Some(_), nodes) => format!(
                    "PostgreSQL, {nodes} node{}; every answer durable there, read models following; \
                     CPU and memory are the first node's, without PostgreSQL's",
                    if nodes == 1 { "" } else { "s" }
                ),
            },
            file_system: machine::file_system(&plan.folder),
            machine: machine::describe(),
            placement: placement.describe(),
            busy_before: machine::busy().map(|share| rounded(share, 2)),
            algorithm: plan.algorithm,
            connections: plan.connections,
            rounds: plan.rounds,
            seconds: rounded(plan.time.as_secs_f64(), 3),
        }
    }
}

impl Line {
    pub fn new(load: Load) -> Self {
        let samples = Vec::new();
        Self { load, samples }
    }

    fn median_of(&self, value: impl Fn(&Sample) -> f64) -> f64 {
        median(self.samples.iter().map(value).collect())
    }

    fn row(&self, plan: &Plan, lines: &[Self]) -> Row {
        let rates = || self.samples.iter().map(|sample| sample.per_second);
        let share = |of: fn(&Sample) -> Option<f64>| {
            let shares: Option<Vec<f64>> = self.samples.iter().map(of).collect();
            shares.map(|shares| rounded(median(shares), 2))
        };
        Row {
            name: self.load.name(),
            title: self.load.title(),
            connections: self.load.connections(plan),
            per_second: median(rates().collect()).round() as u64,
            per_second_min: rates().fold(f64::INFINITY, f64::min).round() as u64,
            per_second_max: rates().fold(0.0, f64::max).round() as u64,
            of_bare: self.of_bare(lines),
            p50_ms: rounded(self.median_of(|s| milliseconds(s.p50)), 3),
            p99_ms: rounded(self.median_of(|s| milliseconds(s.p99)), 3),
            server_cpu: share(|sample| sample.server_cpu),
            client_cpu: share(|sample| sample.client_cpu),
        }
    }

    /// Round by round.
    fn of_bare(&self, lines: &[Self]) -> Option<f64> {
        let baseline = self.load.baseline()?;
        let bare = lines.iter().find(|line| line.load == baseline)?;
        let pairs = self.samples.iter().zip(&bare.samples);
        let ratios = pairs.map(|(sample, bare)| sample.per_second / bare.per_second);
        Some(rounded(median(ratios.collect()), 2))
    }
}

impl Report {
    pub(super) fn new(conditions: Conditions) -> Self {
        Self {
            conditions,
            rows: Vec::new(),
            figures: Vec::new(),
        }
    }

    pub(super) fn loads(&mut self, plan: &Plan, lines: &[Line]) {
        self.rows
            .extend(lines.iter().map(|line| line.row(plan, lines)));
        let median_ms = |load| {
            let line = lines.iter().find(|line| line.load == load)?;
            Some(line.median_of(|sample| milliseconds(sample.p50)))
        };
        let (alone, through) = (Load::UpstreamAlone, Load::ToolsListAlone);
        if let (Some(alone), Some(through)) = (median_ms(alone), median_ms(through)) {
            let title = "what the gateway adds to a tools/list, at the median";
            self.figure("gateway_added", title, rounded(through - alone, 3), "ms");
        }
    }

    pub(super) fn started_empty(&mut self, starts: &[Duration]) {
        let starts = starts.iter().copied().map(milliseconds).collect();
        let title = "start to ready, empty log";
        self.figure("start_empty", title, rounded(median(starts), 0), "ms");
    }

    pub(super) fn started_full(&mut self, start: Duration, events: u64) {
        let title = format!("start to ready, {} events", thousands(events as f64));
        self.figure("start_full", &title, rounded(milliseconds(start), 0), "ms");
    }

    pub(super) fn memory_idle(&mut self, memory: Option<Memory>) {
        let now = memory.map(|memory| memory.now_mib);
        self.memory("memory_idle", "memory, idle", now);
    }

    /// Before anything else but logins was asked of the server.
    pub(super) fn memory_refreshing(&mut self, memory: Option<Memory>) {
        let title = "memory, highest while only refreshing";
        let highest = memory.map(|memory| memory.highest_mib);
        self.memory("memory_refreshing", title, highest);
    }

    pub(super) fn memory_loaded(&mut self, memory: Option<Memory>) {
        let now = memory.map(|memory| memory.now_mib);
        self.memory("memory_loaded", "memory, after the load", now);
        let highest = memory.map(|memory| memory.highest_mib);
        self.memory("memory_highest", "memory, highest under load", highest);
    }

    pub(super) fn program(&mut self) -> std::io::Result<()> {
        let program = std::env::current_exe().and_then(std::fs::metadata)?;
        let mib = program.len() as f64 / f64::from(1 << 20);
        self.figure("program", "the program itself", rounded(mib, 1), "MiB");
        Ok(())
    }

    pub(super) fn size(&mut self, size: &SizePerGrant) {
        let per_grant = [
            ("log_per_grant", "log, per grant with one refresh", size.log),
            ("vault_per_grant", "vault, per such grant", size.vault),
            (
                "read_models_per_grant",
                "read models, per such grant",
                size.read_model,
            ),
        ];
        for (name, title, bytes) in per_grant {
            self.figure(name, title, rounded(bytes, 0), "bytes");
        }
        let events = rounded(size.events, 1);
        self.figure(
            "events_per_grant",
            "events, per such grant",
            events,
            "events",
        );
    }

    pub(super) fn streams(&mut self, streams: &Streams) {
        let open = thousands(streams.open as f64);
        let events = thousands(streams.events as f64);
        let memory = [
            (
                "streams_memory_before",
                format!("memory, before {open} event streams"),
                streams.before,
            ),
            (
                "streams_memory_open",
                format!("memory, {open} event streams open"),
                streams.while_open,
            ),
            (
                "streams_memory_after",
                format!("memory, after {events} events over them"),
                streams.after_events,
            ),
        ];
        for (name, title, memory) in memory {
            self.memory(name, &title, memory.map(|memory| memory.now_mib));
        }
        let rate = rounded(streams.events_per_second, 0);
        self.figure("stream_events", "events over them", rate, "per second");
    }

    fn memory(&mut self, name: &'static str, title: &str, mib: Option<f64>) {
        if let Some(mib) = mib {
            self.figure(name, title, rounded(mib, 1), "MiB");
        }
    }

    fn figure(&mut self, name: &'static str, title: &str, value: f64, unit: &'static str) {
        self.figures.push(Figure {
            name,
            title: title.to_owned(),
            value,
            unit,
        });
    }
}

/// The middle one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

fn whole_if_it_is<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.fract() == 0.0 {
        serializer.serialize_i64(*value as i64)
    } else {
        serializer.serialize_f64(*value)
    }
}

fn milliseconds(span: Duration) -> f64 {
    span.as_secs_f64() * 1000.0
}
