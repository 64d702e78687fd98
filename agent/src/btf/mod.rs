//! The kernel's own description of its types (BTF), read to find where structures keep their members.
//!
//! Understands kinds 1 to 19, modules' BTF on top of the kernel's, anonymous members, bit fields and enumerators. Every
//! offset is checked, nothing is allocated by a length that was not, and circles end in an error: a damaged blob gives a
//! [`BtfError`], never a panic. Layout: <https://docs.kernel.org/bpf/btf.html>.

mod error;
mod table;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

pub use self::error::BtfError;
use self::table::{Field, Kind, Table, Type};

/// Where the running kernel shows its types.
pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";
/// Largest file read, in bytes. Kernels have 4 to 12 MiB.
const MAX_BYTES: u64 = 256 << 20;
/// Longest chain of typedefs, qualifiers and nested anonymous structures.
const MAX_DEPTH: u8 = 32;
/// Members looked at for one question: bounds the work that a hostile blob can cause.
const MAX_STEPS: u32 = 200_000;

/// Types of the kernel, or of a module together with the kernel's.
#[derive(Clone, Debug)]
pub struct Btf {
    /// The kernel's table first.
    tables: Vec<Arc<Table>>,
}

/// Where a member lies and what it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    /// Offset in bits from the start of the outermost structure.
    pub bit_offset: u64,
    /// Width in bits if it is a bit field.
    pub bit_width: Option<u8>,
    /// What it is.
    pub kind: MemberKind,
}

/// What a member is, below its typedefs and qualifiers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemberKind {
    /// An integer of this many bytes.
    Int {
        /// Size in bytes.
        bytes: u32,
        /// Whether it has a sign.
        signed: bool,
    },
    /// A pointer.
    Pointer,
    /// An array.
    Array {
        /// How many elements it has.
        elements: u32,
    },
    /// A structure or union of this many bytes.
    Structure {
        /// Size in bytes.
        bytes: u32,
    },
    /// An enum of this many bytes.
    Enum {
        /// Size in bytes.
        bytes: u32,
    },
    /// A floating-point number, function or something else that blkecho never reads.
    Other,
}

/// Remaining work for one question.
struct Budget<'a> {
    steps: u32,
    name: &'a str,
}

impl Budget<'_> {
    fn new(name: &str) -> Budget<'_> {
        Budget { steps: MAX_STEPS, name }
    }

    fn step(&mut self) -> Result<(), BtfError> {
        self.steps = self.steps.checked_sub(1).ok_or_else(|| too_deep(self.name))?;
        Ok(())
    }
}

fn too_deep(name: &str) -> BtfError {
    BtfError::TooDeep { name: name.to_owned() }
}

impl Btf {
    /// Reads `bytes`: a kernel's, or a module's on top of its kernel's.
    ///
    /// # Errors
    /// The bytes are damaged, of another byte order, or newer than what is understood.
    pub fn parse(bytes: &[u8], base: Option<&Self>) -> Result<Self, BtfError> {
        let mut tables = base.map_or_else(Vec::new, |base| base.tables.clone());
        let table = Table::parse(bytes, tables.last().map(AsRef::as_ref))?;
        tables.push(Arc::new(table));
        Ok(Self { tables })
    }

    /// The running kernel's, from [`KERNEL_BTF`].
    ///
    /// # Errors
    /// The kernel does not show its types, or they are not understood.
    pub fn kernel() -> Result<Self, BtfError> {
        Self::read(Path::new(KERNEL_BTF), None)
    }

