//! The table.

use std::fmt::Write;
use std::time::Duration;

use crate::load::Sample;

/// One kind of request, measured in several rounds.
pub struct Line {
    pub name: &'static str,
    pub samples: Vec<Sample>,
}

impl Line {
    pub fn new(name: &'static str) -> Self {
        let samples = Vec::new();
        Self { name, samples }
    }

    fn median_of(&self, value: impl Fn(&Sample) -> f64) -> f64 {
        median(self.samples.iter().map(value).collect())
    }
}

/// The middle one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The smallest and the largest.
pub fn range(values: &[f64]) -> (f64, f64) {
    let smallest = values.iter().copied().fold(f64::INFINITY, f64::min);
    (smallest, values.iter().copied().fold(0.0, f64::max))
}

/// The lines as a Markdown table; the first is what the others are compared to, round by round.
pub fn table(lines: &[Line]) -> String {
    let mut text = String::from(
        "| | per second | range | of bare | p50 ms | p99 ms | server's CPU | client's CPU |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    let Some((bare, _)) = lines.split_first() else {
        return text;
    };
    for line in lines {
        let rates: Vec<f64> = line.samples.iter().map(|s| s.per_second).collect();
        let (low, high) = range(&rates);
        let ratios = line.samples.iter().zip(&bare.samples);
        let ratio = median(ratios.map(|(s, b)| s.per_second / b.per_second).collect());
        let _ = writeln!(
            text,
            "| {} | {} | {}–{} | {ratio:.2} | {:.2} | {:.2} | {:.0} % | {:.0} % |",
            line.name,
            thousands(median(rates)),
            thousands(low),
            thousands(high),
            line.median_of(|s| milliseconds(s.p50)),
            line.median_of(|s| milliseconds(s.p99)),
            line.median_of(|s| s.server_cpu * 100.0),
            line.median_of(|s| s.client_cpu * 100.0),
        );
    }
    text
}

pub fn milliseconds(span: Duration) -> f64 {
    span.as_secs_f64() * 1000.0
}

/// Rounded, with commas.
pub fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
