use std::io::{BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::client::{Client, captures, find_all};
use super::protocol::{MAX_REQUEST, Request, read_line};
use super::server::{Claim, ControlError, Server, Service};
use super::{Role, capture_socket, socket};
use crate::args::GroupName;
use crate::exit::{Done, Exit, Failure};

#[derive(Default)]
struct Fake {
    stopped: AtomicBool,
}

impl Service for Fake {
    fn status(&self) -> Done<Value> {
        Ok(json!({"state": "Connected"}))
    }

    fn drain(&self, _: Duration) -> Done<Value> {
        Err(Failure::text(Exit::Unreachable, "not in time"))
    }

    fn wait_sync(&self, _: Duration) -> Done<Value> {
        Ok(Value::Null)
    }

    fn mark(&self, _: &str) -> Done<Value> {
        Ok(Value::Null)
    }

    fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Done<Value> {
        (1..=3).for_each(|done| progress(done, 3));
        Ok(json!({"identical": true}))
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

fn serve(dir: &std::path::Path) -> (std::path::PathBuf, Arc<Fake>, Server) {
    let path = socket(dir, Role::Primary, &GroupName::default());
    let fake = Arc::new(Fake::default());
    let server = Server::start(Claim::new(&path).unwrap(), fake.clone()).unwrap();
    (path, fake, server)
}

#[test]
fn questions_are_answered() {
    let dir = tempfile::tempdir().unwrap();
    let (path, fake, server) = serve(dir.path());
    assert_eq!(Client::connect(&path).unwrap().ask(Request::Status).unwrap()["state"], "Connected");
    let mut seen = Vec::new();
    let client = Client::connect(&path).unwrap();
    let report = client.ask_within(Request::Verify, None, &mut |done, total| seen.push((done, total))).unwrap();
    assert_eq!((report["identical"].as_bool(), seen.len()), (Some(true), 3));
    let error = Client::connect(&path).unwrap().ask(Request::Drain { timeout_ms: 1 }).unwrap_err();
    assert_eq!((error.exit, error.to_string().as_str()), (Exit::Unreachable, "not in time"));
    Client::connect(&path).unwrap().ask(Request::Stop).unwrap();
    assert!(fake.stopped.load(Ordering::Relaxed));
    assert_eq!(find_all(dir.path()).unwrap().len(), 1);
    drop(server);
    assert_eq!(find_all(dir.path()).unwrap().len(), 0);
    assert_eq!(Client::connect(&path).unwrap_err().exit, Exit::Unreachable);
}

#[test]
fn what_a_killed_capture_left_is_no_capture() {
    let dir = tempfile::tempdir().unwrap();
    let alive = capture_socket(dir.path(), 7);
    let server = Server::start(Claim::new(&alive).unwrap(), Arc::new(Fake::default())).unwrap();
    let dead = capture_socket(dir.path(), 8);
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    assert_eq!((captures(dir.path()).unwrap(), dead.exists()), (vec![alive], false));
    assert_eq!(find_all(dir.path()).unwrap().len(), 0, "a capture is no service");
    drop(server);
}

#[test]
fn one_process_serves_a_group_and_leftovers_are_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let (path, _fake, server) = serve(dir.path());
    assert!(matches!(Claim::new(&path), Err(ControlError::Taken { .. })));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    drop(server);
    std::fs::write(&path, "left by a killed process").unwrap();
    Claim::new(&path).unwrap();
}

#[test]
fn garbage_and_endless_lines_do_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let (path, _fake, _server) = serve(dir.path());
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(b"{\"do\":\"dance\"}\n").unwrap();
    let line = read_line(&mut BufReader::new(&stream), MAX_REQUEST).unwrap().unwrap();
    assert!(line.contains("not a request"), "{line}");
    // The service may have hung up before all was written.
    let _ = stream.write_all(&vec![b'x'; MAX_REQUEST as usize + 1]);
    assert!(matches!(read_line(&mut BufReader::new(&stream), MAX_REQUEST), Ok(None) | Err(_)));
    assert!(Client::connect(&path).unwrap().ask(Request::Status).is_ok());
}
