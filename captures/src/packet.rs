//! Packets: most of a capture. What is read of one is found without the lists that the library makes of its options.

use std::time::Duration;

use pcap_file::Endianness;
use pcap_file::pcapng::PcapNgState;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::opt_common::CommonOption;

use crate::option::{self, PRIVATE_ENTERPRISE_NUMBER};

/// Type of an enhanced packet block.
pub(crate) const PACKET: u32 = 6;
/// Bytes of an enhanced packet block before its data.
const HEAD: usize = 28;
/// Bytes after the options: the block's length again.
const TRAILER: usize = 4;
/// Code of the end of options.
const END: u16 = 0;
/// Code of a comment.
const COMMENT: u16 = 1;
/// Code of a custom option with bytes that may be copied (pcapng 3.5.1).
pub(crate) const CUSTOM_BYTES: u16 = 2989;

/// What is read of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Packet<'a> {
    /// Its interface.
    pub(crate) interface: u32,
    /// Since 1970, UTC.
    pub(crate) timestamp: Duration,
    /// Bytes that the frame had.
    pub(crate) original_len: u32,
    /// The bytes of the frame that were kept.
    pub(crate) data: &'a [u8],
    /// The bytes of our option, when it has one.
    pub(crate) ours: Option<&'a [u8]>,
}

impl<'a> Packet<'a> {
    /// The block that `bytes` begin with, and its length, if it is a whole and plain packet of little-endian bytes. None of
    /// anything else, whether it is another block, an option that we never write, or damage: the library tells what it is.
    pub(crate) fn parse(bytes: &'a [u8], state: &PcapNgState) -> Option<(usize, Self)> {
        if word(bytes, 0)? != PACKET || state.endianness() != Endianness::Little {
            return None;
        }
        let len = word(bytes, 4)? as usize;
        let block = bytes.get(..len).filter(|_| len.is_multiple_of(4) && len >= HEAD + TRAILER)?;
        let (body, trailer) = block.split_at(len - TRAILER);
        let [interface, high, low, captured, original_len] = [8, 12, 16, 20, 24].map(|at| word(body, at).unwrap_or(0));
        if word(trailer, 0)? as usize != len || captured > original_len {
            return None;
        }
        // An interface that is not there has no timestamps.
        let timestamp = state.decode_timestamp(interface, high, low).ok()?;
        let (data, options) = padded(&body[HEAD..], captured as usize)?;
        Some((len, Self { interface, timestamp, original_len, data, ours: ours(options)? }))
    }
}

/// The first `len` bytes, and what comes after their padding.
fn padded(bytes: &[u8], len: usize) -> Option<(&[u8], &[u8])> {
    Some((bytes.get(..len)?, bytes.get(len.next_multiple_of(4)..)?))
}

