//! Where the checkout is and how its parts are built.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process;

/// The top folder of the checkout.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask/ lies in the checkout")
}

/// A folder for what tasks keep between runs.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |folder| root().join(folder))
}

/// Whether this is a run of continuous integration, in which nothing may be skipped.
pub(crate) fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}

/// Cargo, started at the top folder.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// A program found at the top folder, for tasks that work on the whole checkout.
pub(crate) fn at_root(program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// Builds the release binary and returns its path.
///
/// `BLKECHO_BIN` names one that is built already, for repeated runs.
pub(crate) fn release_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("BLKECHO_BIN") {
        let path = PathBuf::from(path);
        return path.canonicalize().with_context(|| format!("BLKECHO_BIN names {}", path.display()));
    }
    process::run(cargo().args(["build", "--quiet", "--release", "--package", "blkecho"]))?;
    let path = target().join("release/blkecho");
    if !path.is_file() {
        bail!("{} was not built", path.display());
    }
    Ok(path)
}

/// `cargo metadata` of one manifest, without the dependencies' own.
pub(crate) fn metadata(manifest: &str) -> Result<Value> {
    let mut command = cargo();
    command.args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path", manifest]);
    let text = process::output(&mut command)?;
    serde_json::from_str(&text).context("cargo metadata printed something other than JSON")
}
