//! A report for people: the conditions in a sentence, and tables for documents.

use std::fmt::Write;

use super::report::{Conditions, Figure, Report};

impl Conditions {
    /// One sentence for people.
    #[must_use]
    pub fn describe(&self) -> String {
        let Self {
            version,
            store,
            machine,
            placement,
            algorithm,
            connections,
            rounds,
            seconds,
            ..
        } = self;
        let disk = self.file_system.as_deref().unwrap_or("unknown file system");
        let busy = self.busy_before.map_or(String::new(), |share| {
            format!(
                "; {:.0} % of the machine was busy with other things before",
                share * 100.0
            )
        });
        format!(
            "Grantlog {version}, store {store} ({disk}); {algorithm}, {connections} connections. {machine}; \
             client and server share the machine, {placement}. Medians of {rounds} alternating rounds \
             of {seconds} s{busy}."
        )
    }
}

impl Report {
    /// For documents: the conditions and two tables.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = format!("{}\n", self.conditions.describe());
        // Writing to a string does not fail.
        let _ = self.write_tables(&mut text);
        text
    }

    fn write_tables(&self, text: &mut String) -> std::fmt::Result {
        if !self.rows.is_empty() {
            text.push_str(
                "\n| | per second | range | of bare | p50 ms | p99 ms | server's CPU | client's CPU |\n\
                 |---|---:|---:|---:|---:|---:|---:|---:|\n",
            );
        }
        for row in &self.rows {
            let percent = |share: Option<f64>| {
                share.map_or(String::new(), |share| format!("{:.0} %", share * 100.0))
            };
            writeln!(
                text,
                "| {} | {} | {}–{} | {} | {:.2} | {:.2} | {} | {} |",
                row.title,
                thousands(row.per_second as f64),
                thousands(row.per_second_min as f64),
                thousands(row.per_second_max as f64),
                row.of_bare
                    .map_or(String::new(), |ratio| format!("{ratio:.2}")),
                row.p50_ms,
                row.p99_ms,
                percent(row.server_cpu),
                percent(row.client_cpu),
            )?;
        }
        if !self.figures.is_empty() {
            text.push_str("\n| | |\n|---|---:|\n");
        }
        for Figure {
            title, value, unit, ..
        } in &self.figures
        {
            let value = if *value < 100.0 {
                value.to_string()
            } else {
                thousands(*value)
            };
            writeln!(text, "| {title} | {value} {unit} |")?;
        }
        Ok(())
    }
}

/// Rounded, with commas.
pub(super) fn thousands(value: f64) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Row;
    use crate::keys::Algorithm;

    #[test]
    fn numbers_are_written_for_people() {
        for (value, expected) in [
            (0.4, "0"),
            (999.0, "999"),
            (1000.0, "1,000"),
            (88_199.4, "88,199"),
            (1_234_567.0, "1,234,567"),
        ] {
            assert_eq!(thousands(value), expected);
        }
    }

    #[test]
    fn a_report_is_two_tables() {
        let report = Report {
            conditions: Conditions {
                version: "1",
                store: "embedded".to_owned(),
                file_system: Some("ext4".to_owned()),
                machine: "a machine".to_owned(),
                placement: "nothing pinned".to_owned(),
                busy_before: Some(0.25),
                algorithm: Algorithm::HS256,
                connections: 2,
                rounds: 1,
                seconds: 0.5,
            },
            rows: vec![Row {
                name: "refresh",
                title: "refresh",
                connections: 2,
                per_second: 12_000,
                per_second_min: 11_000,
                per_second_max: 13_000,
                of_bare: Some(0.5),
                p50_ms: 1.25,
                p99_ms: 9.0,
                server_cpu: Some(0.9),
                client_cpu: None,
            }],
            figures: vec![Figure {
                name: "memory_idle",
                title: "memory, idle".to_owned(),
                value: 24.5,
                unit: "MiB",
            }],
        };
        let text = report.markdown();
        assert!(
            text.contains("25 % of the machine was busy") && text.contains("(ext4)"),
            "{text}"
        );
        let row = "| refresh | 12,000 | 11,000–13,000 | 0.50 | 1.25 | 9.00 | 90 % |  |";
        assert!(text.contains(row), "{text}");
        assert!(text.ends_with("| memory, idle | 24.5 MiB |\n"), "{text}");
    }
}