    /// From a file: a module's is `/sys/kernel/btf/NAME` and needs the kernel's as `base`.
    ///
    /// # Errors
    /// The file cannot be read or is not understood.
    pub fn read(path: &Path, base: Option<&Self>) -> Result<Self, BtfError> {
        let failed = |source| BtfError::Read { path: path.to_owned(), source };
        let mut bytes = Vec::new();
        File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes)).map_err(failed)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(BtfError::TooLarge { path: path.to_owned(), limit: MAX_BYTES });
        }
        Self::parse(&bytes, base)
    }

    /// Whether any type, function or variable has this name.
    #[must_use]
    pub fn has_type(&self, name: &str) -> bool {
        self.named(name).next().is_some()
    }

    /// Size in bytes of `struct name` or `union name`.
    ///
    /// # Errors
    /// There is none, or there are several of different sizes.
    pub fn struct_size(&self, name: &str) -> Result<u32, BtfError> {
        let found = self.structures(name)?.into_iter().map(|(_, ty)| Some(ty.size_or_type));
        agreed(found, name, "size").and_then(|size| size.ok_or_else(|| no_structure(name)))
    }

    /// Where a member lies, and what it is. `path` may be dotted (`bi_iter.bi_sector`); anonymous structures and unions
    /// on the way are followed.
    ///
    /// # Errors
    /// The structure or member does not exist, or several structures of that name disagree.
    pub fn member(&self, structure: &str, path: &str) -> Result<Member, BtfError> {
        let mut found = Vec::new();
        for (table, ty) in self.structures(structure)? {
            found.push(self.member_of(table, &ty, path)?);
        }
        let found = found.into_iter().filter(Option::is_some);
        let no_member = || BtfError::NoMember { structure: structure.to_owned(), member: path.to_owned() };
        agreed(found, structure, path)?.ok_or_else(no_member)
    }

    /// Offset in bytes of a member, as [`Self::member`] finds it.
    ///
    /// # Errors
    /// As [`Self::member`]; and [`BtfError::BitField`] when it is one.
    pub fn member_offset(&self, structure: &str, path: &str) -> Result<u32, BtfError> {
        let member = self.member(structure, path)?;
        let bytes = u32::try_from(member.bit_offset / 8).ok();
        bytes
            .filter(|_| member.bit_width.is_none() && member.bit_offset.is_multiple_of(8))
            .ok_or_else(|| BtfError::BitField { structure: structure.to_owned(), member: path.to_owned() })
    }

    /// What a member is.
    ///
    /// # Errors
    /// As [`Self::member`].
    pub fn member_kind(&self, structure: &str, path: &str) -> Result<MemberKind, BtfError> {
        self.member(structure, path).map(|member| member.kind)
    }

    /// Value of an enumerator of `enum name`. Kernels before 6.0 do not mark signed enums: there a negative value reads
    /// as a large positive one.
    ///
    /// # Errors
    /// The enum or the enumerator does not exist.
    pub fn enum_value(&self, name: &str, enumerator: &str) -> Result<i128, BtfError> {
        let enums: Vec<_> = self.named(name).filter(|(_, ty)| is_enum(ty)).collect();
        if enums.is_empty() {
            return Err(BtfError::NoType { what: "enum", name: name.to_owned() });
        }
        self.find_enumerator(enums.into_iter(), &format!("enum {name}"), enumerator)
    }

    /// Value of an enumerator of any enum, named or not.
    ///
    /// # Errors
    /// No enum has it, or several do with different values.
    pub fn enumerator(&self, enumerator: &str) -> Result<i128, BtfError> {
        self.find_enumerator(self.all().filter(|(_, ty)| is_enum(ty)), "any enum", enumerator)
    }

    fn all(&self) -> impl Iterator<Item = (&Table, Type)> {
        let tables = self.tables.iter().map(AsRef::as_ref);
        tables.flat_map(|table: &Table| {
            (table.first_id()..table.end_id()).filter_map(move |id| Some((table, table.get(id)?)))
        })
    }

    fn named(&self, name: &str) -> impl Iterator<Item = (&Table, Type)> {
        self.all().filter(move |(_, ty)| self.string_is(ty.name(), name))
    }

    /// A string lies in the table that its offset belongs to: the last one that starts before it.
    fn string_is(&self, offset: u32, wanted: &str) -> bool {
        self.tables.iter().rev().find_map(|table| table.string_is(offset, wanted)).unwrap_or(false)
    }

    fn structures(&self, name: &str) -> Result<Vec<(&Table, Type)>, BtfError> {
        let found: Vec<_> = self.named(name).filter(|(_, ty)| is_structure(ty)).collect();
        if found.is_empty() { Err(no_structure(name)) } else { Ok(found) }
    }

    fn get(&self, id: u32) -> Result<(&Table, Type), BtfError> {
        let found = self.tables.iter().find_map(|table| Some((table.as_ref(), table.get(id)?)));
        found.ok_or(BtfError::Reference { id })
    }

    /// The type below typedefs and qualifiers. None for `void`.
    fn resolve(&self, id: u32, name: &str) -> Result<Option<(&Table, Type)>, BtfError> {
        let mut id = id;
        for _ in 0..MAX_DEPTH {
            if id == 0 {
                return Ok(None);
            }
            let (table, ty) = self.get(id)?;
            if ty.kind != Kind::Alias {
                return Ok(Some((table, ty)));
            }
            id = ty.size_or_type;
        }
        Err(too_deep(name))
    }

    fn member_of(&self, table: &Table, ty: &Type, path: &str) -> Result<Option<Member>, BtfError> {
        let mut budget = Budget::new(path);
        let (mut table, mut ty, mut start) = (table, *ty, 0u64);
        let mut parts = path.split('.').peekable();
        while let Some(part) = parts.next() {
            let Some((bits, field)) = self.field_named(table, &ty, part, MAX_DEPTH, &mut budget)? else {
                return Ok(None);
            };
            start += bits;
            if parts.peek().is_none() {
                return self.describe(start, field, path).map(Some);
            }
            match self.resolve(field.type_id, path)? {
                Some((next_table, next)) if is_structure(&next) => (table, ty) = (next_table, next),
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Finds a member by name, also within anonymous ones; answers its offset in bits from the start of `ty`.
    fn field_named(
        &self,
        table: &Table,
        ty: &Type,
        name: &str,
        depth: u8,
        budget: &mut Budget<'_>,
    ) -> Result<Option<(u64, Field)>, BtfError> {
        let depth = depth.checked_sub(1).ok_or_else(|| too_deep(name))?;
        for index in 0..ty.count {
            budget.step()?;
            let field = table.field(ty, index)?;
            if self.string_is(field.name, name) {
                return Ok(Some((u64::from(field.bits), field)));
            }
            if let Some((bits, inner)) = self.field_in_anonymous(&field, name, depth, budget)? {
                return Ok(Some((u64::from(field.bits) + bits, inner)));
            }
        }
        Ok(None)
    }

    fn field_in_anonymous(
        &self,
        field: &Field,
        name: &str,
        depth: u8,
        budget: &mut Budget<'_>,
    ) -> Result<Option<(u64, Field)>, BtfError> {
        if !self.string_is(field.name, "") {
            return Ok(None);
        }
        match self.resolve(field.type_id, name)? {
            Some((table, ty)) if is_structure(&ty) => self.field_named(table, &ty, name, depth, budget),
            _ => Ok(None),
        }
    }

    fn describe(&self, start: u64, field: Field, name: &str) -> Result<Member, BtfError> {
        let target = self.resolve(field.type_id, name)?;
        let mut member = Member { bit_offset: start, bit_width: None, kind: MemberKind::Other };
        if field.width != 0 {
            member.bit_width = Some(field.width);
        }
        let Some((table, ty)) = target else { return Ok(member) };
        member.kind = self.kind_of(table, &ty)?;
        if ty.kind == Kind::Int {
            add_int_bits(&mut member, table.detail(&ty, 0)?, ty.size_or_type);
        }
        Ok(member)
    }

    fn kind_of(&self, table: &Table, ty: &Type) -> Result<MemberKind, BtfError> {
        let bytes = ty.size_or_type;
        Ok(match ty.kind {
            Kind::Int => MemberKind::Int { bytes, signed: table.detail(ty, 0)? >> 24 & 1 != 0 },
            Kind::Ptr => MemberKind::Pointer,
            Kind::Array => MemberKind::Array { elements: table.detail(ty, 2)? },
            Kind::Struct | Kind::Union => MemberKind::Structure { bytes },
            Kind::Enum | Kind::Enum64 => MemberKind::Enum { bytes },
            Kind::Forward | Kind::Alias | Kind::Other | Kind::Float => MemberKind::Other,
        })
    }

    fn find_enumerator<'a>(
        &self,
        enums: impl Iterator<Item = (&'a Table, Type)>,
        place: &str,
        enumerator: &str,
    ) -> Result<i128, BtfError> {
        let mut found = Vec::new();
        for (table, ty) in enums {
            for index in 0..ty.count {
                let (name, value) = table.enumerator(&ty, index)?;
                if self.string_is(name, enumerator) {
                    found.push(Some(value));
                }
            }
        }
        let missing = || BtfError::NoEnumerator { place: place.to_owned(), enumerator: enumerator.to_owned() };
        agreed(found.into_iter(), place, enumerator)?.ok_or_else(missing)
    }
}

/// Old compilers keep offset and width of a bit field in its integer type.
fn add_int_bits(member: &mut Member, encoding: u32, bytes: u32) {
    let (offset, width) = (encoding >> 16 & 0xff, encoding & 0xff);
    if member.bit_width.is_none() && width != 0 && width != bytes.saturating_mul(8) {
        member.bit_width = Some(width as u8);
        member.bit_offset += u64::from(offset);
    }
}

fn is_structure(ty: &Type) -> bool {
    matches!(ty.kind, Kind::Struct | Kind::Union)
}

fn is_enum(ty: &Type) -> bool {
    matches!(ty.kind, Kind::Enum | Kind::Enum64)
}

fn no_structure(name: &str) -> BtfError {
    BtfError::NoType { what: "struct", name: name.to_owned() }
}

/// The answer that all of `found` give; None when there is none.
fn agreed<T: PartialEq>(
    mut found: impl Iterator<Item = Option<T>>,
    name: &str,
    question: &str,
) -> Result<Option<T>, BtfError> {
    let Some(first) = found.next() else { return Ok(None) };
    if found.all(|other| other == first) {
        return Ok(first);
    }
    Err(BtfError::Ambiguous { name: name.to_owned(), question: question.to_owned() })
}
