# Sourced, not run: finds the Rust toolchain and bpf-linker, and puts both on PATH.
#
# Order: a cargo on PATH or in ~/.cargo/bin that is new enough; else Debian's (package cargo-web), which
# needs no rustup. Sets CARGO.

MINIMUM_RUST_MINOR=95

root=$(cd "$(dirname "${BASH_SOURCE[0]:-$0}")/.." && pwd)
export PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin:$root/target/tools/bin:/usr/sbin:/sbin"

# new_enough CARGO: whether it runs and is at least Rust 1.$MINIMUM_RUST_MINOR.
new_enough() {
    local version minor
    version=$("$1" --version 2>/dev/null) || return 1
    minor=${version#cargo 1.}
    [ "${minor%%.*}" -ge "$MINIMUM_RUST_MINOR" ] 2>/dev/null
}

CARGO=
for candidate in "$(command -v cargo || true)" "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" /usr/bin/cargo; do
    if [ -n "$candidate" ] && new_enough "$candidate"; then
        CARGO=$candidate
        break
    fi
done
if [ -n "$CARGO" ]; then
    # The chosen cargo must also find its own rustc first. In bash, `export` of a changed PATH is enough.
    export PATH="$(dirname "$CARGO"):$PATH"
fi
export CARGO
