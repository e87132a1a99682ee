#!/bin/sh
# Runs the tests of the XDP program and of live capture on other kernels than this machine's.
#
#   xdp-ebpf/kernels.sh [VERSION...]    default: 5.10 6.1 6.12 7, of each the newest that Debian has
#
# Each kernel is booted by QEMU, without KVM, on this machine's own files: read only, changes go to memory. There the test programs
# `steer` (the verifier, and BPF_PROG_TEST_RUN against the classifier) and `live` (AF_XDP over veth) run, and `plaintap doctor`.
# Needs Debian 12 or later, root or sudo for packages, 500 MB below target/kernels, and some ten minutes for each kernel.
#
#   TESTS="steer live"   what is run
#   LIVE=                names of live's tests, or parts of them; all by default
#   LIMIT=1500           seconds that a kernel may take
#   UBUNTU=URL           an archive of Ubuntu's, for its kernels too (5.15, 6.8)
set -eu
cd "$(dirname "$0")/.."
versions=${*:-5.10 6.1 6.12 7}
tests=${TESTS-steer live}
limit=${LIMIT:-1500}
store=$(pwd)/target/kernels
mkdir -p "$store"

missing=
for package in qemu-system-x86 busybox-static cpio kmod xz-utils zstd debian-archive-keyring; do
    dpkg-query -W -f '${Status}' $package 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
if [ -n "$missing" ]; then
    sudo=$([ "$(id -u)" -eq 0 ] || echo sudo)
    # shellcheck disable=SC2086 # words are meant to be split
    $sudo apt-get -qq install -y --no-install-recommends $missing
fi

# Packages of other releases, from the archives that this system uses, without its apt hearing of it.
archive() {
    apt-cache policy | sed -n "s|^ *-\{0,1\}[0-9]* \(https\{0,1\}://[^ ]*/$1\) .*|\1|p" | head -n 1
}
debian=$(archive debian) security=$(archive debian-security)
[ -n "$debian" ] || {
    echo "kernels: apt knows no archive of Debian's" >&2
    exit 1
}
mkdir -p "$store/apt/lists/partial" "$store/apt/cache/archives/partial"
: >"$store/apt/status"
for suite in bullseye bookworm bookworm-backports trixie trixie-backports; do
    echo "deb $debian $suite main"
done >"$store/apt/sources.list"
for suite in bullseye bookworm trixie; do
    [ -z "$security" ] || echo "deb $security $suite-security main"
done >>"$store/apt/sources.list"
apt() {
    tool=$1
    shift
    "$tool" -o Dir::Etc::sourcelist="$store/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::State="$store/apt" -o Dir::State::status="$store/apt/status" -o Dir::Cache="$store/apt/cache" \
        -o Acquire::Languages=none -o APT::Sandbox::User=root "$@"
}
# One suite may be gone from its archive: then the others do. Debian vouches for Ubuntu's keys.
update() {
    apt apt-get -qq update || echo "kernels: not all suites can be had" >&2
}
update
if [ -n "${UBUNTU-}" ]; then
    if [ ! -e "$store/keyring/usr/share/keyrings" ]; then
        (cd "$store" && apt apt-get -qq download ubuntu-keyring && dpkg -x ubuntu-keyring_*.deb keyring && rm ubuntu-keyring_*.deb)
    fi
    for suite in jammy jammy-updates; do
        echo "deb [signed-by=$store/keyring/usr/share/keyrings/ubuntu-archive-keyring.gpg] $UBUNTU $suite main"
    done >>"$store/apt/sources.list"
    update
fi

# The newest package of a version: Debian's NAME-amd64, Ubuntu's NAME-generic.
newest() {
    apt apt-cache search --names-only "^linux-image-$(echo "$1" | sed 's/\./\\./g')[.-][^ ]*-(amd64|generic)$" |
        awk '{print $1}' | grep -v -e cloud -e -rt- -e dbg -e unsigned | sort -V | tail -1
}

