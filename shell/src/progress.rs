//! The line that says how far a statement is, while it runs and somebody watches.

use std::time::Duration;

use canvass_planner::desk::{self, Account};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Nothing is shown for statements faster than this.
const PATIENCE: Duration = Duration::from_millis(300);

/// A progress line on standard error, or none.
pub struct Progress {
    bar: ProgressBar,
    shown: bool,
    wanted: bool,
    started: std::time::Instant,
}

impl Progress {
    pub fn new(wanted: bool) -> Progress {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        Progress { bar, shown: false, wanted, started: std::time::Instant::now() }
    }

    /// Shows how many hosts have answered and how many rows have come.
    pub fn update(&mut self, account: &Account) {
        if !self.wanted || self.started.elapsed() < PATIENCE {
            return;
        }
        if !self.shown {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} · {elapsed}") {
                self.bar.set_style(style);
            }
            self.shown = true;
        }
        let desk::Progress { asked, done, rows } = account.progress();
        self.bar.set_message(format!("{done} of {asked} hosts · {rows} rows received"));
        self.bar.tick();
    }

    /// Takes the line away while something else is written to the terminal.
    pub fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        if self.shown { self.bar.suspend(write) } else { write() }
    }

    /// Takes the line away for good.
    pub fn end(&mut self) {
        if self.shown {
            self.bar.finish_and_clear();
        }
        (self.shown, self.wanted) = (false, false);
    }
}
