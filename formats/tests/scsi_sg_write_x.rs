//! Commands that tshark does not take apart, as `sg_write_x --dry-run` of sg3_utils (1.47) builds them.

use formats::scsi::{DeviceType, decode};

fn describe(hex: &str) -> String {
    let digits = hex.split(' ').map(|byte| u8::from_str_radix(byte, 16).expect("two hexadecimal digits"));
    let cdb: Vec<u8> = digits.collect();
    decode(&cdb, DeviceType::DISK).expect("a whole CDB").describe().to_string()
}

/// What it was asked for, what it built, and what we say that is.
const BUILT: [(&str, &str, &str); 9] = [
    (
        "--normal --32 --lba=0x1234 --num=2 --wrprotect=1 --dpo --fua --grpnum=5 --ref-tag=7 --app-tag=8 --tag-mask=9",
        "7f 00 00 00 00 00 05 18 00 0b 38 00 00 00 00 00 00 00 12 34 00 00 00 07 00 08 00 09 00 00 00 02",
        "WRITE(32) lba 4660 blocks 2 group 5 protect 1 dpo fua reftag 7 apptag 8 tagmask 9",
    ),
    (
        "--or --32 --lba=0x1234 --num=2 --bmop=1,2 --generation=3,4 --fua",
        "7f 00 01 02 00 00 00 18 00 0e 08 00 00 00 00 00 00 00 12 34 00 00 00 03 00 00 00 04 00 00 00 02",
        "ORWRITE(32) lba 4660 blocks 2 bmop 1 pgp 2 fua expected 3 new 4",
    ),
    (
        "--atomic=77 --32 --lba=0x1234 --num=2 --fua --ref-tag=0 --app-tag=0 --tag-mask=0",
        "7f 00 00 00 00 4d 00 18 00 0f 08 00 00 00 00 00 00 00 12 34 00 00 00 00 00 00 00 00 00 00 00 02",
        "WRITE ATOMIC(32) lba 4660 blocks 2 boundary 77 fua",
    ),
    (
        "--atomic=77 --lba=0x1234 --num=2 --fua",
        "9c 08 00 00 00 00 00 00 12 34 00 4d 00 02 00 00",
        "WRITE ATOMIC(16) lba 4660 blocks 2 fua boundary 77",
    ),
    (
        "--stream=9 --lba=0x1234 --num=2",
        "9a 00 00 00 00 00 00 00 12 34 00 09 00 02 00 00",
        "WRITE STREAM(16) lba 4660 blocks 2 stream 9",
    ),
    (
        "--stream=9 --32 --lba=0x1234 --num=2 --ref-tag=0 --app-tag=0 --tag-mask=0",
        "7f 00 00 00 00 09 00 18 00 10 00 00 00 00 00 00 00 00 12 34 00 00 00 00 00 00 00 00 00 00 00 02",
        "WRITE STREAM(32) lba 4660 blocks 2 stream 9",
    ),
    (
        "--same=1 --32 --lba=0x1234 --num=2 --unmap=3 --ref-tag=0 --app-tag=0 --tag-mask=0",
        "7f 00 00 00 00 00 00 18 00 0d 19 00 00 00 00 00 00 00 12 34 00 00 00 00 00 00 00 00 00 00 00 02",
        "WRITE SAME(32) lba 4660 blocks 2 anchor unmap ndob",
    ),
    (
        "--scattered=2 --lba=1,20 --num=2,3",
        "9f 12 00 00 00 01 00 00 00 02 00 00 00 05 00 00",
        "WRITE SCATTERED(16) blocks 5 offset 1 ranges 2",
    ),
    (
        "--scattered=2 --32 --lba=1,20 --num=2,3",
        "7f 00 00 00 00 00 00 18 00 11 00 00 00 01 00 00 00 02 00 00 00 00 00 00 00 00 00 00 00 00 00 05",
        "WRITE SCATTERED(32) blocks 5 offset 1 ranges 2",
    ),
];

#[test]
fn what_sg_write_x_builds_is_what_it_was_asked_for() {
    for (options, built, ours) in BUILT {
        assert_eq!(describe(built), ours, "sg_write_x {options}");
    }
}
