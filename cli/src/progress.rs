//! What a running service shows: a live line on a terminal, log lines elsewhere.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::node::view::View;
use crate::units::{bytes, duration};

/// How often a service that is no terminal's says how it is.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// Shows a service's views, one after the other.
pub(crate) struct Meter {
    bar: Option<ProgressBar>,
    rate: Rate,
    /// Largest number of dirty bytes since there were none: the length of the bar.
    resync: u64,
    logged: Option<(Instant, String)>,
}

/// Bytes, or whatever is counted, per second between two looks.
struct Rate {
    at: Instant,
    bytes: u64,
    per_second: f64,
}

impl Rate {
    fn new() -> Self {
        Self { at: Instant::now(), bytes: 0, per_second: 0.0 }
    }

    fn update(&mut self, bytes: u64) -> f64 {
        let past = self.at.elapsed().as_secs_f64();
        if past >= 0.5 {
            self.per_second = bytes.saturating_sub(self.bytes) as f64 / past;
            (self.at, self.bytes) = (Instant::now(), bytes);
        }
        self.per_second
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are this module's own; a bad one shows the default style.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// A bar over a number of bytes, with rate and time left; hidden when the output is no terminal.
pub(crate) fn byte_bar(what: &str, total: u64) -> ProgressBar {
    let template = "{prefix} [{bar:30}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}, {eta} left";
    ProgressBar::new(total).with_style(style(template)).with_prefix(what.to_owned())
}

/// A bar over a number of things, with time left; hidden when the output is no terminal.
pub(crate) fn count_bar(what: &str, total: u64) -> ProgressBar {
    let template = "{prefix} [{bar:30}] {pos}/{len} {per_sec}, {eta} left";
    ProgressBar::new(total).with_style(style(template)).with_prefix(what.to_owned())
}

/// A bar for each stage of a work, one after the other.
pub(crate) struct StageBars<S> {
    make: fn(S, u64) -> ProgressBar,
    shown: Mutex<Option<(S, ProgressBar)>>,
}

impl<S: Copy + PartialEq> StageBars<S> {
    /// `make` gets the stage and how much it is in all.
    pub(crate) fn new(make: fn(S, u64) -> ProgressBar) -> Self {
        Self { make, shown: Mutex::new(None) }
    }

    /// Shows how much of a stage is done.
    pub(crate) fn show(&self, stage: S, done: u64, total: u64) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.as_ref().is_none_or(|(shown, _)| *shown != stage) {
            shown.replace((stage, (self.make)(stage, total))).inspect(|(_, old)| old.finish_and_clear());
        }
        if let Some((_, bar)) = &*shown {
            bar.set_length(total);
            bar.set_position(done);
        }
    }
}

impl<S> Drop for StageBars<S> {
    fn drop(&mut self) {
        let shown = self.shown.get_mut().unwrap_or_else(PoisonError::into_inner);
        shown.iter().for_each(|(_, bar)| bar.finish_and_clear());
    }
}

/// A bar over files that are read: hidden when nobody knows how long they are.
pub(crate) struct ReadBar(ProgressBar);

impl ReadBar {
    /// Over so many bytes.
    pub(crate) fn new(total: u64) -> Self {
        Self(if total == 0 { ProgressBar::hidden() } else { byte_bar("read", total) })
    }

    /// Shows how much was read; of a compressed file there is more than its length.
    pub(crate) fn show(&self, bytes: u64) {
        self.0.set_length(self.0.length().unwrap_or(0).max(bytes));
        self.0.set_position(bytes);
    }
}

impl Drop for ReadBar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

impl Meter {
    /// On this process's terminal, if it has one.
    pub(crate) fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(ProgressBar::new_spinner);
        Self { bar, rate: Rate::new(), resync: 0, logged: None }
    }

    /// Shows how it is.
    pub(crate) fn show(&mut self, view: &View) {
        let rate = self.rate.update(view.bytes);
        self.resync = if view.dirty == 0 { 0 } else { self.resync.max(view.dirty) };
        match &self.bar {
            Some(bar) => show_live(bar, view, rate, self.resync),
            None => self.log(view, rate),
        }
    }

    /// Logs when the state changed, and from time to time.
    fn log(&mut self, view: &View, rate: f64) {
        let due = self.logged.as_ref().is_none_or(|(at, state)| *state != view.state || at.elapsed() >= LOG_EVERY);
        if due {
            tracing::info!("{} · {}/s", view.line(), bytes(rate as u64));
            self.logged = Some((Instant::now(), view.state.clone()));
        }
    }
}

fn show_live(bar: &ProgressBar, view: &View, rate: f64, resync: u64) {
    if resync == 0 {
        bar.set_style(style("{spinner} {msg}"));
    } else {
        bar.set_style(style("{spinner} {msg}\n  resync [{bar:30}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}, {eta} left"));
        bar.set_length(resync);
        bar.set_position(resync - view.dirty);
    }
    bar.set_message(format!("{} · {}/s", view.line(), bytes(rate as u64)));
    bar.tick();
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Shows how a capture goes on: a live line on a terminal, log lines elsewhere.
pub(crate) struct CaptureMeter {
    bar: Option<ProgressBar>,
    commands: Rate,
    written: Rate,
    start: Instant,
    logged: Instant,
}

impl CaptureMeter {
    /// On this process's terminal, if it has one.
    pub(crate) fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(ProgressBar::new_spinner);
        let (commands, written, now) = (Rate::new(), Rate::new(), Instant::now());
        Self { bar, commands, written, start: now, logged: now }
    }

    /// Shows commands and bytes written so far, and what was lost.
    pub(crate) fn show(&mut self, commands: u64, written: u64, lost: &captures::Lost) {
        let (per_second, speed) = (self.commands.update(commands), self.written.update(written));
        let lost = lost.words();
        let line = || {
            format!(
                "{} · {commands} commands, {per_second:.0}/s · {} written, {}/s · lost: {}",
                duration(self.start.elapsed()),
                bytes(written),
                bytes(speed as u64),
                if lost.is_empty() { "nothing" } else { &lost },
            )
        };
        match &self.bar {
            Some(bar) => {
                bar.set_message(line());
                bar.tick();
            }
            None if self.logged.elapsed() >= LOG_EVERY => {
                tracing::info!("{}", line());
                self.logged = Instant::now();
            }
            None => {}
        }
    }
}

impl Drop for CaptureMeter {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
