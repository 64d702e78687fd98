//! One disk, two standbys.

use std::fs;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent::{Agent, AgentError, AgentStatus, Secondary, SecondaryStatus, SyncMode};
use replayer::standby::{StandbyConfig, StandbyHandle, StandbyService};

use crate::rig::{LoopDevice, Rig, fio, sh};
use crate::scratch;

/// A wire that can be cut: accepts connections and passes bytes on.
struct Wire {
    address: SocketAddr,
    cut: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Wire {
    fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let wire = Self { address, cut: Arc::default(), streams: Arc::default() };
        let (cut, streams) = (Arc::clone(&wire.cut), Arc::clone(&wire.streams));
        // It ends with the process of the tests.
        std::thread::spawn(move || {
            for near in listener.incoming().flatten().filter(|_| !cut.load(Ordering::Relaxed)) {
                if let Ok(far) = TcpStream::connect(target) {
                    join(&near, &far).and_then(|()| join(&far, &near)).expect("threads");
                    streams.lock().expect("streams").extend([near, far]);
                }
            }
        });
        wire
    }

    fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
        let streams = std::mem::take(&mut *self.streams.lock().expect("streams"));
        streams.iter().for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
    }

    fn mend(&self) {
        self.cut.store(false, Ordering::Relaxed);
    }
}

