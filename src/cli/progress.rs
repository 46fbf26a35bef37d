//! Progress for people who wait: a bar on a terminal, a line every five seconds elsewhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output;

const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// How far something has come. Goes to stderr, and away when dropped.
pub struct Progress {
    bar: ProgressBar,
    label: &'static str,
    last_line: Duration,
}

impl Progress {
    /// Something that consists of `total` steps, such as events.
    #[must_use]
    pub fn new(label: &'static str, total: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
        let template = "{prefix} {human_pos}/{human_len} ▕{bar:24}▏ {percent}% {per_sec} ETA {eta}";
        let style = ProgressStyle::with_template(template);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(label);
        Self {
            bar,
            label,
            last_line: Duration::ZERO,
        }
    }

    /// So many steps are done.
    pub fn at(&mut self, done: u64) {
        self.bar.set_position(done);
        let elapsed = self.bar.elapsed();
        if self.bar.is_hidden() && elapsed >= self.last_line + LINE_INTERVAL {
            self.last_line = elapsed;
            let total = self.bar.length().unwrap_or_default();
            output::note(&format!("{} {done}/{total}", self.label));
        }
    }

    /// There is more to do than was known: `total` steps.
    pub fn of(&self, total: u64) {
        self.bar.set_length(total);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
