//! The primary's side: observes block devices with eBPF and ships every completed change, in order, to a standby.
//!
//! [`Agent::start`] does the whole of it: checks, loading or picking up the pinned probe, the self-test, journal, link.
//! What it guarantees: it never writes to an observed device; every completed change is in the journal or in a dirty
//! map; stopping or dying leaves the probe pinned, so tracking goes on.

pub mod bench;
pub mod btf;
pub mod capture;
mod config;
mod error;
mod filtering;
mod identity;
mod layer;
pub mod preflight;
pub mod primary;
pub mod probe;
pub mod record;
mod scsi_identity;
mod secondaries;
mod secondary_status;
pub mod selftest;
mod setup;
mod status;
mod tape;
mod verify;
mod wait_sync;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

pub use config::{AgentConfig, NamedDevice};
pub use error::{AgentError, ErrorClass};
pub use layer::{Layer, LayerError};
pub use probe::filter::{self, Filter, FilterError};
pub use secondaries::{Secondary, SyncMode};
pub use secondary_status::SecondaryStatus;
pub use status::{AgentStatus, DetachReport, DrainReport, WaitReport};
pub use tape::TapeError;
pub use verify::{Difference, VerifyReport};

use crate::capture::Shared;
use crate::primary::LogError;
use crate::primary::core::Core;
use crate::primary::shipper::{HashQuestion, Shipper};

/// A running agent. Dropping it stops it and leaves the probe pinned.
pub struct Agent {
    core: Arc<Core>,
    capture: Arc<Shared>,
    picked_up: bool,
    /// To the link of each secondary.
    questions: Vec<mpsc::Sender<HashQuestion>>,
    log: Option<JoinHandle<Result<(), LogError>>>,
    links: Vec<JoinHandle<()>>,
}

/// Pause between looks at a state that is waited for.
const POLL: Duration = Duration::from_millis(20);

impl Agent {
    /// Checks everything, attaches, and starts to ship.
    ///
    /// # Errors
    /// Says what is missing, refused or broken, and the remedy. Nothing new stays pinned then.
    pub fn start(config: AgentConfig) -> Result<Self, AgentError> {
        let setup::Ready { core, log, reader, capture, picked_up } = setup::prepare(&config)?;
        let log = Some(spawn("log", move || log.run())?);
        let mut agent = Self { core, capture, picked_up, questions: Vec::new(), log, links: Vec::new() };
        for place in 0..agent.core.links.len() {
            let (questions, receiver) = mpsc::channel(16);
            let shipper = Shipper::new(Arc::clone(&agent.core), place, reader.clone(), config.insecure, receiver);
            agent.links.push(spawn("link", move || run_link(shipper))?);
            agent.questions.push(questions);
        }
        Ok(agent)
    }

    /// What it looks like now.
    #[must_use]
    pub fn status(&self) -> AgentStatus {
        status::gather(&self.core, &self.capture, self.picked_up)
    }

    /// Waits until everything that had completed before the call is applied at every standby, and nothing is dirty.
    ///
    /// # Errors
    /// [`AgentError::TimedOut`] says what was missing.
    pub fn drain(&self, timeout: Duration) -> Result<DrainReport, AgentError> {
        let start = Instant::now();
        let target = self.core.kernel_seq();
        let mut wait = status::DrainWait::new(target);
        loop {
            match wait.missing(&self.core) {
                None => return Ok(DrainReport { seq: target.0, seconds: start.elapsed().as_secs_f64() }),
                Some(why) if start.elapsed() >= timeout => {
                    return Err(AgentError::TimedOut { what: "draining", after: timeout, why });
                }
                Some(_) => std::thread::sleep(POLL),
            }
        }
    }

    /// Waits until every synchronous standby holds durably, and in a consistent state, all that had completed before the
    /// call. What completes later is not waited for, so it ends under load, too.
    ///
    /// # Errors
    /// [`AgentError::NotHeld`] at once when a link is down; [`AgentError::TimedOut`] says what was missing;
    /// [`AgentError::Usage`] when no standby is synchronous.
    pub fn wait_sync(&self, timeout: Duration) -> Result<WaitReport, AgentError> {
        wait_sync::wait(&self.core, timeout)
    }

    /// Compares all volumes with every standby, chunk by chunk, by hashes. Meant for an idle device; the report says if it
    /// was written meanwhile. `progress` gets bytes done and bytes in all.
    ///
    /// # Errors
    /// When a standby is not connected or a device cannot be read.
    pub fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<VerifyReport, AgentError> {
        verify::run(&self.core, &self.questions, progress)
    }

    /// Stops: what is captured is made durable, the probe stays pinned and goes on marking.
    ///
    /// # Errors
    /// What failed in the log thread, now or earlier.
    pub fn stop(mut self) -> Result<(), AgentError> {
        self.halt()
    }

    fn halt(&mut self) -> Result<(), AgentError> {
        self.core.stop.store(true, Ordering::Release);
        self.core.wake_links();
        let result = match self.log.take().map(JoinHandle::join) {
            Some(Ok(result)) => result.map_err(AgentError::from),
            // The panic was reported by its own hook.
            Some(Err(_)) | None => Ok(()),
        };
        for link in self.links.drain(..) {
            let _ = link.join();
        }
        result
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Whoever wants the error calls `stop`.
        let _ = self.halt();
    }
}

fn spawn<T: Send + 'static>(
    name: &'static str,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, AgentError> {
    let thread = std::thread::Builder::new().name(name.into()).spawn(run);
    thread.map_err(|source| AgentError::System { what: "starting a thread", source })
}

fn run_link(shipper: Shipper) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build();
    match runtime {
        Ok(runtime) => runtime.block_on(shipper.run()),
        Err(error) => tracing::error!("the link cannot start: {error}; entries stay in the journal"),
    }
}

/// Takes the probe of `group` out of the kernel. A running agent must have been stopped before.
///
/// # Errors
/// Names the pin that could not be removed.
pub fn detach(group: &str, bpffs: &Path) -> Result<DetachReport, AgentError> {
    let removed = probe::remove(&config::pin_dir(bpffs, group))?;
    Ok(DetachReport { group: group.to_owned(), removed })
}
