//! Unsafe code: only in the places named here, and with a SAFETY note on every block.

use std::collections::BTreeSet;

use syn::visit::Visit;

use crate::tidy::Finding;
use crate::tidy::sources::{Source, lines};

/// The places that may switch the lint off; a folder ends with a slash. Each entry is an argument that was made.
const PLACES: [&str; 6] = [
    // Kernel memory and maps: there is no safe way to read them.
    "ebpf/probe/src/",
    // Plain data shared with the kernel.
    "ebpf/types/src/lib.rs",
    // Loading the probe and reading its memory-mapped ring.
    "agent/src/probe/",
    // The ioctl SG_IO: structures with addresses in them.
    "sgio/src/sg.rs",
    // Writes by io_uring: memory that the kernel reads.
    "replayer/src/target/ring.rs",
    // Tests: the ring of commands that the kernel's target shares with a simulated device.
    "tests/src/tcmu/area.rs",
];

/// Findings of one file.
pub(crate) fn check(source: &Source) -> Vec<Finding> {
    let mut visitor = Unsafety { source, statement: 0, findings: Vec::new(), found: BTreeSet::new() };
    visitor.visit_file(&source.syntax);
    visitor.findings
}

fn is_allowed(path: &str) -> bool {
    PLACES.iter().any(|place| path == *place || (place.ends_with('/') && path.starts_with(place)))
}

struct Unsafety<'a> {
    source: &'a Source,
    /// First line of the statement that is being visited.
    statement: usize,
    findings: Vec<Finding>,
    /// Lines already reported, as blocks may share one.
    found: BTreeSet<usize>,
}

impl Unsafety<'_> {
    fn block(&mut self, line: usize) {
        if !is_allowed(&self.source.path) {
            self.report(line, "unsafe code outside of the places named in xtask/src/tidy/unsafety.rs");
        } else if !self.has_note(line) && !self.has_note(self.statement) {
            self.report(line, "unsafe without a SAFETY note: say why the rules hold, right above it");
        }
    }

    fn report(&mut self, line: usize, what: &str) {
        if self.found.insert(line) {
            self.findings.push(Finding::new(&self.source.path, line, what));
        }
    }

    /// Whether the comments right above a line, or on it, hold the note.
    fn has_note(&self, line: usize) -> bool {
        let lines: Vec<&str> = self.source.text.lines().take(line).map(str::trim).collect();
        let Some((own, above)) = lines.split_last() else { return false };
        let above = above.iter().rev().take_while(|line| line.starts_with("//") || line.starts_with("#["));
        std::iter::once(own).chain(above).any(|line| line.contains("SAFETY:"))
    }
}

impl<'ast> Visit<'ast> for Unsafety<'_> {
    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        let syn::Meta::List(list) = &attribute.meta else { return };
        let switches_off = list.path.is_ident("allow") || list.path.is_ident("expect");
        let names_it = list.tokens.to_string().split(',').any(|lint| lint.trim() == "unsafe_code");
        if switches_off && names_it && !is_allowed(&self.source.path) {
            self.report(
                lines(attribute).0,
                "allow(unsafe_code) outside of the places named in xtask/src/tidy/unsafety.rs",
            );
        }
    }

    fn visit_stmt(&mut self, statement: &'ast syn::Stmt) {
        let outer = std::mem::replace(&mut self.statement, lines(statement).0);
        syn::visit::visit_stmt(self, statement);
        self.statement = outer;
    }

    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        self.block(lines(&block.unsafe_token).0);
        syn::visit::visit_expr_unsafe(self, block);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if let Some(token) = &item.unsafety {
            self.block(lines(token).0);
        }
        syn::visit::visit_item_impl(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: &str = "ebpf/probe/src/maps.rs";

    fn count(path: &str, text: &str) -> usize {
        check(&Source::parse(path, text).expect("parses")).len()
    }

    #[test]
    fn a_note_above_the_block_or_its_statement() {
        let near = "fn f() {\n    // SAFETY: the map lives.\n    unsafe { g() };\n}\n";
        let statement = "fn f() {\n    // SAFETY: the map lives,\n    // and so do we.\n    let a = Some(\n        unsafe { g() },\n    );\n}\n";
        assert_eq!((count(PLACE, near), count(PLACE, statement)), (0, 0));
        let item = "// SAFETY: plain data.\n#[cfg(unix)]\nunsafe impl Pod for A {}\n";
        assert_eq!(count(PLACE, item), 0);
    }

    #[test]
    fn no_note() {
        assert_eq!(count(PLACE, "fn f() {\n    unsafe { g() };\n}\n"), 1);
        assert_eq!(count(PLACE, "unsafe impl Pod for A {}\n"), 1);
        let stale = "fn f() {\n    // SAFETY: for the first.\n    unsafe { g() };\n    unsafe { g() };\n}\n";
        assert_eq!(count(PLACE, stale), 1);
    }

    #[test]
    fn only_in_its_places() {
        let noted = "fn f() {\n    // SAFETY: fine.\n    unsafe { g() };\n}\n";
        assert_eq!(count("journal/src/lib.rs", noted), 1);
        assert_eq!(count("journal/src/lib.rs", "#![allow(unsafe_code)]\n"), 1);
        assert_eq!(count("journal/src/lib.rs", "#![forbid(unsafe_code)]\n"), 0);
        assert_eq!(count(PLACE, "#![allow(unsafe_code)]\n"), 0);
    }
}
