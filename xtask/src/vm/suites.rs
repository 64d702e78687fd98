//! The suites of guests: which shell files make one, on which kernels it runs, and which tests and programs of ours it is
//! given.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::vm::guest::Program;
use crate::vm::packages::PackagedFile;
use crate::{process, workspace};

/// Kernel series that every suite of disks runs on: Debian 12's own and the one of its backports.
const SERIES: [&str; 2] = ["6.1", "6.12"];

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
    /// Packages and their programs, made for tests, that the script calls.
    programs: &'static [(&'static str, &'static str)],
    /// Files of packages that are not installed here.
    packages: &'static [PackagedFile],
}

/// A program that moves tapes in every way.
const TAPE_PROGRAMS: &[PackagedFile] = &[PackagedFile { package: "mt-st", path: "bin/mt-st" }];

/// All of them, in the order in which they run.
pub(crate) const SUITES: &[Suite] = &[
    Suite {
        name: "disks",
        parts: &["lib.sh", "conversions.sh", "guest.sh"],
        series: &SERIES,
        tests: &[],
        programs: &[],
        packages: &[],
    },
    Suite {
        name: "scsi",
        parts: &["lib.sh", "pairs.sh", "scsi.sh"],
        series: &SERIES,
        tests: &[("replayer", "scsi_conformance_sg"), ("replayer", "scsi_target_sg"), ("replayer", "scsi_alike_sg")],
        programs: &[],
        packages: &[],
    },
    Suite {
        name: "simulated",
        parts: &["lib.sh", "pairs.sh", "tcmu.sh", "tape.sh", "captures.sh", "simulated.sh"],
        series: &SERIES,
        tests: &[("replayer", "scsi_conformance_sg"), ("replayer", "scsi_rows_sg"), ("replayer", "scsi_alike_sg")],
        programs: &[("system-tests", "tcmu")],
        packages: TAPE_PROGRAMS,
    },
];

/// What makes the captures in `captures/samples`: no tests, and its guest leaves an archive.
pub(crate) const SAMPLES: Suite = Suite {
    name: "samples",
    parts: &["lib.sh", "pairs.sh", "tcmu.sh", "tape.sh", "captures.sh", "samples.sh"],
    series: &["6.1"],
    tests: &[],
    programs: &[("system-tests", "tcmu")],
    packages: TAPE_PROGRAMS,
};

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

    /// Builds its tests and programs and puts them, without what only a debugger needs, into `folder`.
    pub(crate) fn build(&self, folder: &Path) -> Result<Vec<Program>> {
        let tests = self.tests.iter().map(|(package, target)| build(package, Kind::Test, target, folder));
        let programs = self.programs.iter().map(|(package, target)| build(package, Kind::Program, target, folder));
        tests.chain(programs).collect()
    }
}

/// What cargo makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Test,
    Program,
}

impl Kind {
    /// As cargo's messages call it.
    const fn name(self) -> &'static str {
        match self {
            Self::Test => "test",
            Self::Program => "bin",
        }
    }

    const fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Test => &["test", "--no-run", "--test"],
            Self::Program => &["build", "--bin"],
        }
    }
}

fn build(package: &str, kind: Kind, target: &str, folder: &Path) -> Result<Program> {
    let mut cargo = workspace::cargo();
    cargo.args(kind.arguments()).arg(target).args(["--quiet", "--message-format=json", "--package", package]);
    let messages = process::output(&mut cargo)?;
    let built = messages.lines().find_map(|line| executable(line, kind, target));
    let built = built.with_context(|| format!("cargo built no {} {target} of {package}", kind.name()))?;
    let stripped = folder.join(target);
    process::output(std::process::Command::new("strip").arg("-o").args([&stripped, &built]))?;
    if !stripped.is_file() {
        bail!("{} was not made", stripped.display());
    }
    Ok(Program { name: target.to_owned(), path: stripped })
}

/// The file of a target, in one of cargo's messages.
fn executable(message: &str, kind: Kind, target: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    let named = message["target"]["name"] == target && message["target"]["kind"][0] == kind.name();
    let file = message["executable"].as_str().filter(|_| named)?;
    Some(file.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_there() {
        for suite in SUITES.iter().chain([&SAMPLES]) {
            assert!(suite.script().expect("its files can be read").starts_with("#!/bin/sh"), "{}", suite.name);
            assert!(!suite.series.is_empty());
        }
    }

    #[test]
    fn the_binary_of_a_target_is_found_among_messages() {
        let artifact = |name: &str, kind: &str| {
            format!(r#"{{"target":{{"kind":["{kind}"],"name":"{name}"}},"executable":"/t/{name}-1"}}"#)
        };
        assert_eq!(executable(&artifact("a", "test"), Kind::Test, "a"), Some(PathBuf::from("/t/a-1")));
        assert_eq!(executable(&artifact("a", "bin"), Kind::Program, "a"), Some(PathBuf::from("/t/a-1")));
        assert_eq!(executable(&artifact("a", "bin"), Kind::Test, "a"), None);
        assert_eq!(executable(&artifact("b", "test"), Kind::Test, "a"), None);
        assert_eq!(executable("no JSON", Kind::Test, "a"), None);
    }
}
