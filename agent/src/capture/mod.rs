//! From the ring to records in order: the capture thread.
//!
//! A plain thread that never waits for disk or network. It drains the ring, joins events ([`assembler`]), puts records
//! into the order of completion, and hands batches over. Payload stays in the ring until whoever got it is done with it;
//! when that takes long it is copied out of the ring, and when too many bytes wait to be written the thread keeps
//! addresses and drops payloads, by number: the regions are read back later.
//!
//! While there is something to do it looks into the ring every millisecond, not at every event: each look costs the
//! application a little of its processor.

pub mod assembler;
mod bell;
pub mod confine;
pub mod queue;
pub mod scsi;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use formats::Seq;
use replication::sequencer::{Offer, Ordered, Sequencer};
use tracing::warn;

use self::assembler::{Assembled, Assembler, AssemblerCounters, Captured};
use self::bell::Bell;
use self::queue::Queue;
use crate::probe::Probe;
use crate::probe::ring::{Ring, Slot};

/// Index of `wake` among the 32-bit words of `Order`.
pub(crate) const ORDER_WAKE: usize = 17;
/// Events taken before what they came to is handed over.
const EVENTS_PER_BATCH: usize = 2048;
/// Between two looks into the ring. The ring takes far more than a fast device writes meanwhile.
const PAUSE: Duration = Duration::from_millis(1);
/// Looks into an empty ring before the thread asks to be woken.
const IDLE_LOOKS: u32 = 20;
/// Longest sleep without a wake-up: holes are declared and clocks go on even when nothing is written.
const SLEEP: Duration = Duration::from_millis(50);
/// The thread's priority: it does little, but when it comes late the ring overflows.
const NICE: i32 = -10;
/// Nothing more is taken from the ring while so many records wait for a journal or an output that is stalled.
const MAX_QUEUED_RECORDS: usize = 1 << 18;
/// Part of the ring that is read, at most, before what is free of it is given back: one in so many.
const PART: u64 = 16;
/// Payload is copied out of the ring when more than this part of it, one in so many, is not free again.
const CROWDED: u64 = 4;

/// Records in order, and gaps where records are missing.
pub type Batch = Vec<Ordered<Captured>>;

/// A read of the self-test, as the probe saw it.
#[derive(Debug)]
pub struct SelfTestRead {
    /// First byte on the volume.
    pub offset: u64,
    /// What lay in the buffer at issue.
    pub at_issue: Option<Bytes>,
    /// What lay there at completion.
    pub at_completion: Option<Bytes>,
}

/// What both sides of the hand-over see.
#[derive(Debug, Default)]
pub struct Shared {
    /// Bytes of payload handed over and not yet given back.
    pub queued_bytes: AtomicU64,
    /// Set to end the thread.
    pub stop: AtomicBool,
    /// Records handed over.
    pub records: AtomicU64,
    /// Bytes of payload handed over.
    pub payload_bytes: AtomicU64,
    /// Completions that came after they had been declared missing.
    pub late: AtomicU64,
    /// Completions that an earlier agent had taken and put into the journal, but not given back to the ring.
    pub repeated: AtomicU64,
    /// Last `seq` handed over, in order.
    pub last_seq: AtomicU64,
    /// Counts of the assembler.
    pub assembler: Mutex<AssemblerCounters>,
    /// Issues that will never complete here.
    pub forget: Mutex<Vec<u64>>,
}

