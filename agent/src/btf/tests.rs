use proptest::prelude::*;

use super::*;

/// Builds a blob type by type, as a compiler would.
#[derive(Default, Clone)]
struct Blob {
    types: Vec<u8>,
    strings: Vec<u8>,
    first_string: u32,
}

const INT: u32 = 1;
const PTR: u32 = 2;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const TYPEDEF: u32 = 8;
const CONST: u32 = 10;
const ENUM64: u32 = 19;
const FLAG: u32 = 1 << 31;

impl Blob {
    fn new() -> Self {
        Self { strings: vec![0], ..Self::default() }
    }

    /// A module's blob on top of `base`.
    fn on(base: &Self) -> Self {
        Self { first_string: base.strings.len() as u32, ..Self::default() }
    }

    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let at = self.first_string + self.strings.len() as u32;
        self.strings.extend(name.bytes().chain([0]));
        at
    }

    fn add(&mut self, name: &str, kind: u32, count: u32, size_or_type: u32, rest: &[u32]) -> &mut Self {
        let name = self.name(name);
        let words = [name, kind << 24 & !FLAG | kind & FLAG | count, size_or_type];
        self.types.extend(words.iter().chain(rest).flat_map(|word| word.to_ne_bytes()));
        self
    }

    fn structure(&mut self, name: &str, kind: u32, bytes: u32, members: &[(&str, u32, u32)]) -> &mut Self {
        let rest: Vec<u32> = members.iter().flat_map(|(name, ty, bits)| [self.name(name), *ty, *bits]).collect();
        self.add(name, kind, members.len() as u32, bytes, &rest)
    }

    fn bytes(&self) -> Vec<u8> {
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        let header = [24, 0, types, types, strings];
        let mut bytes = [0x9f, 0xeb, 1, 0].to_vec();
        bytes.extend(header.iter().flat_map(|word: &u32| word.to_ne_bytes()));
        bytes.extend(self.types.iter().chain(&self.strings));
        bytes
    }
}

/// 1 int, 2 pointer to it, 3 inner, 4 anonymous union, 5 const inner, 6 outer, 7 array, 8 typedef of array.
fn sample() -> Blob {
    let mut blob = Blob::new();
    blob.add("int", INT, 0, 4, &[1 << 24 | 32])
        .add("", PTR, 0, 1, &[])
        .structure("inner", STRUCT, 8, &[("first", 1, 0), ("second", 2, 32)])
        .structure("", UNION, 8, &[("left", 1, 0), ("right", 2, 0)])
        .add("", CONST, 0, 3, &[])
        .structure("outer", STRUCT, 64, &[("head", 1, 0), ("", 4, 64), ("nested", 5, 128), ("list", 8, 192)])
        .add("", ARRAY, 0, 0, &[1, 1, 7])
        .add("list_t", TYPEDEF, 0, 7, &[]);
    blob
}

fn sample_btf() -> Btf {
    Btf::parse(&sample().bytes(), None).unwrap()
}

#[test]
fn members_are_found_through_anonymous_unions_qualifiers_and_dots() {
    let btf = sample_btf();
    assert_eq!(btf.member_offset("outer", "head").unwrap(), 0);
    assert_eq!(btf.member_offset("outer", "right").unwrap(), 8);
    assert_eq!(btf.member_offset("outer", "nested.second").unwrap(), 20);
    assert_eq!(btf.struct_size("outer").unwrap(), 64);
}

#[test]
fn kinds_are_told_apart() {
    let btf = sample_btf();
    assert_eq!(btf.member_kind("outer", "head").unwrap(), MemberKind::Int { bytes: 4, signed: true });
    assert_eq!(btf.member_kind("outer", "right").unwrap(), MemberKind::Pointer);
    assert_eq!(btf.member_kind("outer", "list").unwrap(), MemberKind::Array { elements: 7 });
    assert_eq!(btf.member_kind("outer", "nested").unwrap(), MemberKind::Structure { bytes: 8 });
}

