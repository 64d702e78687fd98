//! Whether a target holds something that somebody may miss.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Magic bytes, where they stand, and what they tell.
struct Signature {
    offset: u64,
    magic: &'static [u8],
    name: &'static str,
}

const fn at(offset: u64, magic: &'static [u8], name: &'static str) -> Signature {
    Signature { offset, magic, name }
}

/// From the specific to the general: a boot sector ends like a partition table.
const SIGNATURES: [Signature; 20] = [
    at(0x438, &[0x53, 0xef], "an ext2/3/4 file system"),
    at(0, b"XFSB", "an XFS file system"),
    at(0x10040, b"_BHRfS_M", "a btrfs file system"),
    at(0x400, &[0x10, 0x20, 0xf5, 0xf2], "an F2FS file system"),
    at(0x1018, &[0xc6, 0x85, 0x73, 0xf6, 0x4e, 0x1a, 0x45, 0xca], "a bcachefs file system"),
    at(3, b"NTFS    ", "an NTFS file system"),
    at(3, b"EXFAT   ", "an exFAT file system"),
    at(0x36, b"FAT", "a FAT file system"),
    at(0x52, b"FAT32", "a FAT32 file system"),
    at(0x8001, b"CD001", "an ISO 9660 image"),
    at(0, b"hsqs", "a squashfs image"),
    at(0, b"LUKS\xba\xbe", "a LUKS volume"),
    at(512, b"LABELONE", "an LVM physical volume"),
    at(0, &[0xfc, 0x4e, 0x2b, 0xa9], "an md member"),
    at(4096, &[0xfc, 0x4e, 0x2b, 0xa9], "an md member"),
    at(4086, b"SWAPSPACE2", "swap space"),
    at(512, b"EFI PART", "a GPT partition table"),
    at(4096, b"EFI PART", "a GPT partition table"),
    at(0, b"QFI\xfb", "a qcow2 image"),
    at(510, &[0x55, 0xaa], "a partition table or boot sector"),
];

/// What the device or file at `path` holds, in words; None if nothing is recognised.
///
/// # Errors
/// It cannot be read.
pub(crate) fn find(path: &Path) -> io::Result<Option<&'static str>> {
    let file = File::open(path)?;
    for signature in &SIGNATURES {
        let mut found = [0u8; 16];
        let found = &mut found[..signature.magic.len()];
        match file.read_exact_at(found, signature.offset) {
            Ok(()) if found == signature.magic => return Ok(Some(signature.name)),
            Ok(()) => {}
            // Too small to hold it.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_recognised() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        for signature in &SIGNATURES {
            let file = File::create(&path).unwrap();
            file.set_len(1 << 20).unwrap();
            assert_eq!(find(&path).unwrap(), None);
            file.write_all_at(signature.magic, signature.offset).unwrap();
            assert_eq!(find(&path).unwrap(), Some(signature.name));
        }
    }

    #[test]
    fn a_short_file_holds_nothing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(find(file.path()).unwrap(), None);
    }
}
