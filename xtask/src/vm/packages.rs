//! Programs of the guests that are not installed here: packages from apt, downloaded and unpacked once, never installed,
//! so that none of their services starts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::vm::guest::Program;
use crate::{process, workspace};

/// A file of a package.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PackagedFile {
    /// Name of the package.
    pub(crate) package: &'static str,
    /// The file in it.
    pub(crate) path: &'static str,
}

impl PackagedFile {
    /// Its package's file here; the package is got first if need be.
    pub(crate) fn fetch(&self) -> Result<Program> {
        let folder = unpacked(self.package)?;
        let path = folder.join(self.path);
        if !path.is_file() {
            bail!("package {} holds no {}", self.package, self.path);
        }
        let name = path.file_name().context("a file has a name")?.to_string_lossy().into_owned();
        Ok(Program { name, path })
    }
}

fn unpacked(package: &str) -> Result<PathBuf> {
    let cache = workspace::target().join("vm/packages").join(package);
    if !cache.is_dir() {
        println!("vm: getting {package}");
        download(package, &cache)?;
    }
    Ok(cache)
}

/// Gets a package by apt and unpacks it into `cache`, whole or not at all.
pub(crate) fn download(package: &str, cache: &Path) -> Result<()> {
    let parent = cache.parent().context("the cache has a parent folder")?;
    fs::create_dir_all(parent)?;
    // Unpacked beside and renamed, so that an interrupted run leaves no half package in the cache.
    let beside = tempfile::tempdir_in(parent)?;
    let mut apt = Command::new("apt-get");
    apt.args(["-o", "APT::Sandbox::User=root", "download", package]);
    process::output(apt.current_dir(beside.path()))?;
    let archive = fs::read_dir(beside.path())?.next().context("apt-get download left no file")??.path();
    let content = beside.path().join("content");
    process::output(Command::new("dpkg-deb").arg("-x").args([&archive, &content]))?;
    let _ = fs::remove_dir_all(cache);
    fs::rename(&content, cache)?;
    Ok(())
}
