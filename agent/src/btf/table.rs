//! One section of types and one of strings, checked once and then read in place.

use super::BtfError;

/// Bytes of the fixed header that is understood; longer ones are of later kernels and compatible.
const HEADER_LEN: usize = 24;
const MAGIC: u16 = 0xeb9f;
/// Bytes of the part that every type has.
const TYPE_LEN: usize = 12;

/// What a type is. The numbers are those of `BTF_KIND_*`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Int,
    Ptr,
    Array,
    Struct,
    Union,
    Enum,
    Forward,
    /// Typedef, volatile, const, restrict, type tag: another type with a remark.
    Alias,
    /// Function, prototype, variable, section, declaration tag: nothing that has members or values.
    Other,
    Float,
    Enum64,
}

/// The part that all types have, decoded, and where the rest lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Type {
    pub(super) kind: Kind,
    /// Number of members, values or parameters.
    pub(super) count: u16,
    /// Meaning depends on the kind: bit fields present, signed, union forward.
    pub(super) flag: bool,
    /// Size in bytes, or the type referred to.
    pub(super) size_or_type: u32,
    name: u32,
    /// Byte offset of what follows the common part, in the section of types.
    rest: usize,
}

/// One member of a structure or union.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) name: u32,
    pub(super) type_id: u32,
    /// Offset in bits from the start of the structure.
    pub(super) bits: u32,
    /// Width in bits when the structure says that it is a bit field.
    pub(super) width: u8,
}

/// The types of the kernel, or of one module on top of it.
#[derive(Debug)]
pub(super) struct Table {
    types: Vec<u8>,
    strings: Vec<u8>,
    /// Where each type starts in `types`.
    starts: Vec<u32>,
    /// Number of the first type, and offset of the first string, in the numbering shared with the base.
    first_id: u32,
    first_string: u32,
}

fn u32_at(bytes: &[u8], at: usize, what: &'static str) -> Result<u32, BtfError> {
    let raw = at.checked_add(4).and_then(|end| bytes.get(at..end)).and_then(|raw| raw.try_into().ok());
    raw.map(u32::from_ne_bytes).ok_or(BtfError::Truncated { what, at })
}

/// The header's bytes `start..start + len` behind the header itself.
fn section<'a>(body: &'a [u8], header: &[u8], at: usize, what: &'static str) -> Result<&'a [u8], BtfError> {
    let start = u32_at(header, at, "the header")? as usize;
    let len = u32_at(header, at + 4, "the header")? as usize;
    let range = start.checked_add(len).and_then(|end| body.get(start..end));
    range.ok_or(BtfError::Truncated { what, at: start })
}

fn check_start(bytes: &[u8]) -> Result<usize, BtfError> {
    let truncated = BtfError::Truncated { what: "the header", at: 0 };
    let Some(&[m0, m1, version, _]) = bytes.first_chunk() else { return Err(truncated) };
    match (u16::from_ne_bytes([m0, m1]), version) {
        (MAGIC, 1) => {}
        (MAGIC, found) => return Err(BtfError::Version { found }),
        (found, _) => return Err(BtfError::Magic { found }),
    }
    let len = u32_at(bytes, 4, "the header")? as usize;
    if len < HEADER_LEN || len > bytes.len() { Err(truncated) } else { Ok(len) }
}

impl Table {
    /// Checks and copies `bytes`, whose numbering goes on after `base`.
    pub(super) fn parse(bytes: &[u8], base: Option<&Self>) -> Result<Self, BtfError> {
        let (header, body) = bytes.split_at(check_start(bytes)?);
        let mut table = Self {
            types: section(body, header, 8, "the section of types")?.to_vec(),
            strings: section(body, header, 16, "the section of strings")?.to_vec(),
            starts: Vec::new(),
            first_id: base.map_or(1, Self::end_id),
            first_string: base.map_or(0, Self::end_string),
        };
        table.index()?;
        Ok(table)
    }

    /// Walks over all types once: afterwards each one's parts are known to lie inside the section.
    fn index(&mut self) -> Result<(), BtfError> {
        let mut at = 0;
        while at < self.types.len() {
            let id = self.end_id();
            let kind = self.word(at + 4)? >> 24 & 0x1f;
            let ty = self.decode(at, id)?;
            let end = ty.rest + rest_len(kind as u8, ty.count);
            if end > self.types.len() {
                return Err(BtfError::Truncated { what: "a type", at });
            }
            self.starts.push(at as u32);
            at = end;
        }
        Ok(())
    }

