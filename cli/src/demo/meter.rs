//! Watching a primary while the demo runs: its lag again and again, and a line on the terminal.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use serde_json::Value;

use crate::control::Role;
use crate::control::client::Client;
use crate::control::protocol::Request;
use crate::exit::Done;
use crate::node::view::View;
use crate::units::{bytes, duration};

/// Time between two looks.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Largest lag told apart, in milliseconds.
const MAX_LAG_MS: u64 = 3_600_000;

/// Where a status comes from.
pub(super) enum From {
    /// A service's control socket.
    Socket(PathBuf),
}

/// Looks at one primary.
pub(super) struct LagMeter {
    from: From,
    lags: Histogram<u64>,
    bar: ProgressBar,
    started: Instant,
}

impl LagMeter {
    /// For the primary behind the control socket.
    pub(super) fn new(socket: PathBuf) -> Done<Self> {
        let lags = Histogram::new_with_bounds(1, MAX_LAG_MS, 3)?;
        Ok(Self { from: From::Socket(socket), lags, bar: ProgressBar::new_spinner(), started: Instant::now() })
    }

    /// The primary's whole status.
    pub(super) fn status(&self) -> Done<Value> {
        let From::Socket(path) = &self.from;
        Client::connect(path)?.ask(Request::Status)
    }

    /// Looks once, remembers the lag and shows a line.
    pub(super) fn look(&mut self, what: &str) -> Done<View> {
        let view = View::of(Role::Primary, &self.status()?);
        let lag = u64::try_from(view.lag.as_millis()).unwrap_or(u64::MAX);
        self.lags.saturating_record(lag);
        let seconds = self.started.elapsed().as_secs();
        self.bar.set_message(format!("{seconds:>3} s {what} · {} carried · {}", bytes(view.bytes), view.line()));
        self.bar.tick();
        Ok(view)
    }

    /// Begins to measure anew.
    pub(super) fn reset(&mut self) {
        self.lags.reset();
    }

    /// A percentile of the lag seen so far, in words.
    pub(super) fn lag_at(&self, percentile: f64) -> String {
        duration(Duration::from_millis(self.lags.value_at_percentile(percentile)))
    }

    /// Prints a line above the live one.
    pub(super) fn say(&self, text: &str) {
        if self.bar.is_hidden() { println!("{text}") } else { self.bar.println(text) }
    }
}

impl Drop for LagMeter {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
