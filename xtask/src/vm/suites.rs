//! The suites of guests: which shell files make one, on which kernels it runs, and which tests of ours it is given.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::vm::guest::Program;
use crate::vm::packages::PackagedFile;
use crate::{process, workspace};

/// Kernel series that every suite of disks runs on: Debian 12's own and the one of its backports.
const SERIES: [&str; 2] = ["6.1", "6.12"];

/// That of the tape suite: since 6.15 scsi_debug has tapes that move and know where they are.
const TAPE_SERIES: [&str; 1] = ["6.18"];

/// Where the shell files are.
const FOLDER: &str = "tests/src/vm";

/// What runs in one boot.
#[derive(Debug)]
pub(crate) struct Suite {
    /// Its name in `--suite` and in results.
    pub(crate) name: &'static str,
    /// Shell files, run as one script in this order.
    parts: &'static [&'static str],
    /// Kernel series that it runs on.
    pub(crate) series: &'static [&'static str],
    /// Packages and their test targets whose ignored tests the script runs.
    tests: &'static [(&'static str, &'static str)],
    /// Files of packages that are not installed here.
    packages: &'static [PackagedFile],
}

/// A program that moves tapes in every way.
const TAPE_PROGRAMS: &[PackagedFile] = &[PackagedFile { package: "mt-st", path: "bin/mt-st" }];

/// All of them, in the order in which they run.
pub(crate) const SUITES: &[Suite] = &[
    Suite { name: "disks", parts: &["lib.sh", "guest.sh"], series: &SERIES, tests: &[], packages: &[] },
    Suite {
        name: "scsi",
        parts: &["lib.sh", "scsi.sh"],
        series: &SERIES,
        tests: &[
            ("replayer", "scsi_conformance_sg"),
            ("replayer", "scsi_target_sg"),
            ("replayer", "scsi_rows_sg"),
            ("replayer", "scsi_alike_sg"),
        ],
        packages: &[],
    },
    Suite { name: "tape", parts: &["lib.sh", "tape.sh"], series: &TAPE_SERIES, tests: &[], packages: TAPE_PROGRAMS },
];

impl Suite {
    /// Its shell files as one script.
    pub(crate) fn script(&self) -> Result<String> {
        let folder = workspace::root().join(FOLDER);
        let read = |part: &&str| {
            let path = folder.join(part);
            fs::read_to_string(&path).with_context(|| format!("cannot read the guest script {}", path.display()))
        };
        self.parts.iter().map(read).collect()
    }

    /// Gets its files of packages.
    pub(crate) fn fetch_packages(&self) -> Result<Vec<Program>> {
        self.packages.iter().map(PackagedFile::fetch).collect()
    }

    /// Builds its tests and puts them, without what only a debugger needs, into `folder`.
    pub(crate) fn build_tests(&self, folder: &Path) -> Result<Vec<Program>> {
        self.tests.iter().map(|(package, target)| build_test(package, target, folder)).collect()
    }
}

fn build_test(package: &str, target: &str, folder: &Path) -> Result<Program> {
    let mut cargo = workspace::cargo();
    cargo.args(["test", "--quiet", "--no-run", "--message-format=json", "--package", package, "--test", target]);
    let messages = process::output(&mut cargo)?;
    let built = messages.lines().find_map(|line| executable(line, target));
    let built = built.with_context(|| format!("cargo built no test {target} of {package}"))?;
    let stripped = folder.join(target);
    process::output(std::process::Command::new("strip").arg("-o").args([&stripped, &built]))?;
    if !stripped.is_file() {
        bail!("{} was not made", stripped.display());
    }
    Ok(Program { name: target.to_owned(), path: stripped })
}

/// The file of a test target, in one of cargo's messages.
fn executable(message: &str, target: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    let named = message["target"]["name"] == target && message["target"]["kind"][0] == "test";
    let file = message["executable"].as_str().filter(|_| named)?;
    Some(file.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_there() {
        for suite in SUITES {
            assert!(suite.script().expect("its files can be read").starts_with("#!/bin/sh"), "{}", suite.name);
            assert!(!suite.series.is_empty());
        }
    }

    #[test]
    fn the_binary_of_a_test_is_found_among_messages() {
        let artifact = |name: &str, kind: &str| {
            format!(r#"{{"target":{{"kind":["{kind}"],"name":"{name}"}},"executable":"/t/{name}-1"}}"#)
        };
        assert_eq!(executable(&artifact("a", "test"), "a"), Some(PathBuf::from("/t/a-1")));
        assert_eq!(executable(&artifact("a", "bin"), "a"), None);
        assert_eq!(executable(&artifact("b", "test"), "a"), None);
        assert_eq!(executable("no JSON", "a"), None);
    }
}