/// The running thread.
pub struct Capture {
    /// Records in order.
    pub batches: Arc<Queue>,
    /// Reads of the self-test.
    pub selftest: Receiver<SelfTestRead>,
    /// Counts and limits.
    pub shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread needs.
pub struct CaptureConfig {
    /// Payload is dropped while more than this waits to be written.
    pub max_queued_bytes: u64,
    /// First `seq` expected.
    pub first_seq: Seq,
    /// How long a hole in the numbers may stay before it counts as a loss.
    pub hole_timeout: Duration,
}

impl Capture {
    /// Starts the thread on the probe's ring.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(probe: Arc<Probe>, ring: Ring, assembler: Assembler, config: &CaptureConfig) -> std::io::Result<Self> {
        let batches = Arc::new(Queue::default());
        let (selftest_tx, selftest) = channel();
        let shared = Arc::new(Shared::default());
        let worker = Worker {
            probe,
            bell: Bell::on(&ring)?,
            ring,
            assembler,
            sequencer: Sequencer::new(config.first_seq, config.hole_timeout, SEQUENCER_WINDOW),
            batches: Arc::clone(&batches),
            selftest: selftest_tx,
            shared: Arc::clone(&shared),
            first_seq: config.first_seq,
            waiting_bytes: 0,
            max_queued_bytes: config.max_queued_bytes,
            hole_timeout: config.hole_timeout,
            tail: None,
            start: Instant::now(),
        };
        let thread = std::thread::Builder::new().name("capture".into()).spawn(move || worker.run())?;
        Ok(Self { batches, selftest, shared, thread: Some(thread) })
    }

    /// Says that `issue` will not complete: what waits for it is dropped.
    pub fn forget(&self, issue: u64) {
        if let Ok(mut forget) = self.shared.forget.lock() {
            forget.push(issue);
        }
    }

    /// Says that the thread is to end when what the ring holds has been handed over; does not wait for it.
    pub fn finish(&self) {
        self.shared.stop.store(true, Ordering::Release);
    }

    /// Ends the thread.
    fn stop(&mut self) {
        self.finish();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported by its own hook; there is nothing to join then.
            let _ = thread.join();
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // Nobody takes any more, so the thread must not wait for room.
        self.batches.abandon();
        self.stop();
    }
}

/// Completions that may wait for an earlier one.
const SEQUENCER_WINDOW: usize = 65_536;

impl Drop for Worker {
    fn drop(&mut self) {
        // However the thread ends: nobody waits for more.
        self.batches.close();
    }
}

struct Worker {
    probe: Arc<Probe>,
    bell: Bell,
    ring: Ring,
    assembler: Assembler,
    sequencer: Sequencer<Captured>,
    batches: Arc<Queue>,
    selftest: Sender<SelfTestRead>,
    shared: Arc<Shared>,
    first_seq: Seq,
    /// Bytes of payload that the sequencer holds.
    waiting_bytes: u64,
    max_queued_bytes: u64,
    hole_timeout: Duration,
    /// Completions up to this number were missing since then.
    tail: Option<(u64, Duration)>,
    start: Instant,
}

