//! CRC-32C (Castagnoli), the one checksum of journal, wire and records.

/// A CRC-32C value (polynomial 0x1EDC6F41, reflected, as in iSCSI, RFC 3720 section 12.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub struct Crc32c(pub u32);

impl Crc32c {
    /// Checksum of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(imp::crc32c(bytes))
    }

    /// Checksum of `parts` as if they stood one after the other.
    #[must_use]
    pub fn of_parts(parts: &[&[u8]]) -> Self {
        Self(imp::crc32c_parts(parts))
    }
}

#[cfg(feature = "std")]
mod imp {
    use crc_fast::{CrcAlgorithm, Digest};

    pub(super) fn crc32c(bytes: &[u8]) -> u32 {
        narrow(crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes))
    }

    pub(super) fn crc32c_parts(parts: &[&[u8]]) -> u32 {
        let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
        parts.iter().for_each(|part| digest.update(part));
        narrow(digest.finalize())
    }

    /// `crc_fast` answers every width in a `u64`; a 32-bit algorithm leaves the upper half zero.
    fn narrow(wide: u64) -> u32 {
        wide as u32
    }
}

#[cfg(not(feature = "std"))]
mod imp {
    use super::portable::TABLE;

    pub(super) fn crc32c(bytes: &[u8]) -> u32 {
        TABLE.checksum(bytes)
    }

    pub(super) fn crc32c_parts(parts: &[&[u8]]) -> u32 {
        let mut digest = TABLE.digest();
        parts.iter().for_each(|part| digest.update(part));
        digest.finalize()
    }
}

/// The portable table: what runs without an operating system, and the oracle for the fast one.
#[cfg(any(test, not(feature = "std")))]
mod portable {
    use crc::{CRC_32_ISCSI, Crc, Table};

    pub(super) static TABLE: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_catalogue() {
        assert_eq!(Crc32c::of(b"123456789"), Crc32c(0xE306_9283));
    }

    #[test]
    fn fast_and_portable_agree_at_every_length() {
        let bytes: alloc::vec::Vec<u8> = (0..4096u32).map(|i| (i * 31) as u8).collect();
        for len in [0, 1, 7, 8, 63, 64, 65, 511, 512, 4095, 4096] {
            assert_eq!(Crc32c::of(&bytes[..len]).0, portable::TABLE.checksum(&bytes[..len]), "length {len}");
        }
    }

    #[test]
    fn parts_equal_the_whole() {
        assert_eq!(Crc32c::of_parts(&[b"1234", b"", b"56789"]), Crc32c::of(b"123456789"));
    }
}