# Unpacks a kernel and prints its release, as `uname -r` does.
unpack() {
    release=${1#linux-image-}
    directory=$store/$release
    if [ ! -e "$directory/done" ]; then
        rm -rf "$directory" && mkdir -p "$directory"
        # Ubuntu's packages, and Debian's newer ones, hold it in parts.
        parts=$(apt apt-cache depends "$1" | sed -n 's/ *Depends: \(linux-\(base\|binary\|modules\)-[^ ]*\)$/\1/p')
        (cd "$directory" && for part in $1 $parts; do
            apt apt-get -qq download "$part"
        done && for package in *.deb; do dpkg -x "$package" . && rm "$package"; done)
        [ -e "$directory/lib" ] || ln -s usr/lib "$directory/lib"
        depmod -b "$directory" "$release"
        touch "$directory/done"
    fi
    echo "$release"
}

# What the kernel starts with: the modules it takes to find this machine's files, and those of the tests.
initramfs() {
    release=$1 root=$store/$1/initramfs
    rm -rf "$root" && mkdir -p "$root/bin" "$root/modules" "$root/proc" "$root/sys" "$root/dev" "$root/host" "$root/memory" "$root/root"
    cp /bin/busybox "$root/bin/busybox"
    for module in virtio_pci 9pnet_virtio 9p overlay veth sch_ingress cls_u32 act_mirred; do
        modprobe -d "$store/$release" -S "$release" --show-depends $module 2>/dev/null | sed -n 's/^insmod \([^ ]*\).*/\1/p'
    done | awk '!seen[$0]++' | while read -r file; do
        case $file in
        *.xz) xz -dc "$file" >"$root/modules/$(basename "$file" .xz)" ;;
        *.zst) zstd -qdc "$file" >"$root/modules/$(basename "$file" .zst)" ;;
        *) cp "$file" "$root/modules/" ;;
        esac
        basename "${file%.zst}" .xz >>"$root/modules/order"
    done
    cat >"$root/init" <<'INIT'
#!/bin/busybox sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
for tool in mount insmod mkdir cat chroot poweroff; do /bin/busybox ln -s busybox /bin/$tool; done
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
while read -r module; do insmod "/modules/$module" || echo "kernels: no module $module"; done </modules/order
mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=262144 host /host
mount -t tmpfs tmpfs /memory
mkdir /memory/upper /memory/work
mount -t overlay -o lowerdir=/host,upperdir=/memory/upper,workdir=/memory/work overlay /root || echo "kernels: no overlay"
for kind in proc sysfs devtmpfs; do
    case $kind in sysfs) at=sys ;; devtmpfs) at=dev ;; *) at=proc ;; esac
    mount -t $kind $kind /root/$at
done
mount -t tmpfs tmpfs /root/run
cat /tests >/root/run/tests
chroot /root /bin/sh /run/tests
poweroff -f
INIT
    cat >"$root/tests" <<TESTS
export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mkdir -p /dev/shm /run/netns
ip link set lo up
cd $(pwd)/userspace
echo "kernels: \$(uname -r)"
$commands
TESTS
    chmod +x "$root/init"
    (cd "$root" && find . | cpio --quiet -o -H newc | gzip -1) >"$store/$release/initrd"
}

# The test programs, as cargo names them. The kernels get copies, in the same places: cargo may go on building meanwhile.
built() {
    cargo test --package plaintap --all-features --locked --test "$1" --no-run --message-format json 2>/dev/null |
        sed -n 's/.*"executable":"\([^"]*'"$2"'\)".*/\1/p' | tail -1
}
cargo test --package plaintap --all-features --locked --test steer --test live --no-run
rm -rf "${store:?}/bin" && mkdir "$store/bin"
keep() {
    cp "$2" "$store/bin/$1"
    commands="$commands
mount --bind $store/bin/$1 $2"
}
commands=
plaintap=$(built live '\/plaintap')
keep plaintap "$plaintap"
commands="$commands
$plaintap doctor || true"
for test in steer live; do
    case " $tests " in *" $test "*) ;; *) continue ;; esac
    program=$(built $test "\\/$test-[0-9a-f]*")
    keep "$test" "$program"
    filter=$([ "$test" != live ] || echo "${LIVE-}")
    commands="$commands
echo 'kernels: begin $test'; $program --nocapture --test-threads 1 $filter; echo \"kernels: end $test \$?\""
done

failed=0
for version in $versions; do
    package=$(newest "$version")
    if [ -z "$package" ]; then
        echo "kernels: neither Debian nor Ubuntu has a Linux $version now" >&2
        failed=1
        continue
    fi
    release=$(unpack "$package")
    initramfs "$release"
    log=$store/$release/log
    echo "== Linux $release: $log"
    image=$(find "$store/$release" -type f -name "vmlinuz*" | head -1)
    # The console of a kernel that has hung says so by the time limit.
    timeout "$limit" qemu-system-x86_64 -accel tcg -cpu max -smp 2 -m 3072 -nographic -no-reboot -nic none \
        -kernel "$image" -initrd "$store/$release/initrd" -append 'console=ttyS0 quiet panic=-1 random.trust_cpu=on' \
        -virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap </dev/null >"$log" 2>&1 || true
    grep -aE '^kernels: end|^test result|^test .*FAILED|panicked at|the verifier followed|^skipped|Kernel panic|BUG:' "$log" | tr -d '\r' || true
    for test in steer live; do
        case " $tests " in *" $test "*) ;; *) continue ;; esac
        grep -aq "^kernels: end $test 0" "$log" || {
            echo "kernels: '$test' does not pass on Linux $release" >&2
            failed=1
        }
    done
done
exit $failed
