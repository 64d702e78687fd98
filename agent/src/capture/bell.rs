//! Being woken by the probe.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{Timespec, epoll};

use crate::probe::ring::Ring;

/// Rings when the probe asks for it.
///
/// Edge-triggered: the kernel calls a ring readable as long as any of it is not given back (kernel/bpf/ringbuf.c,
/// `ringbuf_map_poll`), and payload that is still in use is not.
pub(super) struct Bell(OwnedFd);

impl Bell {
    pub(super) fn on(ring: &Ring) -> std::io::Result<Self> {
        let bell = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&bell, ring, epoll::EventData::new_u64(0), flags)?;
        Ok(Self(bell))
    }

    /// Waits for it, `patience` at most. A signal or a time-out is as good as an event: the ring is looked at in any case.
    pub(super) fn wait(&self, patience: Duration) {
        let timeout = Timespec { tv_sec: patience.as_secs() as _, tv_nsec: patience.subsec_nanos().into() };
        let mut events = [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }];
        let _ = epoll::wait(&self.0, &mut events, Some(&timeout));
    }
}