#[test]
fn what_is_missing_is_named() {
    let btf = sample_btf();
    let text = |result: Result<u32, BtfError>| result.unwrap_err().to_string();
    assert_eq!(text(btf.member_offset("outer", "tail")), "struct outer has no member tail in this kernel");
    assert_eq!(text(btf.member_offset("outer", "head.x")), "struct outer has no member head.x in this kernel");
    assert_eq!(text(btf.member_offset("oute", "head")), "the kernel has no struct oute");
    assert_eq!(text(btf.struct_size("int")), "the kernel has no struct int");
}

#[test]
fn bit_fields_have_a_width_and_no_byte_offset() {
    let mut blob = sample();
    blob.structure("flags", STRUCT | FLAG, 4, &[("a", 1, 3 << 24), ("b", 1, 1 << 24 | 3), ("c", 1, 32)]);
    let btf = Btf::parse(&blob.bytes(), None).unwrap();
    assert_eq!(btf.member("flags", "b").unwrap().bit_width, Some(1));
    assert_eq!(btf.member("flags", "b").unwrap().bit_offset, 3);
    assert!(matches!(btf.member_offset("flags", "a"), Err(BtfError::BitField { .. })));
    assert_eq!(btf.member_offset("flags", "c").unwrap(), 4);
}

#[test]
fn old_bit_fields_keep_their_width_in_the_integer() {
    let mut blob = Blob::new();
    blob.add("", INT, 0, 4, &[2 << 16 | 5]).structure("old", STRUCT, 4, &[("five", 1, 8)]);
    let member = Btf::parse(&blob.bytes(), None).unwrap().member("old", "five").unwrap();
    assert_eq!((member.bit_offset, member.bit_width), (10, Some(5)));
}

#[test]
fn enumerators_of_both_widths_and_signs() {
    let mut blob = Blob::new();
    let [a, b, c, d] = ["A", "B", "C", "D"].map(|name| blob.name(name));
    blob.add("small", ENUM | FLAG, 2, 4, &[a, 7, b, u32::MAX]).add("", ENUM, 1, 4, &[c, u32::MAX]).add(
        "wide",
        ENUM64,
        1,
        8,
        &[d, 1, 1],
    );
    let btf = Btf::parse(&blob.bytes(), None).unwrap();
    assert_eq!(btf.enum_value("small", "A").unwrap(), 7);
    assert_eq!(btf.enum_value("small", "B").unwrap(), -1);
    assert_eq!(btf.enumerator("C").unwrap(), i128::from(u32::MAX));
    assert_eq!(btf.enumerator("D").unwrap(), 1 << 32 | 1);
    assert_eq!(btf.enum_value("small", "C").unwrap_err().to_string(), "enum small has no C in this kernel");
    assert!(matches!(btf.enum_value("medium", "A"), Err(BtfError::NoType { .. })));
}

#[test]
fn a_module_refers_to_types_and_strings_of_the_kernel() {
    let kernel = sample();
    let base = Btf::parse(&kernel.bytes(), None).unwrap();
    let mut module = Blob::on(&kernel);
    module.structure("command", STRUCT, 128, &[("device", 2, 0), ("body", 6, 64)]);
    let btf = Btf::parse(&module.bytes(), Some(&base)).unwrap();
    assert_eq!(btf.member_offset("command", "body.nested.second").unwrap(), 28);
    assert_eq!(btf.struct_size("outer").unwrap(), 64);
    assert!(base.struct_size("command").is_err());
}

#[test]
fn structures_of_one_name_must_agree() {
    let mut blob = sample();
    blob.structure("outer", STRUCT, 72, &[("head", 1, 0), ("nested", 3, 64)]);
    let btf = Btf::parse(&blob.bytes(), None).unwrap();
    assert_eq!(btf.member_offset("outer", "head").unwrap(), 0);
    assert_eq!(btf.member_offset("outer", "right").unwrap(), 8);
    assert!(matches!(btf.member_offset("outer", "nested.first"), Err(BtfError::Ambiguous { .. })));
    assert!(matches!(btf.struct_size("outer"), Err(BtfError::Ambiguous { .. })));
}