/// Our option among these; None when there are some that only the library reads.
fn ours(mut options: &[u8]) -> Option<Option<&[u8]>> {
    let mut found = None;
    while !options.is_empty() {
        let head = word(options, 0)?;
        let (code, len) = (head as u16, (head >> 16) as usize);
        if code == END {
            break;
        }
        let (value, rest) = padded(&options[4..], len)?;
        match code {
            COMMENT => {
                std::str::from_utf8(value).ok()?;
            }
            CUSTOM_BYTES => {
                let is_ours = word(value, 0)? == PRIVATE_ENTERPRISE_NUMBER && option::is_ours(&value[4..]);
                found = found.or(is_ours.then(|| &value[4..]));
            }
            _ => return None,
        }
        options = rest;
    }
    Some(found)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

impl<'a> From<&'a EnhancedPacketBlock<'_>> for Packet<'a> {
    fn from(block: &'a EnhancedPacketBlock<'_>) -> Self {
        let ours = block.options.iter().find_map(|option| match option {
            EnhancedPacketOption::Common(CommonOption::CustomBinaryCopiable(custom))
                if custom.pen == PRIVATE_ENTERPRISE_NUMBER && option::is_ours(&custom.value) =>
            {
                Some(&*custom.value)
            }
            _ => None,
        });
        let EnhancedPacketBlock { interface_id, timestamp, original_len, ref data, .. } = *block;
        Self { interface: interface_id, timestamp, original_len, data, ours }
    }
}

#[cfg(test)]
mod tests {
    use pcap_file::DataLink;
    use pcap_file::pcapng::blocks::custom::CustomBinaryOption;
    use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
    use pcap_file::pcapng::blocks::section_header::SectionHeaderBlock;
    use pcap_file::pcapng::{Block, PcapNgParser, PcapNgWriter};
    use proptest::prelude::*;

    use super::*;

    /// A section with two interfaces, the second with seconds that begin later, and these blocks behind it.
    fn file(endianness: Endianness, blocks: &[EnhancedPacketBlock<'_>]) -> (Vec<u8>, usize) {
        let section = SectionHeaderBlock { endianness, ..SectionHeaderBlock::default() };
        let mut writer = PcapNgWriter::with_section_header(Vec::new(), section).unwrap();
        for offset in [0, -5] {
            let options = vec![InterfaceDescriptionOption::IfTsOffset(offset)];
            let interface = InterfaceDescriptionBlock { linktype: DataLink::FC_2, snaplen: 0, options };
            writer.write_pcapng_block(interface).unwrap();
        }
        let head = writer.get_ref().len();
        for block in blocks {
            writer.write_pcapng_block(block.clone()).unwrap();
        }
        (writer.into_inner(), head)
    }

    /// Whenever there is an answer, it is the library's.
    fn compare(bytes: &[u8], head: usize) -> usize {
        let (mut rest, mut parser) = PcapNgParser::new(&bytes[..head]).unwrap();
        while !rest.is_empty() {
            rest = parser.next_block(rest).unwrap().0;
        }
        let (mut rest, mut answers) = (&bytes[head..], 0);
        while !rest.is_empty() {
            let found = Packet::parse(rest, parser.state());
            let Ok((behind, block)) = parser.next_block(rest) else {
                assert_eq!(found, None);
                break;
            };
            if let Some((len, packet)) = found {
                let Block::EnhancedPacket(block) = &block else { panic!("{block:?} is no packet") };
                assert_eq!((len, packet), (rest.len() - behind.len(), block.into()));
                answers += 1;
            }
            rest = behind;
        }
        answers
    }

    fn some_option() -> impl Strategy<Value = EnhancedPacketOption<'static>> {
        let custom = |pen, value: Vec<u8>| {
            EnhancedPacketOption::Common(CommonOption::CustomBinaryCopiable(CustomBinaryOption {
                pen,
                value: value.into(),
            }))
        };
        prop_oneof![
            4 => "[a-zä]{0,9}".prop_map(|text| EnhancedPacketOption::Common(CommonOption::Comment(text.into()))),
            4 => (any::<bool>(), any::<bool>(), 0usize..40).prop_map(move |(mine, magic, len)| {
                let start: &[u8] = if magic { b"BKC1" } else { b"none" };
                custom(if mine { PRIVATE_ENTERPRISE_NUMBER } else { 7 }, [start, &vec![9; len]].concat())
            }),
            1 => any::<u32>().prop_map(EnhancedPacketOption::Flags),
        ]
    }

    prop_compose! {
        fn packet()(
            interface_id in 0u32..2,
            seconds in 10u64..1_000_000_000,
            data in proptest::collection::vec(any::<u8>(), 0..70),
            more in 0u32..9,
            options in proptest::collection::vec(some_option(), 0..4),
        ) -> EnhancedPacketBlock<'static> {
            let (timestamp, original_len) = (Duration::from_secs(seconds), data.len() as u32 + more);
            EnhancedPacketBlock { interface_id, timestamp, original_len, data: data.into(), options }
        }
    }

    proptest! {
        #[test]
        fn as_the_library_reads_them(packets in proptest::collection::vec(packet(), 1..6)) {
            let (bytes, head) = file(Endianness::Little, &packets);
            let plain = |packet: &&EnhancedPacketBlock<'_>| {
                !packet.options.iter().any(|option| matches!(option, EnhancedPacketOption::Flags(_)))
            };
            prop_assert_eq!(compare(&bytes, head), packets.iter().filter(plain).count());
            let (bytes, head) = file(Endianness::Big, &packets);
            prop_assert_eq!(compare(&bytes, head), 0);
        }

        #[test]
        fn damage_is_left_to_the_library(
            packets in proptest::collection::vec(packet(), 1..4),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let (mut bytes, head) = file(Endianness::Little, &packets);
            let place = head + at.index(bytes.len() - head);
            bytes[place] = byte;
            compare(&bytes, head);
            compare(&bytes[..head + cut.index(bytes.len() - head)], head);
        }
    }
}