/// Passes on what comes from one side, and its end.
fn join(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
    let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
    std::thread::spawn(move || {
        // Either side may be cut at any moment.
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
    Ok(())
}

/// The rig's standby is `near`; a second one, `far`, is reached through a wire.
struct Two {
    rig: Rig,
    wire: Wire,
    _far: StandbyHandle,
}

impl Two {
    fn start(dir: &Path, device: &LoopDevice) -> Self {
        let mut rig = Rig::prepare("several", &[&device.path]);
        rig.config.journal_bytes = 128 << 20;
        rig.start_standby();
        let copy = dir.join("far-copy");
        let size = fs::metadata(&device.image).expect("image").len();
        fs::File::create(&copy).and_then(|file| file.set_len(size)).expect("copy");
        let volumes = vec![("v0".to_owned(), copy.clone())];
        let far = StandbyConfig::new("127.0.0.1:0", dir.join("far"), volumes);
        let far = StandbyService::start(far).expect("standby starts");
        let wire = Wire::to(far.local_addr());
        rig.pairs.push((device.path.clone(), copy));
        let near = &mut rig.config.to[0];
        (near.name, near.mode) = ("near".into(), SyncMode::Synchronous);
        rig.config.to.push(Secondary { name: "far".into(), ..Secondary::at(&wire.address.to_string()) });
        rig.start_agent();
        Self { rig, wire, _far: far }
    }
}

fn near(status: &AgentStatus) -> &SecondaryStatus {
    &status.secondaries[0]
}

fn far(status: &AgentStatus) -> &SecondaryStatus {
    &status.secondaries[1]
}

#[test]
#[ignore = "needs root, eBPF and loop devices"]
fn two_standbys_go_at_their_own_pace() {
    let dir = scratch();
    let device = LoopDevice::new(dir.path(), "disk", 256);
    let Two { mut rig, wire, _far } = Two::start(dir.path(), &device);
    rig.assert_identical();
    let first = rig.status();

    // One is away, and the journal keeps what it misses; the other does not notice.
    rig.stop_standby();
    fio(&device.path, "--rw=randwrite --bs=4k --iodepth=8 --ioengine=libaio --size=64m --io_size=4m");
    let status = rig.wait("the other one", |status| far(status).applied == status.position && status.position > 0);
    assert_eq!((far(&status).state.as_str(), status.state.as_str()), ("Connected", "Disconnected"), "{status:#?}");
    rig.start_standby();
    rig.assert_identical();
    let status = rig.status();
    let lost = status.losses.unseen * (128 << 10);
    assert!(near(&status).resynced_bytes - near(&first).resynced_bytes <= lost, "{status:#?}");

    // The other is cut off for longer than the journal lasts: it alone falls back to its map.
    wire.cut();
    rig.wait("the cut", |status| !far(status).connected);
    fio(&device.path, "--rw=write --bs=64k --rate=24m --iodepth=4 --ioengine=libaio --size=192m");
    let status = rig.wait("the overflow", |status| far(status).overflows > 0);
    assert_eq!((far(&status).state.as_str(), near(&status).state.as_str()), ("Behind", "Connected"), "{status:#?}");
    println!("near: lag {} s, {} entries while far is cut off", near(&status).lag_seconds, near(&status).lag_entries);
    let before = status;
    wire.mend();
    rig.assert_identical();
    let status = rig.status();
    assert_eq!((near(&status).overflows, near(&status).full_syncs), (0, 1), "{status:#?}");
    assert_eq!((far(&status).full_syncs, status.state.as_str()), (1, "Connected"), "only the first: {status:#?}");
    let lost = (status.losses.unseen + status.losses.completions + status.losses.payloads) * (128 << 10);
    assert!(near(&status).resynced_bytes - near(&before).resynced_bytes <= lost, "{status:#?}");
    let resynced = far(&status).resynced_bytes - far(&before).resynced_bytes;
    assert!((128 << 20..=256 << 20).contains(&resynced), "what was written, not more: {status:#?}");
    what_is_known_of_one_is_kept_until_it_is_forgotten(&mut rig);
}

/// A block of round `round`, written and on the device.
fn write_block(device: &Path, round: u8) {
    let (seek, device) = (u64::from(round), device.display());
    let fill = format!("tr '\\0' '\\{round:03o}' </dev/zero | head -c 4096");
    sh(&format!("{fill} | dd of={device} bs=4096 seek={seek} oflag=direct conv=fsync iflag=fullblock status=none"));
}

/// Random writes behind the first 64 MiB, until it is killed.
fn background_load(device: &Path) -> Child {
    let job =
        "--name=load --thread --direct=1 --rw=randwrite --bs=4k --iodepth=8 --ioengine=libaio --offset=64m --rate=8m";
    let mut fio = Command::new("fio");
    fio.args(job.split(' ')).args(["--time_based", "--runtime=60", "--output=/dev/null"]);
    fio.arg(format!("--filename={}", device.display())).spawn().expect("fio")
}

/// What was confirmed is on the standby, although the primary is gone and the standby had no time to apply it.
fn holds_blocks(copy: &Path, rounds: u8) {
    let copy = fs::read(copy).expect("the copy");
    for round in 1..=rounds {
        let block = &copy[usize::from(round) * 4096..][..4096];
        assert!(block.iter().all(|byte| *byte == round), "block {round} was confirmed and is not there");
    }
}

#[test]
#[ignore = "needs root, eBPF and loop devices"]
fn a_wait_ends_when_the_synchronous_standby_holds_what_completed() {
    const ROUNDS: u8 = 40;
    let patience = Duration::from_secs(20);
    let dir = scratch();
    let device = LoopDevice::new(dir.path(), "disk", 256);
    let Two { mut rig, wire, _far } = Two::start(dir.path(), &device);
    rig.drain();
    // Whoever is not synchronous is not waited for.
    wire.cut();
    rig.wait("the cut", |status| !far(status).connected);
    let mut load = background_load(&device.path);
    let mut times = Vec::new();
    for round in 1..=ROUNDS {
        write_block(&device.path, round);
        let report = rig.agent().wait_sync(patience).expect("the near one holds it");
        assert_eq!(report.standbys, ["near"]);
        times.push(report.seconds * 1e3);
    }
    rig.stop_standby();
    load.kill().and_then(|()| load.wait()).expect("fio ends");
    rig.stop_agent();
    rig.start_standby();
    assert!(rig.standby().wait_drained(patience), "its journal is applied");
    holds_blocks(&rig.pairs[0].1, ROUNDS);
    times.sort_by(f64::total_cmp);
    println!("waits under load: median {:.1} ms, longest {:.1} ms", times[times.len() / 2], times[times.len() - 1]);

    // Without a link it fails at once, and says whose.
    rig.stop_standby();
    rig.start_agent();
    let refused = rig.agent().wait_sync(patience).expect_err("near is away");
    assert!(refused.to_string().contains("`near` does not hold what completed: the link is down"), "{refused}");
    rig.config.to.iter_mut().for_each(|to| to.mode = SyncMode::Asynchronous);
    rig.stop_agent();
    rig.start_agent();
    assert!(matches!(rig.agent().wait_sync(patience), Err(AgentError::Usage(_))), "nobody is synchronous");
}

/// And who is not named any more can come back only by a copy of everything.
fn what_is_known_of_one_is_kept_until_it_is_forgotten(rig: &mut Rig) {
    rig.stop_agent();
    let both = rig.config.to.clone();
    rig.config.to.truncate(1);
    let refused = Agent::start(rig.config.clone()).map(drop).expect_err("far is not named");
    assert!(matches!(&refused, AgentError::Unnamed { name, .. } if name == "far"), "{refused}");
    rig.config.forget = vec!["far".into()];
    rig.start_agent();
    rig.drain();
    assert_eq!(rig.status().secondaries.len(), 1);
    rig.stop_agent();
    rig.config.to = both;
    rig.start_agent();
    rig.assert_identical();
    let status = rig.status();
    assert!(far(&status).resynced_bytes >= 256 << 20, "nothing is known of it: {status:#?}");
    assert!(near(&status).resynced_bytes < 256 << 20 && near(&status).full_syncs == 0, "{status:#?}");
}
