#!/usr/bin/env bash
# Installs what this checkout needs: setup.sh [build] [demo] [test]   (no argument: build)
#
# Idempotent, and quick when everything is there. Packages are installed only as root on Debian or Ubuntu;
# otherwise the script names what is missing and the command that installs it, and fails.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

have_package() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }
# A bpf-linker that cannot find its LLVM library is none.
have_linker() { bpf-linker --version >/dev/null 2>&1; }
have_clippy() { [ -n "$CARGO" ] && "$CARGO" clippy --version >/dev/null 2>&1 && "$CARGO" fmt --version >/dev/null 2>&1; }
# The probe and the purity check build `core` from source: Debian's compiler with its sources, or a nightly with them.
have_core_sources() {
    [ -d /usr/lib/rustlib/src/rust/library/core ] && [ -x /usr/bin/rustc ] && return 0
    local sysroot
    sysroot=$(rustup run nightly rustc --print sysroot 2>/dev/null) || return 1
    [ -d "$sysroot/lib/rustlib/src/rust/library/core" ]
}

# The packages of one level, one per line.
packages() {
    case $1 in
    build)
        printf '%s\n' gcc make libc6-dev
        { [ -n "$CARGO" ] && have_core_sources; } || printf '%s\n' rustc-web cargo-web rust-web-src
        have_linker || printf '%s\n' llvm-22-dev libpolly-22-dev libzstd-dev zlib1g-dev g++
        ;;
    demo) printf '%s\n' e2fsprogs util-linux mount fio sqlite3 kmod ;;
    test)
        printf '%s\n' blktrace busybox-static chromium cpio dmsetup e2fsprogs fio git kmod qemu-system-x86 sg3-utils socat sqlite3 tshark \
            xfsprogs xz-utils
        have_clippy || printf '%s\n' rustfmt-web rust-web-clippy
        ;;
    *) die "unknown level '$1' (known: build, demo, test)" ;;
    esac
}

missing_packages() {
    local level package
    for level in "$@"; do
        for package in $(packages "$level"); do
            have_package "$package" || printf '%s\n' "$package"
        done
    done | sort -u | tr '\n' ' '
}

install_packages() {
    local missing
    missing=$(missing_packages "$@")
    [ -n "${missing// /}" ] || return 0
    if [ "$(id -u)" != 0 ]; then
        die "these packages are missing: $missing
setup: install them with: sudo apt-get update && sudo apt-get install --no-install-recommends $missing"
    fi
    say "installing $missing"
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086  # a list of words on purpose
    apt-get install -y -q --no-install-recommends $missing >/dev/null 2>&1 && return 0
    apt-get update -q
    # shellcheck disable=SC2086
    apt-get install -y -q --no-install-recommends $missing ||
        die "apt-get could not install: $missing
setup: where rustc-web is not offered (Ubuntu), install rustup with: rustup toolchain install nightly --component rust-src"
}

install_linker() {
    have_linker && return 0
    say "building bpf-linker into target/tools (about a minute)"
    local prefix=/usr/lib/llvm-22
    [ -d "$prefix" ] || die "bpf-linker is missing and so is $prefix to build it; install the package llvm-22-dev, or a bpf-linker of your own"
    LLVM_PREFIX=$prefix "$CARGO" install bpf-linker --no-default-features --features llvm-22 --locked --root target/tools
    have_linker || die "bpf-linker was built but does not run: try 'target/tools/bin/bpf-linker --version'"
}

main() {
    [ $# -gt 0 ] || set -- build
    local level
    for level in "$@"; do packages "$level" >/dev/null; done
    if command -v dpkg-query >/dev/null 2>&1; then
        install_packages "$@"
    else
        say "no dpkg here: on Debian these would be needed: $(for level in "$@"; do packages "$level"; done | sort -u | tr '\n' ' ')"
    fi
    . scripts/env.sh
    [ -n "$CARGO" ] || die "no cargo of Rust 1.$MINIMUM_RUST_MINOR or newer; install the package cargo-web or use rustup"
    install_linker
}

main "$@"
