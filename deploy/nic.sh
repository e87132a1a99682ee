#!/bin/bash
# Sets up an interface that does nothing but receive a mirror: every frame as it came, none sent, none too many for the rings.
#
#   deploy/nic.sh [--dry-run] [--busy-poll] [--mtu N] [--force] IF...
#
#   --dry-run     says what would be done, does nothing (needs no root)
#   --busy-poll   also what busy polling wants (busy_poll in plaintap.toml): interrupts that wait for the worker
#   --mtu N       also the MTU: 1500 and what tunnels and tags add to it, or what the mirrored network uses
#   --force       also an interface that has an address: it will not answer there any more
#
# Says for each setting what it was and what it is now, and at the end the commands that undo it. What a driver does not have is said
# and left. None of it outlives a restart of the machine: run it before plaintap starts (deploy/plaintap.service shows how).
# Exit code: 0 done; 1 a setting failed that the driver has; 2 wrong arguments or no such interface.
set -uo pipefail

main() {
    local dry='' busy='' mtu='' force='' interfaces=()
    while [ $# -gt 0 ]; do
        case $1 in
        --dry-run) dry=yes ;;
        --busy-poll) busy=yes ;;
        --force) force=yes ;;
        --mtu)
            mtu=${2-}
            [[ $mtu =~ ^[0-9]{3,5}$ ]] || usage "--mtu takes a number"
            shift
            ;;
        -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" && exit 0 ;;
        -*) usage "no option $1" ;;
        *) interfaces+=("$1") ;;
        esac
        shift
    done
    [ ${#interfaces[@]} -gt 0 ] || usage "which interface?"
    local interface
    for interface in "${interfaces[@]}"; do
        [[ $interface =~ ^[^/[:space:]]+$ && $interface != .* && -d /sys/class/net/$interface ]] ||
            usage "no interface '$interface'; there are: $(find /sys/class/net -type l -printf '%f ')"
        local addresses
        addresses=$(ip -o address show dev "$interface" scope global | awk '{ print $4 }' | paste -sd ' ')
        [ -z "$addresses" ] || [ "$force" ] ||
            usage "'$interface' has an address, $addresses: is it for a mirror only? then --force"
    done
    [ "$dry" ] || [ "$(id -u)" -eq 0 ] || usage "needs root (or --dry-run)"
    command -v ethtool >/dev/null || usage "needs ethtool"
    for interface in "${interfaces[@]}"; do
        set_up "$interface"
    done
    echo
    if [ ${#undo[@]} -eq 0 ]; then
        echo "Nothing was changed."
    else
        if [ "$dry" ]; then echo "It would be undone by"; else echo "Undone by"; fi
        local at
        for ((at = ${#undo[@]} - 1; at >= 0; at--)); do
            echo "    ${undo[at]}"
        done
    fi
    exit "$failed"
}

set_up() {
    local if=$1
    echo
    echo "$if: $(driver "$if")"
    # Frames as they were on the wire: not joined, tags where they were. The names are those of ethtool -k.
    local short long
    while read -r short long; do
        feature "$if" "$short" "$long"
    done <<'FEATURES'
gro generic-receive-offload
lro large-receive-offload
rx-gro-hw rx-gro-hw
rx-gro-list rx-gro-list
rxvlan rx-vlan-offload
rx-vlan-filter rx-vlan-filter
rx-vlan-stag-hw-parse rx-vlan-stag-hw-parse
rx-vlan-stag-filter rx-vlan-stag-filter
FEATURES
    pause_off "$if"
    rings "$if"
    symmetric "$if"
    interrupts "$if"
    if [ "$busy" ]; then
        file "$if" "interrupts put off (rounds)" "/sys/class/net/$if/napi_defer_hard_irqs" 2
        file "$if" "and at most (ns)" "/sys/class/net/$if/gro_flush_timeout" 200000
    fi
    # It sends nothing of its own: no neighbour or router discovery, no ARP.
    if [ -e "/proc/sys/net/ipv6/conf/$if" ]; then
        file "$if" "IPv6 off" "/proc/sys/net/ipv6/conf/$if/disable_ipv6" 1
    fi
    local flags
    flags=$(ip -o link show dev "$if")
    [ -z "$mtu" ] || link "$if" MTU "$(cat "/sys/class/net/$if/mtu")" "$mtu" mtu
    link "$if" ARP "$([[ $flags == *NOARP* ]] && echo off || echo on)" off arp
    # Frames for any address are wanted. The flag is that of this command; plaintap and tcpdump count theirs apart.
    link "$if" promiscuous "$([[ $flags == *PROMISC* ]] && echo on || echo off)" on promisc
    if [[ $flags =~ [\<,]UP[,\>] ]]; then
        same up yes
    else
        change up no yes "ip link set dev $if up" "ip link set dev $if down"
    fi
}

# feature IF NAME LONG-NAME: off.
feature() {
    local state
    state=$(ethtool -k "$1" 2>/dev/null | sed -n "s/^[[:space:]]*$3: //p")
    case $state in
    '' | *requested*) ;;
    off*) same "$2" off ;;
    *fixed*) left "$2" "on, and the driver does not let it be turned off" ;;
    on*) change "$2" on off "ethtool -K $1 $2 off" "ethtool -K $1 $2 on" ;;
    esac
}

# A mirror port that asks the switch to pause loses frames there, uncounted here.
pause_off() {
    local shown auto rx tx
    shown=$(ethtool -a "$1" 2>/dev/null) || {
        left "flow control" "the driver has none"
        return
    }
    auto=$(sed -n 's/^Autonegotiate:[[:space:]]*//p' <<<"$shown")
    rx=$(sed -n 's/^RX:[[:space:]]*//p' <<<"$shown")
    tx=$(sed -n 's/^TX:[[:space:]]*//p' <<<"$shown")
    if [ "$auto $rx $tx" = "off off off" ]; then
        same "flow control" off
    else
        change "flow control" "autoneg $auto rx $rx tx $tx" off "ethtool -A $1 autoneg off rx off tx off" \
            "ethtool -A $1 autoneg $auto rx $rx tx $tx"
    fi
}

# As many descriptors as there can be: what comes while the worker is elsewhere has to stand somewhere.
rings() {
    local most now
    read -r most now < <(ethtool -g "$1" 2>/dev/null | awk '/^RX:/ { printf "%s ", $2 }')
    if ! [[ ${most-} =~ ^[1-9][0-9]*$ && ${now-} =~ ^[0-9]+$ ]]; then
        left "receive ring" "the driver has none to set"
    elif [ "$now" -eq "$most" ]; then
        same "receive ring" "$now"
    else
        change "receive ring" "$now" "$most" "ethtool -G $1 rx $most" "ethtool -G $1 rx $now"
    fi
}

# Both directions of a connection on one queue. plaintap brings them together all the same; so they need not wait for each other.
symmetric() {
    local shown queues octets now key
    queues=$(find "/sys/class/net/$1/queues" -maxdepth 1 -name 'rx-*' | wc -l)
    [ "$queues" -gt 1 ] || {
        left "symmetric hash" "there is one queue"
        return
    }
    shown=$(ethtool -x "$1" 2>/dev/null) || {
        left "symmetric hash" "the driver has no hash to set; plaintap joins the directions itself"
        return
    }
    if grep -q 'symmetric-xor: on' <<<"$shown"; then
        same "symmetric hash" on
        return
    fi
    if grep -q 'symmetric-xor: off' <<<"$shown"; then
        change "symmetric hash" off symmetric-xor "ethtool -X $1 xfrm symmetric-xor" "ethtool -X $1 xfrm none" quiet && return
    fi
    now=$(sed -n '/^RSS hash key:/{n;s/[[:space:]]//g;p;}' <<<"$shown")
    octets=$(tr -cd ':' <<<"$now" | wc -c)
    if [[ $now != *:* ]]; then
        left "symmetric hash" "the driver tells no key; plaintap joins the directions itself"
        return
    fi
    # With this key Toeplitz is symmetric: its 16-bit words are all the same (Woo and Park, "Scalable TCP session monitoring").
    key=$(printf '6d:5a:%.0s' $(seq $(((octets + 2) / 2))))
    key=${key:0:${#now}}
    if [ "$now" = "$key" ]; then
        same "symmetric hash" on
    else
        change "symmetric hash" off "by its key" "ethtool -X $1 hkey $key" "ethtool -X $1 hkey $now"
    fi
}

# Queue n interrupts processor n, so that none has all of them.
interrupts() {
    local irqs irq queue=0 was cpus spread=''
    irqs=$(find "/sys/class/net/$1/device/msi_irqs" -maxdepth 1 -type f -printf '%f\n' 2>/dev/null | sort -n)
    [ -n "$irqs" ] || {
        left "interrupts" "it has none of its own"
        return
    }
    cpus=$(nproc --all)
    for irq in $irqs; do
        [ -w "/proc/irq/$irq/smp_affinity_list" ] || [ "$dry" ] || continue
        grep -qE "^ *$irq:.*(-|@|:)(rx|Rx|TxRx|tx-?rx|input|comp)" /proc/interrupts || grep -qE "^ *$irq:.*$1" /proc/interrupts || continue
        was=$(cat "/proc/irq/$irq/smp_affinity_list" 2>/dev/null) || continue
        if [ "$was" != $((queue % cpus)) ]; then
            change "interrupt $irq" "processors $was" $((queue % cpus)) "echo $((queue % cpus)) >/proc/irq/$irq/smp_affinity_list" \
                "echo $was >/proc/irq/$irq/smp_affinity_list"
            spread=yes
        fi
        queue=$((queue + 1))
    done
    if [ "$spread" ] && pgrep -x irqbalance >/dev/null; then
        left "irqbalance" "it runs, and will move them again: systemctl stop irqbalance, or IRQBALANCE_BANNED_CPULIST"
    fi
}

# link IF NAME WAS WANTED WORD
link() {
    if [ "$3" = "$4" ]; then same "$2" "$3"; else change "$2" "$3" "$4" "ip link set dev $1 $5 $4" "ip link set dev $1 $5 $3"; fi
}

# file IF NAME PATH WANTED
file() {
    local was
    was=$(cat "$3" 2>/dev/null) || {
        left "$2" "this kernel has no $3"
        return
    }
    if [ "$was" = "$4" ]; then same "$2" "$was"; else change "$2" "$was" "$4" "echo $4 >$3" "echo $was >$3"; fi
}

# change NAME WAS IS COMMAND UNDO [quiet]: runs the command. With `quiet` it may fail.
change() {
    local said
    if [ "$dry" ]; then
        printf '  %-24s %s -> %s: %s\n' "$1" "$2" "$3" "$4"
    elif said=$(sh -c "$4" 2>&1); then
        printf '  %-24s %s -> %s\n' "$1" "$2" "$3"
    else
        [ -z "${6-}" ] || return 1
        printf '  %-24s %s, FAILED: %s: %s\n' "$1" "$2" "$4" "$(tail -n 1 <<<"$said")"
        failed=1
        return 1
    fi
    undo+=("$5")
}
same() { printf '  %-24s %s\n' "$1" "$2"; }
left() { printf '  %-24s left: %s\n' "$1" "$2"; }

driver() {
    local name
    name=$(ethtool -i "$1" 2>/dev/null | sed -n 's/^driver: //p')
    echo "${name:-no driver known}, $(find "/sys/class/net/$1/queues" -maxdepth 1 -name 'rx-*' | wc -l) receive queues"
}

usage() {
    echo "nic: $1" >&2
    exit 2
}

failed=0
undo=()
main "$@"
