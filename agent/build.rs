//! Builds the probe for the kernel's virtual machine and leaves its object in `OUT_DIR/probe`.
//!
//! The probe needs `core` built from source and `bpf-linker`. Three ways, in this order: an object that
//! `BLKECHO_PROBE` names; Debian's rustc (packages rustc-web, cargo-web, rust-web-src); rustup's nightly with rust-src.
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const TARGET: &str = "bpfel-unknown-none";
const DEBIAN_SOURCES: &str = "/usr/lib/rustlib/src/rust/library/core/src/lib.rs";

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("probe");
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let ebpf = manifest.parent().expect("the agent lies in the workspace").join("ebpf");
    println!("cargo:rerun-if-env-changed=BLKECHO_PROBE");
    println!("cargo:rerun-if-changed={}", ebpf.join("probe/src").display());
    println!("cargo:rerun-if-changed={}", ebpf.join("probe/Cargo.toml").display());
    println!("cargo:rerun-if-changed={}", ebpf.join("types/src").display());
    let object = match env::var_os("BLKECHO_PROBE") {
        Some(prebuilt) => PathBuf::from(prebuilt),
        None => build(&ebpf.join("probe")),
    };
    fs::copy(&object, &out).unwrap_or_else(|error| panic!("cannot copy {}: {error}", object.display()));
}

fn build(probe: &Path) -> PathBuf {
    let target_dir = probe.join("target");
    let mut cargo = toolchain();
    cargo
        .current_dir(probe)
        .args(["build", "--release", "--locked", "-Z", "build-std=core", "--target", TARGET, "--target-dir"])
        .arg(&target_dir)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env("RUSTFLAGS", "-C link-arg=--btf -C debuginfo=2 -C linker=bpf-linker -C target-cpu=v3")
        .env("PATH", path_with_cargo_bin());
    let status = cargo.status().unwrap_or_else(|error| panic!("cannot run {cargo:?}: {error}; {REMEDY}"));
    assert!(status.success(), "the probe did not build ({status}); {REMEDY}");
    target_dir.join(TARGET).join("release/probe")
}

const REMEDY: &str = "run scripts/setup.sh, which installs rustc-web, cargo-web, rust-web-src and bpf-linker, or name \
                      a built object in BLKECHO_PROBE";

fn toolchain() -> Command {
    if Path::new(DEBIAN_SOURCES).exists() && Path::new("/usr/bin/cargo").exists() {
        let mut cargo = Command::new("/usr/bin/cargo");
        // The outer cargo names its own compiler; the sources of `core` belong to Debian's.
        cargo.env("RUSTC", "/usr/bin/rustc").env("RUSTC_BOOTSTRAP", "1").env_remove("RUSTUP_TOOLCHAIN");
        return cargo;
    }
    let mut rustup = Command::new("rustup");
    rustup.args(["run", "nightly", "cargo"]).env_remove("RUSTC").env_remove("RUSTUP_TOOLCHAIN");
    rustup
}

/// `cargo install` puts bpf-linker where a bare shell does not look.
fn path_with_cargo_bin() -> std::ffi::OsString {
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")))
        .unwrap_or_default();
    let path = env::var_os("PATH").unwrap_or_default();
    env::join_paths(env::split_paths(&path).chain([home.join("bin")])).expect("PATH has no colon in its parts")
}
