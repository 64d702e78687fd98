//! Purity: `formats` and `replication` build for a target without an operating system, so they hold no I/O, no clock
//! and no threads.
//!
//! Where rustup has such a target its library is used; else `core` and `alloc` are built from source with Debian's
//! compiler (packages rustc-web, cargo-web, rust-web-src) or with a nightly that has the component rust-src.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::tidy::Finding;
use crate::{process, workspace};

/// 64 bits, as the machines it is made for, and no `std` at all; its backend also takes vector types of any width.
const TARGET: &str = "riscv64imac-unknown-none-elf";
const PACKAGES: [&str; 2] = ["formats", "replication"];
/// Of Debian's package rust-web-src.
const DEBIAN_SOURCES: &str = "/usr/lib/rustlib/src/rust/library/core";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// A finding for each package that does not build so.
pub(crate) fn check() -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for package in PACKAGES {
        let mut command = compiler()?;
        // A folder of its own, because another compiler would throw the usual one's content away.
        command.args(["--quiet", "--target", TARGET, "--no-default-features", "--package", package]);
        command.arg("--target-dir").arg(workspace::target().join("pure")).current_dir(workspace::root());
        if let Err(error) = process::output(&mut command) {
            let what = format!("does not build without an operating system: {error:#}");
            findings.push(Finding::new(&format!("{package}/Cargo.toml"), 0, what));
        }
    }
    Ok(findings)
}

/// `cargo build` with whatever can build for the target here.
fn compiler() -> Result<Command> {
    if installed_target() {
        let mut command = workspace::cargo();
        command.arg("build");
        return Ok(command);
    }
    if Path::new(DEBIAN_SOURCES).is_dir() && Path::new(DEBIAN_RUSTC).is_file() {
        let mut command = Command::new(DEBIAN_CARGO);
        command.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1").env_remove("RUSTUP_TOOLCHAIN");
        command.args(["build", "-Z", "build-std=core,alloc"]);
        return Ok(command);
    }
    if nightly_sources() {
        let mut command = Command::new("rustup");
        command.args(["run", "nightly", "cargo", "build", "-Z", "build-std=core,alloc"]);
        return Ok(command);
    }
    bail!("no compiler for {TARGET}: rustup target add {TARGET}, or install rustc-web, cargo-web and rust-web-src")
}

fn installed_target() -> bool {
    let folder = process::output(Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]));
    folder.is_ok_and(|folder| Path::new(folder.trim()).is_dir())
}

fn nightly_sources() -> bool {
    let sysroot = process::output(Command::new("rustup").args(["run", "nightly", "rustc", "--print", "sysroot"]));
    sysroot.is_ok_and(|path| Path::new(path.trim()).join("lib/rustlib/src/rust/library/core").is_dir())
}
