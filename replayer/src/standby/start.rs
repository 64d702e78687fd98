//! Starting a standby: directory, checkpoint, journal, recovery, threads.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use formats::state::StandbyRecord;
use journal::{Config, Journal, RealDisk, SyncPolicy};
use link::{LinkError, Listener};
use replication::standby::StandbyState;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::StandbyHandle;
use super::checkpoint::{self, Keeper};
use super::config::{StandbyConfig, StandbyError};
use super::holes::{HolesFile, everything};
use super::journaling::JournalThread;
use super::saved::from_record;
use super::session;
use super::shared::{Shared, Signal};
use crate::pool::Pool;
use crate::state_file::StateFile;
use crate::target::Target;

/// Connections served at once, most of them to be told that there is already a primary.
const MAX_CONNECTIONS: usize = 16;
/// Pause after the system could not give a connection (too many open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// How long sessions may take to say farewell at the end.
const CLOSING: Duration = Duration::from_secs(3);

/// A volume's name and target.
pub(super) type Named = (String, Arc<dyn Target>);

pub(super) fn start(config: StandbyConfig, targets: Vec<Named>) -> Result<StandbyHandle, StandbyError> {
    make_dir(&config)?;
    keep_marks(&config, &targets)?;
    let disk = RealDisk::new(config.dir.join("journal"))?;
    let (file, record) = StateFile::open(&config.dir)?;
    let (journal, mut state) = open_journal(disk, &config, record.as_ref())?;
    let mut holes = HolesFile::new(&config.dir);
    if record.is_some() {
        state.holes = holes.take_up(&state.volumes).unwrap_or_else(|| {
            tracing::warn!(dir = %config.dir.display(), "what is out of sync is not known; everything is sent again");
            everything(&state.volumes)
        });
    }
    if let Some(record) = &record {
        check_same_targets(&config, record, journal.written() > state.local_index)?;
    }
    let redo_from = state.local_index + 1;
    let (orders, inbox) = mpsc::channel();
    let shared = Shared::new(config, targets, &state, Keeper::new(file, record, holes), orders.clone());
    if redo_from > journal.written() {
        shared.redo_end((journal.bytes_used(), journal.bytes_total()));
    }
    let (local, network) = start_network(&shared)?;
    let mut handle = StandbyHandle { shared, local, orders, pool: None, threads: vec![network] };
    handle.pool = Some(Pool::start(handle.shared.config.workers(), &handle.shared).map_err(StandbyError::Thread)?);
    let writer = JournalThread::new(Arc::clone(&handle.shared), journal, inbox);
    handle.threads.push(spawn("journal", move || writer.run(redo_from))?);
    let shared = Arc::clone(&handle.shared);
    handle.threads.push(spawn("checkpoint", move || checkpoint::run(&shared))?);
    Ok(handle)
}

fn make_dir(config: &StandbyConfig) -> Result<(), StandbyError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&config.dir);
    made.map_err(|source| StandbyError::Dir { path: config.dir.clone(), source })
}

/// Where a tape keeps which command it began last.
fn keep_marks(config: &StandbyConfig, targets: &[Named]) -> Result<(), StandbyError> {
    let path = config.dir.join("tape");
    let keep = |(_, target): &Named| target.commands().map_or(Ok(()), |commands| commands.keep_marks(&path));
    targets.iter().try_for_each(keep).map_err(|source| StandbyError::Dir { path: path.clone(), source })
}

