#!/bin/bash
# Loads the classifier of a plaintap at the other end of a link with what the kernel's own generator can send: how many frames a second
# does XDP judge? The frames are UDP (counted as not_tcp there). For a link that has nothing else on it: it is filled.
#
#   bench/pktgen.sh [--size OCTETS] [--seconds N] [--rate FRAMES_A_SECOND] [--threads N] [--to MAC] [--metrics URL] IF
#
#   --size      of a frame without its checksum, 60 to 9014; default 60, the smallest
#   --seconds   1 to 600; default 10
#   --rate      of all threads together; as fast as they can by default
#   --threads   one a processor and transmit queue; default 1
#   --to        the receiver's MAC address; default 02:00:00:00:00:02: the receiver is promiscuous
#   --metrics   plaintap's metrics, asked before and after; default http://127.0.0.1:9464/metrics
#
# Source: Documentation/networking/pktgen.rst. Exit code: 0 done; 1 the generator failed; 2 wrong arguments, no root, or no generator.
set -uo pipefail

main() {
    local size=60 seconds=10 rate=0 threads=1 to=02:00:00:00:00:02 metrics=http://127.0.0.1:9464/metrics interface=''
    while [ $# -gt 0 ]; do
        case $1 in
        --size) number size "$1" "${2-}" 60 9014 ;;
        --seconds) number seconds "$1" "${2-}" 1 600 ;;
        --rate) number rate "$1" "${2-}" 1 1000000000 ;;
        --threads) number threads "$1" "${2-}" 1 "$(nproc)" ;;
        --to)
            to=${2-}
            [[ $to =~ ^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$ ]] || usage "--to takes a MAC address"
            ;;
        --metrics) metrics=${2-} ;;
        -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" && exit 0 ;;
        -*) usage "no option $1" ;;
        *)
            [ -z "$interface" ] || usage "one interface"
            interface=$1 && shift && continue
            ;;
        esac
        shift 2 || usage "an option lacks its value"
    done
    [[ $interface =~ ^[^/[:space:]]+$ && $interface != .* ]] || usage "which interface?"
    [ -d "/sys/class/net/$interface" ] || usage "no interface '$interface'"
    [ "$(id -u)" -eq 0 ] || usage "needs root"
    [ -e /proc/net/pktgen/pgctrl ] || modprobe pktgen 2>/dev/null
    [ -w /proc/net/pktgen/pgctrl ] || usage "this kernel has no pktgen (CONFIG_NET_PKTGEN), or not in this namespace"
    # Where people or machines are reached through it, it is not to be filled.
    local address
    address=$(ip -o address show dev "$interface" scope global | awk '{ print $4; exit }')
    [ -z "$address" ] || usage "'$interface' has the address $address: this is for a link that has nothing else on it"
    [ "$(cat "/sys/class/net/$interface/carrier" 2>/dev/null)" = 1 ] || usage "'$interface' has no link (ip link set $interface up)"

    trap stop EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    local thread device
    for ((thread = 0; thread < $(nproc); thread++)); do
        tell "kpktgend_$thread" rem_device_all
    done
    for ((thread = 0; thread < threads; thread++)); do
        device=$interface@$thread
        tell "kpktgend_$thread" "add_device $device"
        # Until it is stopped; a new frame each time, whose addresses and ports spread over queues and workers.
        tell "$device" "count 0"
        tell "$device" "clone_skb 0"
        tell "$device" "pkt_size $size"
        tell "$device" "queue_map_min $thread"
        tell "$device" "queue_map_max $thread"
        tell "$device" "dst_mac $to"
        tell "$device" "flag IPSRC_RND"
        tell "$device" "flag UDPSRC_RND"
        # 198.18.0.0/15 is for benchmarks (RFC 2544).
        tell "$device" "src_min 198.18.0.1"
        tell "$device" "src_max 198.18.255.254"
        tell "$device" "dst_min 198.19.0.1"
        tell "$device" "dst_max 198.19.0.1"
        tell "$device" "udp_src_min 1024"
        tell "$device" "udp_src_max 65535"
        if [ "$rate" -gt 0 ]; then
            tell "$device" "ratep $(((rate + threads - 1) / threads))"
        else
            tell "$device" "delay 0"
        fi
    done
    verdicts "$metrics" >"$before"
    echo "sending frames of $size octets through $interface for $seconds s"
    # It blocks until it is stopped.
    echo start >/proc/net/pktgen/pgctrl &
    sleep "$seconds"
    echo stop >/proc/net/pktgen/pgctrl
    wait
    for ((thread = 0; thread < threads; thread++)); do
        awk -v name="$interface@$thread" '/^Result:/ { $1 = ""; print name ":" $0; getline; print "  " $0 }' \
            "/proc/net/pktgen/$interface@$thread"
    done
    verdicts "$metrics" >"$after"
    if [ -s "$after" ]; then
        echo "plaintap's verdicts meanwhile ($metrics):"
        # A counter that there was not yet began at 0.
        awk 'FILENAME == ARGV[1] { was[$1] = $2; next } $2 - was[$1] { printf "  %s %d\n", $1, $2 - was[$1] }' "$before" "$after"
    else
        echo "no metrics at $metrics: compare with what the receiver says"
    fi
}

# Counters of plaintap's XDP verdicts: name with labels, value.
verdicts() {
    curl -sf --max-time 2 "$1" 2>/dev/null | awk '/^plaintap_xdp_frames_total/ { print $1, $2 }'
}

# tell FILE COMMAND
tell() {
    echo "$2" >"/proc/net/pktgen/$1" || {
        echo "pktgen: '$2' is refused: $(sed -n 's/^Result: //p' "/proc/net/pktgen/$1" | tail -n 1)" >&2
        exit 1
    }
}

# number VARIABLE OPTION VALUE LEAST MOST
number() {
    if ! [[ $3 =~ ^[0-9]{1,10}$ ]] || [ "$3" -lt "$4" ] || [ "$3" -gt "$5" ]; then
        usage "$2 takes a number from $4 to $5"
    fi
    printf -v "$1" %s "$3"
}

stop() {
    echo stop >/proc/net/pktgen/pgctrl 2>/dev/null
    local thread
    for ((thread = 0; thread < $(nproc); thread++)); do
        echo rem_device_all >"/proc/net/pktgen/kpktgend_$thread" 2>/dev/null
    done
    rm -f "$before" "$after"
}

usage() {
    echo "pktgen: $1" >&2
    exit 2
}

before=$(mktemp) after=$(mktemp)
trap 'rm -f "$before" "$after"' EXIT
main "$@"
