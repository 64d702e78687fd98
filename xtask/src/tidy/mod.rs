//! The checks of the house that no compiler makes.
//!
//! Each check returns findings and knows nothing of the others; a finding names the file, the line and what to do.

mod functions;
mod pure;
mod rooms;
mod sources;
mod texts;
mod unsafety;

use std::fmt;

use anyhow::{Result, bail};

use crate::workspace;

/// Something that must be changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// Path from the top folder.
    file: String,
    /// From 1; 0 when it concerns the whole file.
    line: usize,
    what: String,
}

impl Finding {
    fn new(file: &str, line: usize, what: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.what),
            line => write!(f, "{}:{line}: {}", self.file, self.what),
        }
    }
}

/// The task: all checks, all findings, one error.
pub(crate) fn run() -> Result<()> {
    let root = workspace::root();
    let mut findings = rooms::check(root)?;
    findings.extend(texts::check(root)?);
    for source in sources::all(root)? {
        findings.extend(functions::check(&source));
        findings.extend(unsafety::check(&source));
    }
    findings.extend(pure::check()?);
    findings.sort();
    for finding in &findings {
        println!("tidy: {finding}");
    }
    if !findings.is_empty() {
        bail!("{} findings", findings.len());
    }
    println!("tidy: rooms, texts, lengths, unsafe code and purity are in order");
    Ok(())
}