impl Worker {
    fn run(mut self) {
        if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE) {
            warn!("the capture thread runs at ordinary priority, and may come late on a busy host: {error}");
        }
        let mut idle = 0;
        loop {
            if self.batches.is_crowded(MAX_QUEUED_RECORDS) {
                // The ring is the last to hold; what it cannot is counted.
                self.make_room();
                self.tail = None;
                std::thread::sleep(PAUSE);
                continue;
            }
            let (taken, emptied) = self.drain();
            self.hand_over();
            self.make_room();
            if taken == 0 && self.shared.stop.load(Ordering::Acquire) {
                return;
            }
            idle = if taken > 0 { 0 } else { idle + 1 };
            if taken == 0 {
                self.look_for_lost_tail();
                self.forget();
            }
            if emptied {
                self.pause(idle);
            }
        }
    }

    /// Takes a bounded part of what is in the ring; answers the number of events, and whether it was all.
    fn drain(&mut self) -> (usize, bool) {
        let shed = self.shared.queued_bytes.load(Ordering::Relaxed) + self.waiting_bytes > self.max_queued_bytes;
        let now = self.start.elapsed();
        let crowded = self.ring.held() > self.ring.size() / CROWDED;
        let enough = self.ring.position() + self.ring.size() / PART;
        let mut taken = 0;
        while taken < EVENTS_PER_BATCH && self.ring.position() < enough {
            let Some(slot) = self.ring.read() else { return (taken, true) };
            let slot = if crowded { Slot::of(slot.bytes) } else { slot };
            let assembled = self.assembler.event(&slot, shed);
            taken += 1;
            match assembled {
                Assembled::Nothing => {}
                Assembled::Record(captured) => self.offer(now, captured),
                Assembled::SelfTest { offset, at_issue, at_completion } => {
                    // Nobody listens after the test.
                    let _ = self.selftest.send(SelfTestRead { offset, at_issue, at_completion });
                }
            }
        }
        (taken, false)
    }

    fn offer(&mut self, now: Duration, captured: Captured) {
        let (seq, bytes) = (captured.record.seq, captured.bytes.len() as u64);
        match self.sequencer.offer(now, seq, captured) {
            Offer::Taken => self.waiting_bytes += bytes,
            Offer::Late(_) if seq < self.first_seq => drop(self.shared.repeated.fetch_add(1, Ordering::Relaxed)),
            Offer::Late(_) => drop(self.shared.late.fetch_add(1, Ordering::Relaxed)),
        }
    }

    fn hand_over(&mut self) {
        let now = self.start.elapsed();
        let mut batch = Batch::new();
        while let Some(ordered) = self.sequencer.poll(now) {
            batch.push(ordered);
        }
        if batch.is_empty() {
            return;
        }
        self.account(&batch);
        self.batches.put(batch);
    }

    /// Gives the ring back what nobody needs any more. A command that hangs, a hole in the numbers, or a slow journal must
    /// not keep the ring from everything behind it.
    fn make_room(&mut self) {
        self.ring.release();
        if self.ring.held() > self.ring.size() / CROWDED {
            self.assembler.leave_ring();
            self.sequencer.waiting_mut().for_each(Captured::leave_ring);
            self.batches.leave_ring();
            self.ring.release();
        }
    }

    fn account(&mut self, batch: &Batch) {
        let records = batch.iter().filter_map(|ordered| match ordered {
            Ordered::Item(_, captured) => Some(captured),
            Ordered::Gap(_) => None,
        });
        let (count, bytes) = records.fold((0, 0), |(n, bytes), captured| (n + 1, bytes + captured.bytes.len() as u64));
        self.waiting_bytes -= bytes;
        self.shared.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.shared.records.fetch_add(count, Ordering::Relaxed);
        self.shared.payload_bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Ok(mut counters) = self.shared.assembler.lock() {
            *counters = self.assembler.counters();
        }
        if let Some(last) = batch.last() {
            let seq = match last {
                Ordered::Item(seq, _) => seq.0,
                Ordered::Gap(gap) => gap.last.0,
            };
            self.shared.last_seq.store(seq, Ordering::Release);
        }
    }

    /// A completion that was numbered but never came leaves no hole when nothing comes after it: the kernel's counter
    /// tells.
    fn look_for_lost_tail(&mut self) {
        let now = self.start.elapsed();
        let numbered = self.probe.order.word(0, 0).load(Ordering::Acquire);
        if Seq(numbered) < self.sequencer.next() {
            self.tail = None;
            return;
        }
        match self.tail {
            Some((through, since)) if now.saturating_sub(since) >= self.hole_timeout => {
                self.tail = None;
                self.sequencer.declare_lost(Seq(through));
            }
            Some(_) => {}
            None => self.tail = Some((numbered, now)),
        }
    }

    fn forget(&mut self) {
        if let Ok(mut forget) = self.shared.forget.lock() {
            forget.drain(..).for_each(|issue| self.assembler.forget(issue));
        }
    }

    /// Waits: first a little, then until the probe wakes it.
    fn pause(&self, idle: u32) {
        if idle < IDLE_LOOKS {
            std::thread::sleep(PAUSE);
            return;
        }
        let wake = self.probe.order.half_word(0, ORDER_WAKE);
        wake.store(1, Ordering::SeqCst);
        // What came before the probe could see the flag.
        if !self.ring.has_more() {
            self.bell.wait(SLEEP);
        }
        wake.store(0, Ordering::Release);
    }
}
