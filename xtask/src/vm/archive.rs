//! The archive that a kernel unpacks into memory before init: cpio in its "newc" form.

use std::collections::BTreeSet;

const FOLDER: u32 = 0o040_755;
const REGULAR: u32 = 0o100_000;
const LINK: u32 = 0o120_777;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// Files gathered so far.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    folders: BTreeSet<String>,
    inode: u32,
}

impl Archive {
    /// A folder and those above it.
    pub(crate) fn folder(&mut self, path: &str) {
        for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
            if end > 0 && self.folders.insert(path[..end].to_owned()) {
                self.entry(&path[..end], FOLDER, (0, 0), &[]);
            }
        }
    }

    /// A regular file with its permission bits.
    pub(crate) fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.parent(path);
        self.entry(path, REGULAR | mode, (0, 0), content);
    }

    /// A symbolic link.
    pub(crate) fn link(&mut self, path: &str, to: &str) {
        self.parent(path);
        self.entry(path, LINK, (0, 0), to.as_bytes());
    }

    /// A character device, so that init has a console before `/dev` is mounted.
    pub(crate) fn character_device(&mut self, path: &str, major: u32, minor: u32) {
        self.parent(path);
        self.entry(path, CHARACTER_DEVICE, (major, minor), &[]);
    }

    /// The whole archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn parent(&mut self, path: &str) {
        if let Some((folder, _)) = path.rsplit_once('/') {
            self.folder(folder);
        }
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.inode += 1;
        let size = u32::try_from(content.len()).expect("a guest's file is below 4 GiB");
        let name_size = u32::try_from(path.len() + 1).expect("a path is short");
        let fields = [self.inode, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_once_and_before_their_files() {
        let mut archive = Archive::default();
        archive.file("a/b/one", 0o644, b"1");
        archive.file("a/b/two", 0o644, b"2");
        let text = String::from_utf8(archive.finish()).expect("ASCII content");
        let positions: Vec<_> =
            ["a\0", "a/b\0", "a/b/one\0", "a/b/two\0", "TRAILER!!!\0"].iter().map(|name| text.find(name)).collect();
        assert!(positions.is_sorted() && positions.iter().all(Option::is_some), "{positions:?}");
        assert_eq!(text.matches("070701").count(), 5);
    }

    #[test]
    fn every_part_is_aligned() {
        let mut archive = Archive::default();
        archive.file("odd", 0o755, b"12345");
        assert_eq!(archive.finish().len() % 4, 0);
    }
}
