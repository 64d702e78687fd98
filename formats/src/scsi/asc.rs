//! Additional sense codes: what exactly is the matter.

use core::fmt;

use super::asc_table::{CODES, RANGES};

/// An additional sense code with its qualifier (ASC and ASCQ; SPC-5, "Sense key and additional sense code definitions").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Default)]
pub struct Asc {
    /// ADDITIONAL SENSE CODE.
    pub code: u8,
    /// ADDITIONAL SENSE CODE QUALIFIER.
    pub qualifier: u8,
}

impl Asc {
    /// 00h/00h: nothing more to say.
    pub const NONE: Self = Self::new(0, 0);

    /// The pair.
    #[must_use]
    pub const fn new(code: u8, qualifier: u8) -> Self {
        Self { code, qualifier }
    }

    /// Its name in the T10 list; `None` for a pair that the list does not have.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        let listed = CODES.binary_search_by_key(&self, |row| Self::new(row.0, row.1));
        match listed {
            Ok(at) => CODES.get(at).map(|row| row.2),
            Err(_) => self.name_in_ranges(),
        }
    }

    fn name_in_ranges(self) -> Option<&'static str> {
        let holds = |row: &&(u8, u8, u8, &str)| row.0 == self.code && (row.1..=row.2).contains(&self.qualifier);
        RANGES.iter().find(holds).map(|row| row.3)
    }

    /// Whether the code (80h and above) or the qualifier (80h and above) is the vendor's own.
    #[must_use]
    pub const fn is_vendor_specific(self) -> bool {
        self.code >= 0x80 || self.qualifier >= 0x80
    }

    /// Every pair that has a name of its own, in order, with that name.
    pub fn listed() -> impl Iterator<Item = (Self, &'static str)> {
        CODES.iter().map(|row| (Self::new(row.0, row.1), row.2))
    }
}

impl fmt::Display for Asc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02X}h/{:02X}h", self.code, self.qualifier)?;
        match self.name() {
            Some(name) => write!(f, " {name}"),
            None if self.is_vendor_specific() => f.write_str(" vendor specific"),
            None => f.write_str(" unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_so_that_it_can_be_searched() {
        assert!(CODES.windows(2).all(|pair| (pair[0].0, pair[0].1) < (pair[1].0, pair[1].1)));
    }

    #[test]
    fn names_are_found_in_the_list_in_ranges_and_not_elsewhere() {
        assert_eq!(Asc::new(0x27, 0x07).name(), Some("Space allocation failed write protect"));
        assert_eq!(Asc::new(0x40, 0x85).name(), Some("Diagnostic failure on component"));
        assert_eq!(Asc::new(0x4d, 0x17).name(), Some("Tagged overlapped commands"));
        assert_eq!(Asc::new(0x04, 0x7f).name(), None);
        assert_eq!(alloc::format!("{}", Asc::new(0x90, 1)), "90h/01h vendor specific");
    }
}
