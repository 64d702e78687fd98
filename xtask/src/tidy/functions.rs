//! Lengths: functions over 70 lines, files over 600, both without their tests.
//!
//! A long function that is better whole says so right above it: `// Long on purpose: ` and the reason.

use syn::visit::Visit;

use crate::tidy::Finding;
use crate::tidy::sources::{Source, is_cfg_test, lines};

const FUNCTION_LINES: usize = 70;
const FILE_LINES: usize = 600;
const ARGUED: &str = "// Long on purpose: ";

/// Findings of one file.
pub(crate) fn check(source: &Source) -> Vec<Finding> {
    if source.is_tests() {
        return Vec::new();
    }
    let mut lengths = Lengths { source, tests: 0, findings: Vec::new() };
    lengths.visit_file(&source.syntax);
    let count = source.text.lines().count() - lengths.tests;
    if count > FILE_LINES {
        let what = format!("{count} lines without tests, {FILE_LINES} are allowed: split it by nouns of the design");
        lengths.findings.push(Finding::new(&source.path, 0, what));
    }
    lengths.findings
}

struct Lengths<'a> {
    source: &'a Source,
    /// Lines of test modules and functions.
    tests: usize,
    findings: Vec<Finding>,
}

impl Lengths<'_> {
    fn function(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let (first, _) = lines(signature);
        let (_, last) = lines(block);
        let count = last - first + 1;
        if count > FUNCTION_LINES && !self.is_argued(first) {
            let what = format!("fn {} has {count} lines, {FUNCTION_LINES} are allowed: split it", signature.ident);
            self.findings.push(Finding::new(&self.source.path, first, what));
        }
    }

    fn is_argued(&self, line: usize) -> bool {
        let above = self.source.text.lines().take(line - 1).collect::<Vec<_>>();
        let notes = above.iter().rev().map(|line| line.trim());
        notes.take_while(|line| line.starts_with("//") || line.starts_with('#')).any(|line| line.starts_with(ARGUED))
    }
}

impl<'ast> Visit<'ast> for Lengths<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if is_cfg_test(&module.attrs) {
            let (first, last) = lines(module);
            self.tests += last - first + 1;
        } else {
            syn::visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if is_cfg_test(&function.attrs) {
            return;
        }
        self.function(&function.sig, &function.block);
        syn::visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.function(&function.sig, &function.block);
        syn::visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(block) = &function.default {
            self.function(&function.sig, block);
        }
        syn::visit::visit_trait_item_fn(self, function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<Finding> {
        check(&Source::parse(path, text).expect("parses"))
    }

    fn function(name: &str, body: usize) -> String {
        format!("fn {name}() {{\n{}}}\n", "    work();\n".repeat(body))
    }

    #[test]
    fn a_function_of_70_lines_is_allowed_and_one_of_71_is_not() {
        assert_eq!(findings("a/src/lib.rs", &function("fits", 68)), []);
        let found = findings("a/src/lib.rs", &format!("struct A;\nimpl A {{\n{}}}\n", function("long", 69)));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 3);
    }

    #[test]
    fn docs_do_not_count_and_reasons_are_heard() {
        let docs = "/// Words.\n".repeat(30);
        assert_eq!(findings("a/src/lib.rs", &(docs + &function("fits", 68))), []);
        let argued = format!("// Long on purpose: one table.\n#[inline]\n{}", function("long", 100));
        assert_eq!(findings("a/src/lib.rs", &argued), []);
    }

    #[test]
    fn tests_may_be_long() {
        let module = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", function("long", 700));
        assert_eq!(findings("a/src/lib.rs", &module), []);
        assert_eq!(findings("a/tests/story.rs", &function("long", 700)), []);
        assert_eq!(findings("a/src/b/tests.rs", &function("long", 700)), []);
        assert_eq!(findings("tests/src/sim/mod.rs", &function("long", 100)).len(), 1);
    }

    #[test]
    fn a_file_of_601_lines_is_too_long() {
        assert_eq!(findings("a/src/lib.rs", &"const _: () = ();\n".repeat(600)), []);
        assert_eq!(findings("a/src/lib.rs", &"const _: () = ();\n".repeat(601)).len(), 1);
    }
}
