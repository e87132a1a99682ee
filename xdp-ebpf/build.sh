#!/bin/sh
# Builds the XDP program into xdp-ebpf/plaintap.bpf.o, or, with --check, compares what it builds with what is there.
#
#   xdp-ebpf/build.sh            make ebpf
#   xdp-ebpf/build.sh --setup    installs the toolchain on Debian 12: packages through deploy/setup.sh, and bpf-linker
#   xdp-ebpf/build.sh --check    0: the same octets, or (with a line that says so) no toolchain here; 1: source and object differ
#
# The octets are those of this toolchain; with another the program may be as good, and differ:
#   Debian 12:  --setup
#   elsewhere:  rustup toolchain install nightly --component rust-src; cargo install bpf-linker; then set
#               EBPF_RUSTC=$(rustup which --toolchain nightly rustc) EBPF_CARGO_FLAGS=-Zbuild-std=core
set -eu
cd "$(dirname "$0")"
rustc=${EBPF_RUSTC-/usr/bin/rustc}
target=bpfel-unknown-none
PATH=$HOME/.cargo/bin:$PATH

if [ "${1-}" = --setup ]; then
    ../deploy/setup.sh ebpf
    command -v bpf-linker >/dev/null || LLVM_PREFIX=/usr/lib/llvm-22 \
        cargo install --quiet bpf-linker --version 0.13.0 --no-default-features --features llvm-22 --locked
    exit
fi

if [ "${1-}" = --check ]; then
    wanted='rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)'
    there=$("$rustc" --version 2>/dev/null || echo none)
    # bpf-linker's part of LLVM decides as much.
    llvm=$(dpkg-query -W -f '${Version}' llvm-22-dev 2>/dev/null || echo none)
    if [ "$there" != "$wanted" ] || [ "$llvm" != 1:22.1.8-1~deb12u1 ] || ! command -v bpf-linker >/dev/null; then
        echo "skipped: comparing the XDP program with its source needs the toolchain named in xdp-ebpf/build.sh"
        exit 0
    fi
fi

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
registry=${CARGO_HOME:-$HOME/.cargo}/registry/src
# Paths of this machine, which debug information would carry along, become the same everywhere.
remap="--remap-path-prefix=$(pwd)=xdp-ebpf"
for index in "$registry"/*; do
    remap="$remap --remap-path-prefix=$index=registry"
done
RUSTC_BOOTSTRAP=1 RUSTC=$rustc CARGO_INCREMENTAL=0 CARGO_BUILD_BUILD_DIR=target CARGO_TARGET_DIR=target \
    RUSTFLAGS="-C linker=bpf-linker -C link-arg=--btf -C debuginfo=2 $remap" \
    cargo build --quiet --release --locked --target $target ${EBPF_CARGO_FLAGS-}
# BTF stays, DWARF is for debuggers only.
objcopy=$(command -v llvm-objcopy-22 || command -v llvm-objcopy || echo /usr/lib/llvm-22/bin/llvm-objcopy)
"$objcopy" --strip-debug "target/$target/release/plaintap-bpf" "$out/plaintap.bpf.o"

if [ "${1-}" = --check ]; then
    cmp "$out/plaintap.bpf.o" plaintap.bpf.o || {
        echo "xdp-ebpf/plaintap.bpf.o is not what its source makes: run 'make ebpf' and commit it" >&2
        exit 1
    }
    echo "xdp-ebpf/plaintap.bpf.o is what its source makes"
else
    mv "$out/plaintap.bpf.o" plaintap.bpf.o
    chmod 644 plaintap.bpf.o
    ls -l plaintap.bpf.o
fi
