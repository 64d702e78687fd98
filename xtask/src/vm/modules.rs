//! Kernel modules for the guest: what was asked for and all that it depends on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process;
use crate::vm::archive::Archive;
use crate::vm::kernels::Kernel;

/// What guest scripts may `modprobe`; those that a kernel has built in, or lacks, are passed over.
const WANTED: &[&str] = &[
    "virtio",
    "virtio_pci",
    "virtio_blk",
    "virtio_scsi",
    "virtio_rng",
    "scsi_mod",
    "sd_mod",
    "sg",
    "scsi_debug",
    "sr_mod",
    "st",
    "dm_mod",
    "dm_raid",
    "md_mod",
    "raid1",
    "loop",
    "zram",
    "lzo",
    "lzo_rle",
    "ext4",
    "xfs",
    "crc32c_generic",
    "crc32c_intel",
    "crc32c_cryptoapi",
    "libcrc32c",
    "dm_log_writes",
    "configfs",
    "target_core_user",
    "tcm_loop",
];

/// Module files by name, with the files each needs first, from `modules.dep`.
#[derive(Debug, Default)]
struct Dependencies {
    files: BTreeMap<String, String>,
    needs: BTreeMap<String, Vec<String>>,
}

/// Puts the modules and a `modules.dep` of their own into the archive.
pub(crate) fn add(archive: &mut Archive, kernel: &Kernel) -> Result<()> {
    let list = kernel.modules.join("modules.dep");
    let text = match fs::read_to_string(&list) {
        Ok(text) => text,
        Err(_) => generated(kernel)?,
    };
    let dependencies = Dependencies::parse(&text);
    let folder = format!("lib/modules/{}", kernel.release);
    let mut lines = String::new();
    for file in dependencies.closure(WANTED) {
        let content = content(&kernel.modules.join(&file))?;
        archive.file(&format!("{folder}/{}", plain(&file)), 0o644, &content);
        let needs = dependencies.needs.get(&file).map(Vec::as_slice).unwrap_or_default();
        let needs: Vec<&str> = needs.iter().map(|need| plain(need)).collect();
        lines.push_str(&format!("{}: {}\n", plain(&file), needs.join(" ")));
    }
    archive.file(&format!("{folder}/modules.dep"), 0o644, lines.as_bytes());
    Ok(())
}

/// A package that was never installed has no `modules.dep` yet: depmod makes one.
fn generated(kernel: &Kernel) -> Result<String> {
    let base = kernel.modules.ancestors().nth(3).context("modules lie under lib/modules")?;
    process::output(Command::new("depmod").arg("-b").arg(base).arg(&kernel.release))?;
    let list = kernel.modules.join("modules.dep");
    fs::read_to_string(&list).with_context(|| format!("depmod wrote no {}", list.display()))
}

impl Dependencies {
    fn parse(text: &str) -> Self {
        let mut all = Self::default();
        for (file, needs) in text.lines().filter_map(|line| line.split_once(':')) {
            all.files.insert(name(file), file.to_owned());
            all.needs.insert(file.to_owned(), needs.split_whitespace().map(str::to_owned).collect());
        }
        all
    }

    /// The files of all wanted modules and of what they need.
    fn closure(&self, wanted: &[&str]) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for file in wanted.iter().filter_map(|module| self.files.get(*module)) {
            // modules.dep lists indirect needs too.
            found.extend(self.needs.get(file).into_iter().flatten().cloned());
            found.insert(file.clone());
        }
        found
    }
}

/// `kernel/drivers/md/dm-mod.ko.xz` is the module `dm_mod`.
fn name(file: &str) -> String {
    let file = file.rsplit('/').next().unwrap_or(file);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

/// The file's path without the ending of its compression.
fn plain(file: &str) -> &str {
    file.strip_suffix(".xz").unwrap_or(file)
}

/// A module's bytes, unpacked: busybox loads plain ones only.
fn content(path: &Path) -> Result<Vec<u8>> {
    if path.extension().is_none_or(|ending| ending != "xz") {
        return fs::read(path).with_context(|| path.display().to_string());
    }
    let output = Command::new("xz").arg("-dc").arg(path).output().context("cannot start xz")?;
    anyhow::ensure!(output.status.success(), "xz cannot unpack {}", path.display());
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\
kernel/fs/ext4/ext4.ko.xz: kernel/fs/jbd2/jbd2.ko.xz kernel/fs/mbcache.ko.xz
kernel/fs/jbd2/jbd2.ko.xz:
kernel/fs/mbcache.ko.xz:
kernel/drivers/md/dm-mod.ko:
";

    #[test]
    fn names_are_what_modprobe_takes() {
        assert_eq!(name("kernel/drivers/md/dm-mod.ko.xz"), "dm_mod");
        assert_eq!(plain("a/dm-mod.ko.xz"), "a/dm-mod.ko");
    }

    #[test]
    fn the_closure_holds_needs_and_passes_over_the_unknown() {
        let closure = Dependencies::parse(LIST).closure(&["ext4", "built_in"]);
        let expected = ["kernel/fs/ext4/ext4.ko.xz", "kernel/fs/jbd2/jbd2.ko.xz", "kernel/fs/mbcache.ko.xz"];
        assert_eq!(closure.into_iter().collect::<Vec<_>>(), expected);
    }
}
