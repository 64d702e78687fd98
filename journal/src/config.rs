//! What can be chosen about a journal.

use std::time::Duration;

use formats::segment::{DATA_START, ITEM_HEAD_LEN};

use crate::error::JournalError;

/// Smallest segment, in bytes.
pub const MIN_SEGMENT_BYTES: u64 = 16 << 10;
/// Largest segment, in bytes.
pub const MAX_SEGMENT_BYTES: u64 = 4 << 30;
/// Most segments of one journal; each costs an open file.
pub const MAX_SEGMENTS: u64 = 512;
/// Fewest segments: one to write while another is read or freed.
pub const MIN_SEGMENTS: u64 = 2;

/// When appended items are made durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SyncPolicy {
    /// Only when asked, by [`crate::Journal::sync`].
    Never,
    /// [`crate::Journal::sync_due`] says so this long after the oldest item that is not durable.
    Interval(Duration),
    /// Within every append.
    #[default]
    Each,
}

/// Size and policy of a journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// Bytes of one segment file, a multiple of 4096. Space is freed by whole segments. An item must fit into one:
    /// [`formats::segment::SEGMENT_FOR_ANY_ENTRY`] takes any.
    pub segment_bytes: u64,
    /// Bytes of all segments; what is above a multiple of `segment_bytes` is not used. Reserved at open.
    pub total_bytes: u64,
    /// When items become durable.
    pub sync: SyncPolicy,
}

impl Default for Config {
    /// 1 GiB in segments of 64 MiB, every append durable.
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, total_bytes: 1 << 30, sync: SyncPolicy::Each }
    }
}

impl Config {
    /// Checks the limits.
    ///
    /// # Errors
    /// [`JournalError::Config`] says which limit and what to give instead.
    pub fn validate(&self) -> Result<(), JournalError> {
        let bad = |why: String| Err(JournalError::Config { why });
        if !(MIN_SEGMENT_BYTES..=MAX_SEGMENT_BYTES).contains(&self.segment_bytes)
            || !self.segment_bytes.is_multiple_of(4096)
        {
            return bad(format!(
                "a segment of {} bytes; give a multiple of 4096 from {MIN_SEGMENT_BYTES} to {MAX_SEGMENT_BYTES}",
                self.segment_bytes
            ));
        }
        let segments = self.total_bytes / self.segment_bytes;
        if !(MIN_SEGMENTS..=MAX_SEGMENTS).contains(&segments) {
            return bad(format!(
                "{} bytes are {segments} segments of {} bytes; give {MIN_SEGMENTS} to {MAX_SEGMENTS} of them",
                self.total_bytes, self.segment_bytes
            ));
        }
        Ok(())
    }

    /// Number of segment files.
    #[must_use]
    pub fn segments(&self) -> u16 {
        (self.total_bytes / self.segment_bytes).min(MAX_SEGMENTS) as u16
    }

    /// Largest payload that fits into a segment, in bytes.
    #[must_use]
    pub fn largest_payload(&self) -> u64 {
        self.segment_bytes - DATA_START - ITEM_HEAD_LEN as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_named() {
        assert!(Config::default().validate().is_ok());
        let refused = |segment_bytes, total_bytes| {
            Config { segment_bytes, total_bytes, sync: SyncPolicy::Never }.validate().unwrap_err().to_string()
        };
        assert!(refused(4096, 1 << 20).contains("16384"));
        assert!(refused(16385, 1 << 20).contains("multiple of 4096"));
        assert!(refused(1 << 20, 1 << 20).contains("1 segments"));
        assert!(refused(16 << 10, 1 << 30).contains("512"));
    }
}
