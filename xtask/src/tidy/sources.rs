//! Rust sources of the project, parsed.

use std::path::Path;

use anyhow::{Context, Result};
use syn::spanned::Spanned;

use crate::{process, workspace};

/// One parsed file.
pub(crate) struct Source {
    /// Path from the top folder.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) syntax: syn::File,
}

impl Source {
    /// Parses a text under a name.
    pub(crate) fn parse(path: &str, text: &str) -> Result<Self> {
        let syntax = syn::parse_file(text).with_context(|| format!("{path} does not parse"))?;
        Ok(Self { path: path.to_owned(), text: text.to_owned(), syntax })
    }

    /// Whether the whole file is tests: `tests.rs`, or in a package's folder `tests/`.
    pub(crate) fn is_tests(&self) -> bool {
        let in_folder = self.path.split('/').skip(1).any(|part| part == "tests");
        in_folder || self.path.ends_with("/tests.rs")
    }
}

/// Files that git knows or would add, so that build output and ignored files stay out.
pub(crate) fn listed(root: &Path) -> Result<Vec<String>> {
    let list = process::output(workspace::at_root("git").args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "-z",
    ]))?;
    let names = list.split('\0').filter(|name| !name.is_empty() && root.join(name).is_file());
    Ok(names.map(str::to_owned).collect())
}

/// All Rust files.
pub(crate) fn all(root: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for path in listed(root)?.into_iter().filter(|path| path.ends_with(".rs")) {
        let text = std::fs::read_to_string(root.join(&path)).with_context(|| path.clone())?;
        sources.push(Source::parse(&path, &text)?);
    }
    Ok(sources)
}

/// Whether an item carries `#[cfg(test)]`, also as a part of `all(test, ...)`.
pub(crate) fn is_cfg_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else { return false };
        let words = list.tokens.to_string();
        list.path.is_ident("cfg") && (words == "test" || words.starts_with("all (test"))
    })
}

/// First and last line of something, from 1, attributes and docs included.
pub(crate) fn lines(spanned: &impl Spanned) -> (usize, usize) {
    let span = spanned.span();
    (span.start().line, span.end().line)
}