    pub(super) fn first_id(&self) -> u32 {
        self.first_id
    }

    /// One more than the number of the last type.
    pub(super) fn end_id(&self) -> u32 {
        self.first_id + self.starts.len() as u32
    }

    fn end_string(&self) -> u32 {
        self.first_string.saturating_add(self.strings.len() as u32)
    }

    fn word(&self, at: usize) -> Result<u32, BtfError> {
        u32_at(&self.types, at, "a type")
    }

    fn decode(&self, at: usize, id: u32) -> Result<Type, BtfError> {
        let info = self.word(at + 4)?;
        Ok(Type {
            kind: kind_of((info >> 24 & 0x1f) as u8, id)?,
            count: info as u16,
            flag: info >> 31 != 0,
            size_or_type: self.word(at + 8)?,
            name: self.word(at)?,
            rest: at + TYPE_LEN,
        })
    }

    /// The type numbered `id`, if it is one of this table's.
    pub(super) fn get(&self, id: u32) -> Option<Type> {
        let start = *self.starts.get(id.checked_sub(self.first_id)? as usize)?;
        self.decode(start as usize, id).ok()
    }

    /// Word `index` of what follows the common part of `ty`.
    pub(super) fn detail(&self, ty: &Type, index: usize) -> Result<u32, BtfError> {
        self.word(ty.rest + index * 4)
    }

    /// Member `index` of the structure or union `ty`.
    pub(super) fn field(&self, ty: &Type, index: u16) -> Result<Field, BtfError> {
        let at = usize::from(index) * 3;
        let place = self.detail(ty, at + 2)?;
        let (bits, width) = if ty.flag { (place & 0xff_ffff, (place >> 24) as u8) } else { (place, 0) };
        Ok(Field { name: self.detail(ty, at)?, type_id: self.detail(ty, at + 1)?, bits, width })
    }

    /// Name and value of enumerator `index` of `ty`, of either width.
    pub(super) fn enumerator(&self, ty: &Type, index: u16) -> Result<(u32, i128), BtfError> {
        let words = if ty.kind == Kind::Enum64 { 3 } else { 2 };
        let at = usize::from(index) * words;
        let name = self.detail(ty, at)?;
        let low = self.detail(ty, at + 1)?;
        let value = match (ty.kind, ty.flag) {
            (Kind::Enum64, signed) => {
                let wide = u64::from(self.detail(ty, at + 2)?) << 32 | u64::from(low);
                if signed { i128::from(wide as i64) } else { i128::from(wide) }
            }
            (_, true) => i128::from(low as i32),
            (_, false) => i128::from(low),
        };
        Ok((name, value))
    }

    /// Whether the string at `offset`, in the shared numbering, is `wanted`. None when it belongs to the base.
    pub(super) fn string_is(&self, offset: u32, wanted: &str) -> Option<bool> {
        let start = offset.checked_sub(self.first_string)? as usize;
        let tail = self.strings.get(start..).unwrap_or_default();
        Some(tail.get(..wanted.len()) == Some(wanted.as_bytes()) && tail.get(wanted.len()) == Some(&0))
    }
}

impl Type {
    /// Where its name lies among the strings.
    pub(super) fn name(&self) -> u32 {
        self.name
    }
}

fn kind_of(kind: u8, id: u32) -> Result<Kind, BtfError> {
    Ok(match kind {
        1 => Kind::Int,
        2 => Kind::Ptr,
        3 => Kind::Array,
        4 => Kind::Struct,
        5 => Kind::Union,
        6 => Kind::Enum,
        7 => Kind::Forward,
        8..=11 | 18 => Kind::Alias,
        12..=15 | 17 => Kind::Other,
        16 => Kind::Float,
        19 => Kind::Enum64,
        _ => return Err(BtfError::Kind { id, kind }),
    })
}

/// Bytes that follow the common part of a type.
fn rest_len(kind: u8, count: u16) -> usize {
    let count = usize::from(count);
    match kind {
        1 | 14 | 17 => 4,
        3 => 12,
        4 | 5 | 15 | 19 => 12 * count,
        6 | 13 => 8 * count,
        _ => 0,
    }
}
