use alloc::string::ToString;
use alloc::vec;

use binrw::io::Cursor;
use binrw::{BinRead, BinWrite};
use proptest::prelude::*;

use super::*;

/// All that a device can say, as long as it can be.
pub(crate) fn longest() -> Identity {
    let name = |kind| Designator { kind, value: "n".repeat(MAX_NAME + 9) };
    Identity {
        device_type: 0,
        removable: true,
        version: 7,
        vendor: "v".repeat(9),
        product: "p".repeat(17),
        revision: "r".repeat(5),
        serial: Some("s".repeat(MAX_NAME + 1)),
        designators: (0..9).map(name).collect(),
        capacity: Some(Capacity {
            blocks: u64::MAX,
            block_size: 512,
            physical_exponent: 3,
            protection: 1,
            thin: true,
            reads_zeros: true,
        }),
        limits: Some(Limits { write_same: u64::MAX, ..Limits::default() }),
        characteristics: Some(Characteristics { rotation: 1, zoned: 0 }),
        provisioning: Some(Provisioning { unmap: true, ..Provisioning::default() }),
        modes: Modes {
            write_cache: Some(true),
            control: Some(parse::control(&[0x0a, 10, 0x26, 0x10, 8, 0x40])),
            ..Modes::default()
        },
        reservations: Some(Reservations {
            generation: 3,
            keys: (0..99).collect(),
            held: Some(Reservation { key: 5, kind: 1 }),
        }),
    }
}

fn encode(identity: &Identity) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    identity.write_le(&mut out).unwrap();
    out.into_inner()
}

fn decode(bytes: &[u8]) -> Option<Identity> {
    let mut cursor = Cursor::new(bytes);
    let identity = Identity::read_le(&mut cursor).ok()?;
    (cursor.position() == bytes.len() as u64).then_some(identity)
}

#[test]
fn golden_identity() {
    let identity = Identity {
        version: 6,
        vendor: "ATA".to_string(),
        product: "DISK".to_string(),
        revision: "1".to_string(),
        serial: Some("S7".to_string()),
        designators: vec![Designator { kind: 3, value: "5a".to_string() }],
        capacity: Some(Capacity {
            blocks: 0x0102,
            block_size: 512,
            physical_exponent: 3,
            protection: 2,
            thin: true,
            reads_zeros: false,
        }),
        provisioning: Some(Provisioning { unmap: true, anchor: true, kind: 2, ..Provisioning::default() }),
        modes: Modes { fua: true, write_cache: Some(true), ..Modes::default() },
        ..Identity::default()
    };
    let golden = [
        // Type, removable, version, vendor, product, revision, serial number, designators.
        &[0, 0, 6, 3, b'A', b'T', b'A', 4, b'D', b'I', b'S', b'K', 1, b'1', 2, b'S', b'7', 1, 3, 2, b'5', b'a'][..],
        // Capacity.
        &[1, 2, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 3, 2, 1, 0],
        // No limits, no characteristics, provisioning.
        &[0, 0, 1, 1, 0, 0, 0, 1, 2],
        // Modes: not protected, FUA, cache on, no control page. No reservations.
        &[0, 1, 2, 0, 0],
    ]
    .concat();
    assert_eq!(encode(&identity), golden);
    assert_eq!(decode(&golden), Some(identity));
}

#[test]
fn the_longest_fits_when_it_is_cut() {
    let carried = longest().carried();
    let bytes = encode(&carried);
    assert!(bytes.len() <= MAX_IDENTITY, "{}", bytes.len());
    assert_eq!(decode(&bytes), Some(carried.clone()));
    assert_eq!(carried.carried(), carried);
    assert_eq!(decode(&encode(&longest())), None, "uncut it is refused");
}

#[test]
fn what_has_no_meaning_is_refused() {
    let good = encode(&longest().carried());
    for len in 0..good.len() {
        assert_eq!(decode(&good[..len]), None, "cut at {len}");
    }
    let spoiled = |at: usize, byte: u8| decode(&[&good[..at], &[byte], &good[at + 1..]].concat());
    assert_eq!(spoiled(1, 2), None, "a flag is 0 or 1");
    assert_eq!(spoiled(3, 9), None, "a vendor has 8 bytes");
    assert_eq!(spoiled(4, 0x1b), None, "an escape sequence for somebody's terminal");
}

#[test]
fn pages_are_believed_as_far_as_there_are_bytes() {
    let inquiry = parse::inquiry(b"\x00\x80\x07\x02\x1f\0\0\0VENDOR  A product\x1b[2J   0001");
    assert_eq!((inquiry.removable, inquiry.vendor.as_str(), inquiry.revision.as_str()), (true, "VENDOR", "0001"));
    assert_eq!(inquiry.product, "A product [2J");
    assert_eq!(parse::page(0x80, &[0, 0x80, 0xff, 0xff, b'x']), Some(&b"x"[..]));
    assert_eq!(parse::page(0x80, &[0, 0x83, 0, 1, b'x']), None);
    assert!(parse::designators(&[1, 3, 0, 200, 1]).first().is_some_and(|name| name.value == "01"));
}

proptest! {
    #[test]
    fn one_identity_has_one_encoding(bytes in proptest::collection::vec(any::<u8>(), 0..80), at in 0_usize..600, byte in any::<u8>()) {
        if let Some(identity) = decode(&bytes) {
            prop_assert_eq!(encode(&identity), bytes);
        }
        let mut near = encode(&longest().carried());
        if let Some(place) = near.get_mut(at) {
            *place = byte;
        }
        if let Some(identity) = decode(&near) {
            prop_assert_eq!(encode(&identity), near);
        }
    }

    #[test]
    fn whatever_a_device_says_is_carried(data in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut identity = parse::inquiry(&data);
        identity.serial = parse::serial(&data);
        identity.designators = parse::designators(&data);
        identity.capacity = parse::capacity_16(&data).or(parse::capacity_10(&data));
        identity.limits = Some(parse::limits(&data));
        identity.characteristics = Some(parse::characteristics(&data));
        identity.provisioning = Some(parse::provisioning(&data));
        let page = parse::mode_page(true, 8, &data).map_or(&data[..], |(_, page)| page);
        identity.modes = Modes { write_cache: Some(parse::write_cache(page)), control: Some(parse::control(page)), ..Modes::default() };
        identity.reservations = Some(parse::reservations(&data, &data));
        let carried = identity.carried();
        let bytes = encode(&carried);
        prop_assert!(bytes.len() <= MAX_IDENTITY);
        prop_assert_eq!(decode(&bytes), Some(carried));
    }
}
