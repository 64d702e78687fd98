//! The service's end of the control socket.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FlockOperation;
use serde_json::Value;
use thiserror::Error;

use super::protocol::{MAX_REQUEST, Reply, Request, read_line, to_line};
use crate::exit::{Done, Exit, Failure};

/// Conversations at the same time.
const MAX_CLIENTS: usize = 16;
/// How long a client may be silent or not read.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the server waits between looks at whether it is to end.
const TICK: Duration = Duration::from_millis(50);

/// What answers requests.
pub(crate) trait Service: Send + Sync + 'static {
    /// How it is.
    fn status(&self) -> Done<Value>;
    /// Waits until what completed before now is applied on the standby.
    fn drain(&self, timeout: Duration) -> Done<Value>;
    /// Waits until all synchronous standbys hold durably what completed before now.
    fn wait_sync(&self, timeout: Duration) -> Done<Value>;
    /// Compares with the standby; `progress` is told bytes done and bytes in all.
    fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Done<Value>;
    /// Sets a mark behind what completed before now.
    fn mark(&self, text: &str) -> Done<Value>;
    /// Begins to end.
    fn stop(&self);
}

/// Why there is no control socket.
#[derive(Debug, Error)]
pub(crate) enum ControlError {
    /// The directory cannot be used.
    #[error("cannot use {} for the control socket: {source}; name another with --run-dir or --control", path.display())]
    Socket {
        /// Which path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Another process serves this group.
    #[error("another blkecho process holds {}: one process serves a group; see `blkecho status`, or use --group", path.display())]
    Taken {
        /// The lock file.
        path: PathBuf,
    },
}

/// The right to serve a group, with its socket.
#[derive(Debug)]
pub(crate) struct Claim {
    path: PathBuf,
    listener: UnixListener,
    /// Held as long as the claim: the kernel frees the lock however the process ends.
    _lock: File,
}

impl Claim {
    /// Claims `path`. What an earlier process left there is removed.
    ///
    /// # Errors
    /// [`ControlError`].
    pub(crate) fn new(path: &Path) -> Result<Self, ControlError> {
        let failed = |source| ControlError::Socket { path: path.to_owned(), source };
        let dir = path.parent().unwrap_or(Path::new("."));
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        let lock_path = path.with_extension("lock");
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&lock_path).map_err(failed)?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| ControlError::Taken { path: lock_path })?;
        let listener = bind(path).map_err(failed)?;
        Ok(Self { path: path.to_owned(), listener, _lock: lock })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // While the lock is still held: the next one's socket stays.
        let _ = fs::remove_file(&self.path);
    }
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Answers requests until it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    path: PathBuf,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts to answer for `service`.
    ///
    /// # Errors
    /// The system has no thread left.
    pub(crate) fn start(claim: Claim, service: Arc<dyn Service>) -> io::Result<Self> {
        let end = Arc::new(AtomicBool::new(false));
        let (path, over) = (claim.path.clone(), Arc::clone(&end));
        let thread = std::thread::Builder::new().name("control".into());
        let thread = thread.spawn(move || accept_all(&claim, &service, &over))?;
        Ok(Self { path, end, thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // First the name, so that nobody connects to a server that is about to go.
        let _ = fs::remove_file(&self.path);
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn accept_all(claim: &Claim, service: &Arc<dyn Service>, end: &AtomicBool) {
    let clients = Arc::new(AtomicUsize::new(0));
    while !end.load(Ordering::Relaxed) {
        match claim.listener.accept() {
            Ok((stream, _)) => spawn_client(stream, service, &clients),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait_for_client(&claim.listener),
            Err(_) => std::thread::sleep(TICK),
        }
    }
}

/// Until somebody connects, or it is to be looked whether the server is to end.
fn wait_for_client(listener: &UnixListener) {
    let tick = Timespec { tv_sec: 0, tv_nsec: TICK.as_nanos() as i64 };
    if poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&tick)).is_err() {
        std::thread::sleep(TICK);
    }
}

fn spawn_client(stream: UnixStream, service: &Arc<dyn Service>, clients: &Arc<AtomicUsize>) {
    if clients.fetch_add(1, Ordering::Relaxed) >= MAX_CLIENTS {
        clients.fetch_sub(1, Ordering::Relaxed);
        return;
    }
    let (service, count) = (Arc::clone(service), Arc::clone(clients));
    let serve = move || {
        // A client that went away is no concern of the service.
        let _ = converse(&stream, service.as_ref());
        count.fetch_sub(1, Ordering::Relaxed);
    };
    if std::thread::Builder::new().name("control-client".into()).spawn(serve).is_err() {
        clients.fetch_sub(1, Ordering::Relaxed);
    }
}

fn converse(stream: &UnixStream, service: &dyn Service) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut source = BufReader::new(stream);
    while let Some(line) = read_line(&mut source, MAX_REQUEST)? {
        let mut progress = |done, total| drop(send(stream, &Reply::Progress { done, total }));
        let reply = answer(&line, service, &mut progress).map_or_else(Reply::from, Reply::Result);
        send(stream, &reply)?;
    }
    Ok(())
}

fn send(mut stream: &UnixStream, reply: &Reply) -> io::Result<()> {
    stream.write_all(&to_line(reply)?)
}

fn answer(line: &str, service: &dyn Service, progress: &mut dyn FnMut(u64, u64)) -> Done<Value> {
    let request = serde_json::from_str(line)
        .map_err(|error| Failure::text(Exit::Usage, format!("not a request of this version: {error}")))?;
    match request {
        Request::Status => service.status(),
        Request::Drain { timeout_ms } => service.drain(Duration::from_millis(timeout_ms)),
        Request::WaitSync { timeout_ms } => service.wait_sync(Duration::from_millis(timeout_ms)),
        Request::Mark { text } => service.mark(&text),
        Request::Verify => service.verify(progress),
        Request::Stop => {
            service.stop();
            Ok(Value::Null)
        }
    }
}
