//! What the guest finds: busybox, modules, programs with their libraries, init, and the script.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;
use crate::vm::archive::Archive;
use crate::vm::kernels::Kernel;
use crate::vm::modules;

/// A program that a guest is given.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// What it is called there.
    pub(crate) name: String,
    /// Where it is here.
    pub(crate) path: PathBuf,
}

/// Programs of this machine that guest scripts may call besides busybox and the binaries given; busybox has a cmp,
/// but it compares byte by byte, which takes half a minute per disk in emulation.
const PROGRAMS: &[&str] = &[
    "mkfs.ext4",
    "mkfs.xfs",
    "setpriv",
    "e2fsck",
    "dmsetup",
    "fio",
    "blktrace",
    "blkparse",
    "cmp",
    "sg_raw",
    "sg_write_same",
    "sg_unmap",
    "sg_sync",
    "sg_compare_and_write",
    "sg_persist",
    "sg_wr_mode",
    "sg_write_verify",
    "sg_sanitize",
    "sg_reset",
    "sg_format",
    "sg_write_long",
    "sg_write_buffer",
    "sqlite3",
    "tar",
];

/// Folders that the init program mounts on.
const FOLDERS: [&str; 8] = ["proc", "sys", "dev", "tmp", "run", "mnt", "var", "etc"];

const INIT: &str = include_str!("init.sh");

/// Builds the guest's file system.
pub(crate) fn initrd(kernel: &Kernel, script: &str, given: &[Program]) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    FOLDERS.iter().for_each(|folder| archive.folder(folder));
    archive.character_device("dev/console", 5, 1);
    archive.character_device("dev/null", 1, 3);
    add_busybox(&mut archive)?;
    let here = |name: &&str| find(name).map(|path| Program { name: (*name).to_owned(), path });
    let mut programs: Vec<Program> = PROGRAMS.iter().filter_map(here).collect();
    programs.extend(given.iter().cloned());
    add_programs(&mut archive, &programs)?;
    modules::add(&mut archive, kernel)?;
    archive.file("init", 0o755, INIT.as_bytes());
    archive.file("script", 0o755, script.as_bytes());
    Ok(archive.finish())
}

fn add_busybox(archive: &mut Archive) -> Result<()> {
    let path = find("busybox").context("busybox is not installed (package busybox-static)")?;
    let bytes = fs::read(&path)?;
    if !libraries(&path)?.is_empty() {
        bail!("{} is not static; install the package busybox-static", path.display());
    }
    archive.file("bin/busybox", 0o755, &bytes);
    let applets = process::output(Command::new(&path).arg("--list"))?;
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        archive.link(&format!("bin/{applet}"), "busybox");
    }
    Ok(())
}

/// Programs go to `/usr/bin`, which is before busybox on the guest's PATH; libraries keep their paths.
fn add_programs(archive: &mut Archive, programs: &[Program]) -> Result<()> {
    let mut needed = BTreeSet::new();
    for Program { name, path } in programs {
        let bytes = fs::read(path).with_context(|| path.display().to_string())?;
        archive.file(&format!("usr/bin/{name}"), 0o755, &bytes);
        needed.extend(libraries(path)?);
    }
    for library in needed {
        let bytes = fs::read(&library).with_context(|| library.clone())?;
        archive.file(library.trim_start_matches('/'), 0o755, &bytes);
    }
    Ok(())
}

/// Shared libraries of a program, its loader included; none for a static one.
fn libraries(program: &Path) -> Result<Vec<String>> {
    let output = Command::new("ldd").arg(program).output().context("cannot start ldd")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    parse_ldd(&text).with_context(|| format!("libraries of {}", program.display()))
}

fn parse_ldd(text: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for line in text.lines() {
        if line.contains("not found") {
            bail!("missing here: {}", line.trim());
        }
        found.extend(line.split_whitespace().find(|word| word.starts_with('/')).map(str::to_owned));
    }
    Ok(found)
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).collect();
    folders.into_iter().map(|folder| folder.join(program)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ldd_lines_of_all_kinds() {
        let text = "\tlinux-vdso.so.1 (0x7f)\n\tlibc.so.6 => /lib/libc.so.6 (0x7f)\n\t/lib64/ld.so.2 (0x7f)\n";
        assert_eq!(parse_ldd(text).expect("all found"), ["/lib/libc.so.6", "/lib64/ld.so.2"]);
        assert!(parse_ldd("\tnot a dynamic executable\n").expect("static").is_empty());
        assert!(parse_ldd("\tlibx.so => not found\n").is_err());
    }
}
