//! The standby: receives a stream, keeps it in its own journal, and applies it to its targets in order.
//!
//! ```text
//! socket -> session (checks) -> journal thread (durable, grouped) -> queue -> workers (order: engine) -> targets
//!              ^ acknowledgements       ^ trim                        checkpoint thread (flush, save)
//! ```
//!
//! All decisions are those of [`replication::standby::Standby`]; this module owns the threads, files and sockets.
//! Memory is bounded: above [`StandbyConfig::queue_bytes`] of received and unapplied bytes nothing more is read, and the
//! primary is slowed by TCP. When the journal is full, reading waits until a checkpoint has freed space. Any failure of
//! a target, the journal or the checkpoint ends in the state `Stopped`, which `status` shows and every primary is told;
//! starting again redoes from the journal what the checkpoint does not cover.
//!
//! Two failures of a SCSI target are none of these. What its device does not take is a hole, kept in the checkpoint, for
//! which the primary is asked until it is closed. When the device lost writes that it had taken, the session ends, and
//! the journal is applied again from the checkpoint, as at a start.

pub mod bench;
mod budget;
mod checkpoint;
mod config;
mod devices;
mod engine;
mod frame;
mod hash;
mod holes;
mod journaling;
mod queue;
mod saved;
mod session;
mod shared;
mod start;
mod status;
mod tape;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::Duration;

pub use config::{MAX_DEPTH, MIN_JOURNAL_BYTES, StandbyConfig, StandbyError};
pub use status::{
    AppliedCounts, HoleStatus, JournalStatus, OutOfSyncStatus, StandbyStatus, StateWord, Tally, VolumeStatus,
};

use crate::pool::Pool;
use crate::target::{Host, Target};
use journaling::Order;
use shared::Shared;

/// How long [`StandbyHandle::stop`] lets queued entries be applied; what is left is redone by the next start.
const DRAIN_AT_STOP: Duration = Duration::from_secs(5);

/// The service. See the module's documentation.
#[derive(Debug)]
pub struct StandbyService;

impl StandbyService {
    /// Checks and opens the targets named in `config`, recovers, and starts to listen. Blocks for the checks only;
    /// redoing goes on in the background, during which primaries are told to come back later.
    ///
    /// # Errors
    /// A target is in use or not fit, the directory is not usable, the address is taken, ...
    pub fn start(config: StandbyConfig) -> Result<StandbyHandle, StandbyError> {
        config.check()?;
        let host = Host::default();
        let open = |(name, path): &(String, std::path::PathBuf)| {
            let target = crate::target::open_for(path, &host, name, &config.scsi);
            let target = target.map_err(|source| StandbyError::Target { volume: name.clone(), source })?;
            Ok((name.clone(), target))
        };
        let targets = config.volumes.iter().map(open).collect::<Result<_, StandbyError>>()?;
        start::start(config, targets)
    }

    /// The same on targets that the caller made, by the names in `config`; their paths there are only recorded.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_on(
        config: StandbyConfig,
        targets: Vec<(String, Arc<dyn Target>)>,
    ) -> Result<StandbyHandle, StandbyError> {
        config.check()?;
        if !config.volumes.iter().map(|(name, _)| name).eq(targets.iter().map(|(name, _)| name)) {
            return Err(StandbyError::Config("the targets are not those of the configuration".into()));
        }
        start::start(config, targets)
    }

    /// Names and paths of the targets that the standby in `dir` kept when it last ran; empty when it never did. A
    /// target among them holds a copy already, so writing it is no surprise.
    #[must_use]
    pub fn known_targets(dir: &std::path::Path) -> Vec<(String, std::path::PathBuf)> {
        let state = crate::state_file::StateFile::peek(dir);
        let volumes = state.map(|state| state.volumes).unwrap_or_default();
        let path = |target: String| match target.rsplit_once(config::MOVED) {
            Some((path, blocks)) if blocks.parse::<u64>().is_ok() => path.to_owned(),
            _ => target,
        };
        volumes.iter().map(|v| (v.name.to_string_lossy(), path(v.target.to_string_lossy()).into())).collect()
    }
}

/// A running standby. Dropping it stops it.
#[derive(Debug)]
pub struct StandbyHandle {
    shared: Arc<Shared>,
    local: SocketAddr,
    orders: Sender<Order>,
    pool: Option<Pool>,
    threads: Vec<JoinHandle<()>>,
}

impl StandbyHandle {
    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// How it is.
    #[must_use]
    pub fn status(&self) -> StandbyStatus {
        self.shared.status(self.local)
    }

    /// Whether everything received so far is applied within `timeout`.
    #[must_use]
    pub fn wait_drained(&self, timeout: Duration) -> bool {
        self.shared.wait_drained(timeout)
    }

    /// Ends sessions, lets queued entries be applied for a few seconds, saves a last checkpoint and ends all threads.
    /// What was acknowledged as durable and is not applied stays in the journal for the next start.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(pool) = self.pool.take() else { return };
        self.shared.close_sessions();
        if self.shared.stop_reason().is_none() {
            self.shared.wait_drained(DRAIN_AT_STOP);
        }
        self.shared.end();
        // The journal thread may be gone already after a failure.
        let _ = self.orders.send(Order::Stop);
        self.shared.abandon_commands();
        pool.join();
        self.shared.pool_ended();
        for thread in self.threads.drain(..) {
            // A panic in one of them was already reported by the panic hook; the others are still to be joined.
            let _ = thread.join();
        }
    }
}

impl Drop for StandbyHandle {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests;
