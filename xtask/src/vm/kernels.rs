//! Kernel packages: the newest that apt offers of a series, downloaded and unpacked once, never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::vm::packages;
use crate::{process, workspace};

/// How many packages are tried, newest first: apt's lists may be older than the archive.
const ATTEMPTS: usize = 4;

/// An unpacked kernel.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// What `uname -r` says in the guest.
    pub(crate) release: String,
    /// The file that boots.
    pub(crate) image: PathBuf,
    /// The folder with `modules.dep`.
    pub(crate) modules: PathBuf,
}

/// Finds a kernel of the series in the cache, or gets one from apt.
pub(crate) fn fetch(series: &str) -> Result<Kernel> {
    let cache = workspace::target().join("vm").join(series);
    if let Ok(kernel) = unpacked(&cache) {
        return Ok(kernel);
    }
    let offered = offered(series)?;
    let mut refusals = Vec::new();
    for package in offered.iter().take(ATTEMPTS) {
        match download(package, &cache) {
            Ok(kernel) => return Ok(kernel),
            Err(error) => refusals.push(format!("{package}: {error:#}")),
        }
    }
    bail!("no kernel {series} to be had; run apt-get update and try again ({})", refusals.join("; "))
}

/// Package names of the series, newest first.
fn offered(series: &str) -> Result<Vec<String>> {
    let prefix = format!("linux-image-{series}.");
    let names = process::output(Command::new("apt-cache").args(["pkgnames", &prefix]))?;
    let mut packages: Vec<String> = names.lines().filter(|name| is_plain(name, series)).map(str::to_owned).collect();
    if packages.is_empty() {
        bail!("this machine's package lists have no linux-image-{series}.*-amd64");
    }
    packages.sort_by_key(|name| std::cmp::Reverse(version(name)));
    Ok(packages)
}

/// Whether it is the ordinary signed flavour: no cloud, real-time, debug or unsigned one.
fn is_plain(package: &str, series: &str) -> bool {
    let Some(rest) = package.strip_prefix("linux-image-").and_then(|rest| rest.strip_suffix("-amd64")) else {
        return false;
    };
    let of_series = rest.strip_prefix(series).is_some_and(|rest| rest.starts_with('.'));
    of_series && !["cloud", "rt", "unsigned", "dbg"].iter().any(|flavour| rest.split('-').any(|part| part == *flavour))
}

/// The numbers in a package's name, for ordering.
fn version(package: &str) -> Vec<u64> {
    package.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

fn download(package: &str, cache: &Path) -> Result<Kernel> {
    println!("vm: getting {package}");
    packages::download(package, cache)?;
    unpacked(cache)
}

fn unpacked(cache: &Path) -> Result<Kernel> {
    for entry in fs::read_dir(cache.join("boot"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some(release) = name.strip_prefix("vmlinuz-") {
            let image = cache.join("boot").join(&name);
            // Newer packages have it where /lib leads to.
            let folders = ["lib/modules", "usr/lib/modules"].map(|folder| cache.join(folder).join(release));
            let modules = folders.into_iter().find(|folder| folder.is_dir()).context("no modules in the package")?;
            return Ok(Kernel { release: release.to_owned(), image, modules });
        }
    }
    bail!("no kernel in {}", cache.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_flavours_only() {
        assert!(is_plain("linux-image-6.1.0-50-amd64", "6.1"));
        assert!(is_plain("linux-image-6.12.111+deb12-amd64", "6.12"));
        assert!(!is_plain("linux-image-6.12.111+deb12-amd64", "6.1"));
        assert!(!is_plain("linux-image-6.1.0-50-cloud-amd64", "6.1"));
        assert!(!is_plain("linux-image-6.1.0-50-rt-amd64", "6.1"));
        assert!(!is_plain("linux-image-6.1.0-50-amd64-dbg", "6.1"));
        assert!(!is_plain("linux-image-6.1.0-50-amd64-unsigned", "6.1"));
    }

    #[test]
    fn newest_first_by_number_not_by_letter() {
        assert!(version("linux-image-6.12.100+deb12-amd64") > version("linux-image-6.12.57+deb12-amd64"));
        assert!(version("linux-image-6.1.0-9-amd64") < version("linux-image-6.1.0-50-amd64"));
    }
}
