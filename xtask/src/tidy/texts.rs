//! Texts of the project speak of the project alone: no paths of one machine, no hosts of one network.

use std::path::Path;

use anyhow::Result;

use crate::tidy::Finding;
use crate::tidy::sources;

/// Words that only a machine of ours would explain; put together here so that this file does not hold them.
const FOLDERS: [&str; 3] = [concat!("/wo", "rk"), concat!("/ro", "ot"), concat!("/ho", "me")];
/// Package sources must be the public defaults.
const SOURCES: [&str; 4] =
    [concat!("spar", "se+http"), concat!("[sou", "rce."), concat!("artifa", "ctory"), concat!("replace-", "with =")];
/// The only source of packages in lock files.
const REGISTRY: &str = "\"registry+https://github.com/rust-lang/crates.io-index\"";

/// Findings in all files that git knows or would add.
pub(crate) fn check(root: &Path) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for path in sources::listed(root)? {
        // What is not text has no words.
        let Ok(text) = std::fs::read_to_string(root.join(&path)) else { continue };
        findings.extend(check_text(&path, &text));
    }
    Ok(findings)
}

fn check_text(path: &str, text: &str) -> Vec<Finding> {
    let is_lock = path.ends_with("Cargo.lock");
    let mut findings = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        findings.extend(fault(line, is_lock).map(|what| Finding::new(path, number, what)));
    }
    findings
}

fn fault(line: &str, is_lock: bool) -> Option<String> {
    if is_lock {
        let source = line.strip_prefix("source = ")?;
        return (source != REGISTRY).then(|| format!("packages come from the public registry only, not from {source}"));
    }
    let folder = FOLDERS.into_iter().find(|folder| names_folder(line, folder));
    if let Some(folder) = folder {
        return Some(format!("names {folder}, a folder of one machine"));
    }
    let source = SOURCES.into_iter().find(|source| line.contains(source));
    source.map(|source| format!("holds `{source}`: package sources are the public defaults"))
}

/// Whether the folder is named as an absolute path, not as a part of another name.
fn names_folder(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + folder.len()..].chars().next();
        let begins = before.is_none_or(|c| !(c.is_alphanumeric() || "_-./$}>*)".contains(c)));
        let ends = after.is_none_or(|c| !(c.is_alphanumeric() || c == '_' || c == '-'));
        begins && ends
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_a_machine() {
        for folder in FOLDERS {
            assert_eq!(check_text("README.md", &format!("see {folder}/x")).len(), 1, "{folder}");
            assert_eq!(check_text("README.md", &format!("\"{folder}\"")).len(), 1, "{folder}");
            assert_eq!(check_text("README.md", &format!("tests{folder}/x and {folder}s")), [], "{folder}");
        }
    }

    #[test]
    fn package_sources() {
        let good = format!("source = {REGISTRY}\n");
        assert_eq!(check_text("Cargo.lock", &good), []);
        assert_eq!(check_text("fuzz/Cargo.lock", "source = \"registry+https://example.org/\"\n").len(), 1);
        assert_eq!(check_text(".cargo/config.toml", &format!("{}x]", SOURCES[1])).len(), 1);
    }
}
