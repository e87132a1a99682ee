#!/bin/sh
# Installs what plaintap needs from the system: the packages of deploy/packages.txt that are missing, through apt.
#
#   deploy/setup.sh build    what it takes to build
#   deploy/setup.sh live     that, and what it takes to build live capture
#   deploy/setup.sh demo     that, and what the live demo needs (of which nothing is started)
#   deploy/setup.sh          that, and what the tests need (servers and clients; none of them is started)
#   deploy/setup.sh ebpf     what it takes to build the XDP program anew (large: a second Rust compiler, LLVM)
#
# Quiet and quick when nothing is missing. Does not touch Rust: without cargo it says how to get it.
set -eu
list=$(dirname "$0")/packages.txt

die() {
    echo "setup: $1" >&2
    exit 1
}

command -v cargo >/dev/null || die "no cargo. Get Rust with
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh
and open a new shell."

case ${1-all} in
build) wanted=$(sed -n 's/^\([a-z0-9][^ #]*\) *# build:.*/\1/p' "$list") ;;
live) wanted=$(sed -n 's/^\([a-z0-9][^ #]*\) *# \(build\|live\):.*/\1/p' "$list") ;;
demo) wanted=$(sed -n 's/^\([a-z0-9][^ #]*\) *# \(build\|live\|demo\):.*/\1/p' "$list") ;;
ebpf) wanted=$(sed -n 's/^\([a-z0-9][^ #]*\) *# ebpf:.*/\1/p' "$list") ;;
all) wanted=$(sed -n '/# ebpf:/d; s/^\([a-z0-9][^ #]*\).*/\1/p' "$list") ;;
*) die "unknown set '$1': build, live, demo, ebpf, or nothing for the tests" ;;
esac

if ! command -v dpkg-query >/dev/null; then
    echo "setup: not a Debian system; make sure that you have:" $wanted >&2
    exit 0
fi

installed=$(dpkg-query -W -f '${Status}\t${binary:Package}\n' 2>/dev/null | sed -n 's/^install ok installed\t\([^:]*\).*/\1/p')
missing=
for package in $wanted; do
    echo "$installed" | grep -qx "$package" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

sudo=
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || die "missing:$missing
    Run as root: apt-get install$missing"
    sudo=sudo
fi

echo "setup: installing through apt:$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The servers are for the tests, which run their own copies: keep Debian from starting them on this machine.
if [ ! -e /usr/sbin/policy-rc.d ]; then
    trap 'rm -f "$log"; $sudo rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' | $sudo tee /usr/sbin/policy-rc.d >/dev/null
    $sudo chmod +x /usr/sbin/policy-rc.d
fi
apt() {
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@" >"$log" 2>&1 || {
        cat "$log" >&2
        die "apt-get $1 failed"
    }
}
apt update
# shellcheck disable=SC2086 # words are meant to be split
apt install -y --no-install-recommends $missing
