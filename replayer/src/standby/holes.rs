//! What the targets' devices did not take, on disk beside the checkpoint.
//!
//! One file with one frame: the same [`Resend`] that asks the primary for these stretches, with the same checksums. It is
//! replaced as a whole, so a crash leaves the list before or the one after.
//!
//! What is durable when: the list is saved *before* the checkpoint that needs it. A crash between the two leaves an older
//! checkpoint beside a newer list. A hole that the older one does not know is in the list; one that it does know and the
//! list does not was closed by an entry behind the older checkpoint, which is applied again. Where the list is missing or
//! damaged although there is a checkpoint, nobody knows, and all volumes are out of sync.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use formats::wire::{FRAME_HEADER_LEN, FrameHeader, FrameKind, MAX_REASON, MAX_STRETCHES, Message, Resend, Stretch};
use formats::{ByteRange, VolumeIndex};
use replication::errors::{Hole, RowIndex};
use replication::standby::StreamVolume;

/// Name of the file within the standby's directory.
const FILE_NAME: &str = "standby.holes";
/// The longest file there can be, in bytes: frame header, count, and stretches with the longest reasons.
const MAX_LEN: u64 = (FRAME_HEADER_LEN + 2 + MAX_STRETCHES as usize * (2 + 8 + 8 + 2 + MAX_REASON)) as u64;

/// The file.
#[derive(Debug)]
pub(super) struct HolesFile {
    dir: PathBuf,
    /// What it holds, once this process has read or written it.
    saved: Option<Vec<Hole>>,
    /// The volumes whose indices the list goes by.
    volumes: Vec<StreamVolume>,
}

impl HolesFile {
    /// The file in `dir`.
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), saved: None, volumes: Vec::new() }
    }

    /// Takes up what an earlier process left, which goes by the checkpoint's `volumes`; `None` as in [`Self::load`].
    pub(super) fn take_up(&mut self, volumes: &[StreamVolume]) -> Option<Vec<Hole>> {
        let list = self.load()?;
        (self.saved, self.volumes) = (Some(list.clone()), volumes.to_vec());
        Some(list)
    }

    /// What it holds; `None` when it is not there, or not whole.
    pub(super) fn load(&self) -> Option<Vec<Hole>> {
        let path = self.dir.join(FILE_NAME);
        let len = fs::metadata(&path).ok()?.len();
        let bytes = if len <= MAX_LEN { fs::read(&path).ok()? } else { return None };
        let (head, body) = bytes.split_first_chunk()?;
        let header = FrameHeader::decode(head).ok().filter(|header| header.kind == FrameKind::Resend)?;
        header.check_body(body).ok()?;
        let list = Resend::from_body(body).ok()?;
        Some(list.stretches.iter().map(hole).collect())
    }

    /// Makes it hold `holes`, which go by the indices of `volumes`; durable when this returns. When the checkpoint that is
    /// on disk goes by others, what it needs is kept as well, until the next time.
    pub(super) fn save(&mut self, holes: &[Hole], volumes: &[StreamVolume]) -> io::Result<()> {
        if self.saved.as_deref() == Some(holes) && self.volumes == volumes {
            return Ok(());
        }
        let mut list = holes.to_vec();
        if self.volumes != volumes {
            let before = self.saved.take().or_else(|| self.load()).unwrap_or_default();
            list.extend(before.iter().filter(|hole| !holes.contains(hole)));
            list.truncate(MAX_STRETCHES.into());
        }
        self.write(&list)?;
        (self.saved, self.volumes) = (Some(list), volumes.to_vec());
        Ok(())
    }

    fn write(&self, holes: &[Hole]) -> io::Result<()> {
        let body = resend(holes).to_body();
        let header = FrameHeader::for_body(FrameKind::Resend, 0, &[&body]).encode();
        let (path, new) = (self.dir.join(FILE_NAME), self.dir.join(format!("{FILE_NAME}.new")));
        let mut file = File::create(&new)?;
        file.write_all(&[header.as_slice(), &body].concat())?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(&self.dir)?.sync_all()
    }
}

/// Holes in the words of the link.
pub(super) fn resend(holes: &[Hole]) -> Resend {
    let stretch = |hole: &Hole| Stretch {
        volume: hole.volume.0,
        offset: hole.range.offset,
        len: hole.range.len,
        reason: hole.reason.map_or("", |row| row.row().id).into(),
    };
    Resend { stretches: holes.iter().map(stretch).collect() }
}

fn hole(stretch: &Stretch) -> Hole {
    Hole {
        volume: VolumeIndex(stretch.volume),
        range: ByteRange::new(stretch.offset, stretch.len),
        reason: RowIndex::named(&stretch.reason.to_string_lossy()),
    }
}

/// Every volume, whole.
pub(super) fn everything(volumes: &[StreamVolume]) -> Vec<Hole> {
    let whole = |(index, volume): (usize, &StreamVolume)| Hole {
        volume: VolumeIndex(index as u16),
        range: ByteRange::new(0, volume.size),
        reason: None,
    };
    volumes.iter().enumerate().filter(|(_, volume)| volume.size > 0).map(whole).collect()
}

#[cfg(test)]
mod tests {
    use replication::errors::HealConfig;

    use super::*;

    fn volumes(names: &[&str]) -> Vec<StreamVolume> {
        names.iter().map(|name| StreamVolume { name: (*name).into(), size: 1 << 20, block_size: 512 }).collect()
    }

    fn holes(count: u64) -> Vec<Hole> {
        let reason = RowIndex::named("hardware");
        (0..count).map(|n| Hole { volume: VolumeIndex(1), range: ByteRange::new(n * 512, 512), reason }).collect()
    }

    #[test]
    fn what_is_saved_comes_back_and_damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = HolesFile::new(dir.path());
        assert_eq!(file.load(), None);
        for list in [holes(0), holes(3), holes(0), holes(HealConfig::default().max_pieces as u64)] {
            file.save(&list, &volumes(&["a", "b"])).unwrap();
            assert_eq!(HolesFile::new(dir.path()).load(), Some(list));
        }
        let path = dir.path().join(FILE_NAME);
        let good = fs::read(&path).unwrap();
        assert!(good.len() as u64 <= MAX_LEN);
        for at in [0, 40, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, &bad).unwrap();
            assert_eq!(file.load(), None, "byte {at}");
        }
        fs::write(&path, &good[..good.len() - 1]).unwrap();
        assert_eq!(file.load(), None);
        fs::write(&path, vec![0; MAX_LEN as usize + 1]).unwrap();
        assert_eq!(file.load(), None);
    }

    /// The checkpoint on disk may still go by the old order when the process dies now.
    #[test]
    fn volumes_in_another_order_keep_what_both_orders_need() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = HolesFile::new(dir.path());
        file.save(&holes(1), &volumes(&["a", "b"])).unwrap();
        let moved = [Hole { volume: VolumeIndex(0), ..holes(1)[0] }];
        file.save(&moved, &volumes(&["b", "a"])).unwrap();
        assert_eq!(file.load(), Some(vec![moved[0], holes(1)[0]]));
        file.save(&moved, &volumes(&["b", "a"])).unwrap();
        assert_eq!(file.load(), Some(moved.to_vec()));
    }

    #[test]
    fn every_row_fits_as_a_reason() {
        for row in RowIndex::all() {
            assert!(row.row().id.len() <= MAX_REASON);
        }
    }

    #[test]
    fn everything_is_every_volume() {
        let all = everything(&volumes(&["a", "b"]));
        assert_eq!(all.len(), 2);
        assert!(all.iter().all(|hole| hole.range == ByteRange::new(0, 1 << 20)));
    }
}