fn open_journal(
    disk: RealDisk,
    config: &StandbyConfig,
    record: Option<&StandbyRecord>,
) -> Result<(Journal<RealDisk>, StandbyState), StandbyError> {
    // Syncing is asked for, group by group.
    let segment_bytes = if config.journal_bytes > (16 << 30) { 256 << 20 } else { 32 << 20 };
    let settings = Config { segment_bytes, total_bytes: config.journal_bytes, sync: SyncPolicy::Never };
    let (mut journal, recovery) = Journal::open(disk, settings)?;
    // Without a checkpoint nothing was ever accepted, so nothing in the journal counts.
    let state = record.map_or_else(|| StandbyState::blank(recovery.next - 1), from_record);
    if let Some(damage) = recovery.damaged.clone() {
        // What the checkpoint covers is on the targets; losing it from the journal loses nothing.
        if *damage.lost.end() > state.local_index {
            return Err(StandbyError::JournalDamaged { what: damage.to_string(), dir: config.dir.clone() });
        }
        journal.accept_damage()?;
    }
    if recovery.first > state.local_index + 1 {
        // The newer checkpoint, for which the journal was trimmed, is gone.
        let what = format!("{}..{} are gone before the checkpoint covers them", state.local_index + 1, recovery.first);
        return Err(StandbyError::JournalDamaged { what, dir: config.dir.clone() });
    }
    if journal.next() <= state.local_index {
        journal.discard_all(state.local_index + 1)?;
    }
    Ok((journal, state))
}

/// The checkpoint says what is on which target: each volume of it must still be on the same one.
fn check_same_targets(config: &StandbyConfig, record: &StandbyRecord, waiting: bool) -> Result<(), StandbyError> {
    for kept in &record.volumes {
        let (volume, was) = (kept.name.to_string_lossy(), kept.target.to_string_lossy());
        let dir = config.dir.clone();
        match config.kept_on(&volume) {
            Some(now) if now == was => {}
            Some(now) => return Err(StandbyError::TargetChanged { volume, was, now, dir }),
            None if waiting => return Err(StandbyError::VolumeMissing { volume, was, dir }),
            None => {}
        }
    }
    Ok(())
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StandbyError> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(StandbyError::Thread)
}

/// Starts the thread of the network, which has a runtime of its own so that the caller needs none.
fn start_network(shared: &Arc<Shared>) -> Result<(SocketAddr, JoinHandle<()>), StandbyError> {
    let (told, bound) = mpsc::channel();
    let thread = spawn("network", {
        let shared = Arc::clone(shared);
        move || network(shared, &told)
    })?;
    let gone = || StandbyError::Thread(io::Error::other("the network thread ended"));
    match bound.recv().unwrap_or_else(|_| Err(gone())) {
        Ok(local) => Ok((local, thread)),
        Err(error) => {
            // It holds the targets: they must be free when this returns.
            let _ = thread.join();
            Err(error)
        }
    }
}

fn network(shared: Arc<Shared>, told: &mpsc::Sender<Result<SocketAddr, StandbyError>>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = told.send(Err(StandbyError::Thread(error)));
            return;
        }
    };
    let bound = runtime.block_on(Listener::bind(&shared.config.listen, shared.config.insecure));
    match bound {
        // Whoever waits for the answer is in the middle of starting and cannot be gone.
        Err(error) => drop(told.send(Err(error.into()))),
        Ok(listener) => {
            let _ = told.send(Ok(listener.local_addr()));
            runtime.block_on(accept(&shared, listener));
        }
    }
    runtime.shutdown_timeout(CLOSING);
}

async fn accept(shared: &Arc<Shared>, listener: Listener) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut signal = shared.signal();
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
        tokio::select! {
            biased;
            _ = signal.wait_for(|signal| *signal == Signal::End) => break,
            accepted = listener.accept() => match accepted {
                Ok(transport) => drop(tokio::spawn({
                    let shared = Arc::clone(shared);
                    async move {
                        session::serve(shared, transport).await;
                        drop(place);
                    }
                })),
                Err(error) => pause(shared, error).await,
            },
        }
    }
    drop(listener);
    // Sessions see the signal themselves and say farewell; all places are free when the last one has.
    let all = places.acquire_many(MAX_CONNECTIONS as u32);
    let _ = tokio::time::timeout(CLOSING, all).await;
}

async fn pause(shared: &Shared, error: LinkError) {
    shared.note_link_error(&error.into());
    sleep(ACCEPT_PAUSE).await;
}
