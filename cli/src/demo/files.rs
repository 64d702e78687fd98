//! Comparing two directory trees by content.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// What is compared of one file.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Content {
    /// A directory or other, with its mode.
    Node(u32),
    /// A symbolic link.
    Link(PathBuf),
    /// A file: mode, size in bytes, BLAKE3 of its content.
    File(u32, u64, blake3::Hash),
}

/// What a comparison of trees found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct TreeReport {
    /// Files and directories compared.
    pub(super) files: usize,
    /// Those that differ or are on one side only.
    pub(super) different: Vec<PathBuf>,
}

/// Compares everything below `a` and `b`.
///
/// # Errors
/// Something cannot be read.
pub(super) fn compare(a: &Path, b: &Path) -> anyhow::Result<TreeReport> {
    let (a, b) = (scan(a)?, scan(b)?);
    let mut different: Vec<_> =
        a.iter().filter(|(path, content)| b.get(*path) != Some(content)).map(|(path, _)| path.clone()).collect();
    different.extend(b.keys().filter(|path| !a.contains_key(*path)).cloned());
    Ok(TreeReport { files: a.len(), different })
}

fn scan(root: &Path) -> anyhow::Result<BTreeMap<PathBuf, Content>> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
            let path = entry?.path();
            let content = look(&path).with_context(|| path.display().to_string())?;
            if fs::symlink_metadata(&path)?.is_dir() {
                dirs.push(path.clone());
            }
            found.insert(path.strip_prefix(root)?.to_owned(), content);
        }
    }
    Ok(found)
}

fn look(path: &Path) -> anyhow::Result<Content> {
    let meta = fs::symlink_metadata(path)?;
    if meta.is_symlink() {
        return Ok(Content::Link(fs::read_link(path)?));
    }
    if !meta.is_file() {
        return Ok(Content::Node(meta.mode()));
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(Content::File(meta.mode(), meta.len(), hasher.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_of_all_kinds_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
        for side in [&a, &b] {
            fs::create_dir_all(side.join("sub")).unwrap();
            fs::write(side.join("sub/same"), "same").unwrap();
        }
        assert_eq!(compare(&a, &b).unwrap(), TreeReport { files: 2, different: vec![] });
        fs::write(a.join("left"), "").unwrap();
        fs::write(b.join("sub/right"), "").unwrap();
        fs::write(a.join("sub/same"), "some").unwrap();
        let different = compare(&a, &b).unwrap().different;
        assert_eq!(different, ["left", "sub/same", "sub/right"].map(PathBuf::from));
    }
}