#[test]
fn circles_end_in_an_error() {
    let mut blob = Blob::new();
    blob.add("loop_t", TYPEDEF, 0, 1, &[]).structure("self", STRUCT, 8, &[("", 2, 0), ("x", 1, 0)]).structure(
        "round",
        STRUCT,
        8,
        &[("x", 1, 0)],
    );
    let btf = Btf::parse(&blob.bytes(), None).unwrap();
    assert!(matches!(btf.member("self", "y"), Err(BtfError::TooDeep { .. })));
    assert!(matches!(btf.member("round", "x"), Err(BtfError::TooDeep { .. })));
}

#[test]
fn nesting_that_multiplies_is_bounded() {
    let mut blob = Blob::new();
    blob.structure("", STRUCT, 8, &[("leaf", 0, 0)]);
    for below in 1..10 {
        blob.structure("", STRUCT, 8, &[("", below, 0); 64]);
    }
    blob.structure("top", STRUCT, 8, &[("", 10, 0)]);
    let btf = Btf::parse(&blob.bytes(), None).unwrap();
    assert!(matches!(btf.member("top", "none"), Err(BtfError::TooDeep { .. })));
}

#[test]
fn damaged_starts_are_told_apart() {
    let good = sample().bytes();
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        Btf::parse(&bytes, None)
    };
    assert!(matches!(with(0, 0xeb), Err(BtfError::Magic { .. })));
    assert!(matches!(with(2, 2), Err(BtfError::Version { found: 2 })));
    assert!(matches!(with(4, 8), Err(BtfError::Truncated { .. })));
    assert!(matches!(with(14, 0xff), Err(BtfError::Truncated { .. })));
    assert!(matches!(with(24 + 7, 31), Err(BtfError::Kind { id: 1, kind: 31 })));
    assert!(matches!(Btf::parse(&good[..3], None), Err(BtfError::Truncated { .. })));
}

fn ask_everything(btf: &Btf) {
    for (structure, path) in [("outer", "right"), ("outer", "nested.second"), ("inner", "none"), ("", "")] {
        let _ = btf.member_offset(structure, path);
        let _ = btf.member_kind(structure, path);
    }
    let _ = (btf.struct_size("outer"), btf.enumerator("A"), btf.enum_value("small", "A"), btf.has_type("list_t"));
}

proptest! {
    #[test]
    fn mutated_blobs_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12), cut in any::<prop::sample::Index>(), shorten: bool) {
        let mut blob = sample();
        let a = blob.name("A");
        blob.add("small", ENUM, 1, 4, &[a, 3]);
        let mut bytes = blob.bytes();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if shorten {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(btf) = Btf::parse(&bytes, None) {
            ask_everything(&btf);
        }
        if let Ok(btf) = Btf::parse(&bytes, Some(&sample_btf())) {
            ask_everything(&btf);
        }
    }

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut framed = sample().bytes()[..24].to_vec();
        framed.extend(&bytes);
        for blob in [&bytes, &framed] {
            if let Ok(btf) = Btf::parse(blob, None) {
                ask_everything(&btf);
            }
        }
    }
}

/// The running kernel, where it shows its types; CI machines do.
#[test]
fn the_running_kernel_answers() {
    let Ok(btf) = Btf::kernel() else {
        println!("no {KERNEL_BTF}: nothing to ask");
        return;
    };
    assert_eq!(btf.member_offset("request", "q").unwrap(), 0);
    assert_eq!(btf.member_kind("request", "q").unwrap(), MemberKind::Pointer);
    assert_eq!(btf.member_kind("request", "__data_len").unwrap(), MemberKind::Int { bytes: 4, signed: false });
    let iter = btf.member_offset("bio", "bi_iter").unwrap();
    assert_eq!(btf.member_offset("bio", "bi_iter.bi_sector").unwrap(), iter);
    assert_eq!(btf.member_offset("bio", "bi_iter.bi_size").unwrap(), iter + 8);
    assert_eq!(btf.struct_size("page").unwrap(), 64);
    assert!(btf.member_offset("page", "lru").unwrap() > 0);
    let write = btf.enum_value("req_op", "REQ_OP_WRITE").or_else(|_| btf.enum_value("req_opf", "REQ_OP_WRITE"));
    assert_eq!(write.unwrap(), 1);
    assert_eq!(btf.enumerator("REQ_OP_DISCARD").unwrap(), 3);
    assert!(btf.has_type("btf_trace_block_rq_issue"));
}
