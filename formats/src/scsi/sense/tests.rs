use proptest::prelude::*;

use super::*;

fn medium_error() -> Sense {
    Sense::new(SenseKey::MediumError, Asc::new(0x11, 0x04)).with_lba(0x1234_5678)
}

#[test]
fn golden_bytes_in_fixed_format() {
    let bytes = [0xf0, 0, 0x03, 0x12, 0x34, 0x56, 0x78, 10, 0, 0, 0, 0, 0x11, 0x04, 0, 0, 0, 0];
    assert_eq!(*medium_error().encode(), bytes);
    assert_eq!(Sense::decode(&bytes), Ok(medium_error()));
}

#[test]
fn golden_bytes_in_descriptor_format() {
    let sense = Sense { format: SenseFormat::Descriptor, deferred: true, ..medium_error() };
    let bytes = [0x73, 0x03, 0x11, 0x04, 0, 0, 0, 12, 0, 10, 0x80, 0, 0, 0, 0, 0, 0x12, 0x34, 0x56, 0x78];
    assert_eq!(*sense.encode(), bytes);
    assert_eq!(Sense::decode(&bytes), Ok(sense));
}

#[test]
fn nothing_counts_that_is_not_marked() {
    let mut bytes = [0x70, 0, 0x05, 1, 2, 3, 4, 10, 0, 0, 0, 0, 0x24, 0, 0, 0x4a, 0, 2];
    let sense = Sense::decode(&bytes).expect("it is sense");
    assert_eq!((sense.information, sense.field_pointer()), (None, None));
    bytes[0] |= 0x80;
    bytes[15] |= 0x80;
    let sense = Sense::decode(&bytes).expect("it is sense");
    assert_eq!(sense.information, Some(0x0102_0304));
    assert_eq!(sense.field_pointer(), Some(FieldPointer { in_cdb: true, bit: Some(2), byte: 2 }));
    // Behind the additional length everything is noise.
    bytes[7] = 4;
    let sense = Sense::decode(&bytes).expect("it is sense");
    assert_eq!((sense.asc, sense.field_pointer()), (Asc::NONE, None));
}

#[test]
fn any_length_is_answered() {
    let whole = Sense { format: SenseFormat::Descriptor, ..medium_error() }.encode();
    let long = [&*medium_error().encode(), &[0xff; 300]].concat();
    for len in 0..=255 {
        for bytes in [&long[..], &whole[..]] {
            let cut = bytes.get(..len).unwrap_or(bytes);
            let decoded = Sense::decode(cut);
            assert_eq!(decoded.is_ok(), cut.len() > usize::from(cut.first() == Some(&0xf0)) + 1, "{len}");
        }
    }
    assert_eq!(Sense::decode(&[]), Err(SenseError::TooShort { len: 0 }));
    assert_eq!(Sense::decode(&[0x7f; 20]), Err(SenseError::ResponseCode(0x7f)));
    assert_eq!(Sense::decode(&[0x70, 0]), Err(SenseError::TooShort { len: 2 }));
}

#[test]
fn a_residual_may_be_negative_in_both_formats() {
    for format in [SenseFormat::Fixed, SenseFormat::Descriptor] {
        let ili = Sense { format, flags: SenseFlags::ILI, ..Sense::new(SenseKey::NoSense, Asc::NONE) };
        let sense = Sense::decode(&ili.with_residual(-512).encode()).expect("it is sense");
        assert_eq!(sense.residual(), Some(-512));
        assert_eq!(sense.lba(), None);
    }
}

#[test]
fn an_lba_too_wide_for_fixed_format_is_left_out() {
    let bytes = medium_error().with_lba(1 << 32).encode();
    assert_eq!(Sense::decode(&bytes).expect("it is sense").information, None);
}

#[test]
fn the_direct_access_descriptor_says_all_at_once() {
    let mut bytes = [0u8; 40];
    bytes[..8].copy_from_slice(&[0x72, 0x03, 0x11, 0, 0, 0, 0, 32]);
    bytes[8..16].copy_from_slice(&[0x0d, 30, 0xa0, 0, 0x80, 0, 7, 9]);
    bytes[23] = 99;
    bytes[31] = 5;
    let sense = Sense::decode(&bytes).expect("it is sense");
    assert_eq!((sense.information, sense.command_specific, sense.fru), (Some(99), Some(5), 9));
    assert_eq!((sense.flags, sense.retry_count()), (SenseFlags::ILI, Some(7)));
}

#[test]
fn it_reads_as_a_line() {
    let sense = Sense { flags: SenseFlags::EOM, ..Sense::new(SenseKey::NotReady, Asc::new(4, 4)) };
    let text = "NOT READY 04h/04h Logical unit not ready, format in progress, EOM, 50% done";
    assert_eq!(alloc::format!("{}", sense.with_progress(0x8000)), text);
}

fn any_sense() -> impl Strategy<Value = Sense> {
    let head = (any::<bool>(), any::<bool>(), 0u8..16, any::<(u8, u8)>(), any::<u8>(), any::<u8>());
    let fields = (any::<Option<u32>>(), any::<Option<u32>>(), any::<Option<[u8; 3]>>());
    (head, fields).prop_map(|((descriptor, deferred, key, (code, qualifier), flags, fru), (a, b, c))| Sense {
        format: if descriptor { SenseFormat::Descriptor } else { SenseFormat::Fixed },
        deferred,
        key: SenseKey::from_low_bits(key),
        asc: Asc::new(code, qualifier),
        flags: SenseFlags::from_bits_truncate(flags),
        information: a.map(u64::from),
        command_specific: b.map(u64::from).filter(|&value| value != 0),
        key_specific: c.map(|[first, second, third]| [first | SKSV, second, third]),
        fru,
    })
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_the_same(sense in any_sense()) {
        prop_assert_eq!(Sense::decode(&sense.encode()), Ok(sense));
    }

    #[test]
    fn any_bytes_are_answered_and_stable(bytes in proptest::collection::vec(any::<u8>(), 0..300), code in 0x70u8..0x74) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first = code | (*first & 0x80);
        }
        if let Ok(sense) = Sense::decode(&bytes) {
            prop_assert_eq!(Sense::decode(&sense.encode()), Ok(sense));
        }
    }
}
