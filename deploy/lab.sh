#!/bin/bash
# The live demo: plaintap beside real HTTPS traffic, in network namespaces of its own, with an account at the end.
#
#   deploy/lab.sh                        root; builds nothing (make demo does)
#
#   namespace client           namespace server                         namespace mirror
#   curl, h2load               nginx, TLS 1.2 and 1.3                   plaintap run
#   10.77.0.2 .. 5  c0 ------- s0  10.77.0.1   w0 --------------------- m0   copies of what goes to the server (tc mirred)
#   fd77::2                        fd77::1     w1 --------------------- m1   copies of what comes back
#                                              k0 --------------------- k1   10.78.0.2:8001, session keys over TLS
#
# Nothing of it touches the host's network, nothing leaves the namespaces, and all of it is gone at the end, whatever ends it. What a
# run that was killed with -9 has left is removed by the next.
#
# Environment: PLAINTAP, the program (target/release/plaintap); LAB_OUT, where its output is left (target/lab); LAB_PAUSE, seconds
# between visitors (0.5 on a terminal, so that one can follow).
# Exit code: 0 if every request that the clients report came out decrypted, once, as the server's log has it; 1 if not.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
plaintap=${PLAINTAP:-target/release/plaintap}
out=${LAB_OUT:-target/lab}

main() {
    can_show
    make_network
    start_server
    start_plaintap
    start_key_sender
    start_screen
    visit
    load
    ask
    settle
    tell
}

# ---- what it shows

# A few visitors, one after another: what an API and a site see all day.
visit() {
    api=https://api.example/v1 shop=https://shop.example files=https://files.example
    say "One visitor at a time: curl. The column 'key' tells how long a key came after the first record that needs it."
    as 2 --http1.1 --tls-max 1.2 $shop/ $shop/site.css $shop/logo.svg
    as 3 --http2 --tls-max 1.3 "$api/orders/1001" "$api/orders?state=open&page=2"
    as 4 --http1.1 --tls-max 1.3 --json '{"article":"A-4711","quantity":3}' \
        -H 'Authorization: Bearer not-for-the-eyes-of-a-backend' $api/orders
    as 5 --http2 --tls-max 1.2 -T "$dir/www/report.bin" $files/2026/report.bin
    as 2 --http2 --tls-max 1.3 $files/report.bin
    as 3 --http1.1 --tls-max 1.2 -X DELETE $api/orders/1001
    as 4 --http2 --tls-max 1.3 $api/nothing-here $shop/old
    as fd77::2 --http2 --tls-max 1.3 $shop/ $shop/logo.svg
}

# Many at once.
load() {
    say "Many visitors at a time: h2load. One row in $EVERY is shown."
    many "HTTP/2 over TLS 1.3, 20 connections of 10 streams" 1000 -c 20 -m 10 --connect-to=10.77.0.1:443 $api/stock
    many "HTTP/1.1 over TLS 1.2, 10 connections" 500 -c 10 --h1 --connect-to=10.77.0.1:8443 $shop/logo.svg
    many "HTTP/2 over TLS 1.3, POST, 10 connections of 4 streams" 500 -c 10 -m 4 -d "$dir/order.json" \
        --connect-to=10.77.0.1:443 $api/orders
}

# What a monitoring system would ask.
ask() {
    all_out || :
    # The rows of the last ones are on their way to the screen.
    pause 0.3
    title "What it tells a monitoring system: http://127.0.0.1:9464/readyz and /metrics (some of it)"
    within $mirror curl -s --max-time 5 http://127.0.0.1:9464/readyz |
        jq -r '"ready: \(.ready); last key \(.keys.last_key_age_seconds) s ago; last frame " +
            ([.interfaces[] | "\(.last_frame_age_seconds) s ago on \(.name)"] | join(", "))'
    within $mirror curl -s --max-time 5 http://127.0.0.1:9464/metrics |
        sed -nE '/^plaintap_(xdp_frames|intake_connections|tls_sessions|http_transactions|output_lines)_total.* [1-9]/p' | sort |
        cut -c "1-$width"
}

# What the clients made, what came out, and whether that agrees.
tell() {
    title "One of them, as a backend gets it"
    jq -c 'select(.["http.request.method"] == "POST" and (.["user_agent.original"] | startswith("curl")))' \
        "$dir/transactions.jsonl" | head -n 1 | sed 's/,"/, "/g' | fold -s -w "$width"

    title "What plaintap says at its end"
    tail -n "+$((1 + $(wc -l <"$dir/said.first")))" "$dir/said" | plain

    local curls loads logged transactions decrypted incomplete lost agree=yes
    curls=$(grep -c '^[1-5]' "$dir/curl.report") || curls=0
    loads=$(awk '$1 == "requests:" { done += $6 } END { print done + 0 }' "$dir/h2load.report")
    logged=$(wc -l <"$dir/access.log")
    transactions=$(wc -l <"$dir/transactions.jsonl")
    read -r decrypted incomplete < <(jq -rs '[.[] | select(.["url.scheme"] == "https")] |
        "\(map(select(.["plaintap.complete"])) | length) \(map(select(.["plaintap.complete"] | not)) | length)"' "$dir/transactions.jsonl")
    lost=$((curls + loads - transactions))
    jq -r '"\(.["http.request.method"]) \(.["server.address"])\(.["url.path"])\(if .["url.query"] then "?" + .["url.query"] else "" end) " +
        "\(.["http.response.status_code"]) \(.["http.response.body.size"]) \(.["network.protocol.version"]) " +
        "\(.["tls.protocol.version"]) \(.["http.request.body.size"] // 0)"' \
        "$dir/transactions.jsonl" | sort >"$dir/found"
    sed 's|HTTP/2\.0|2|; s|HTTP/||; s|TLSv||; s| -$| 0|' "$dir/access.log" | sort >"$dir/served"
    diff "$dir/served" "$dir/found" >"$dir/difference" || agree=no
    mkdir -p "$out" && cp "$dir/transactions.jsonl" "$dir/sessions.jsonl" "$out/"

    title "The account"
    line "requests made, by the clients' own reports" $((curls + loads)) "curl $curls, h2load $loads"
    line "requests in the server's log" "$logged"
    line "transactions that came out" "$transactions"
    line "  decrypted, whole" "${decrypted:-0}"
    line "  decrypted, incomplete" "${incomplete:-0}"
    line "lost" $lost
    line "the same as the server's log, line for line" $agree "method, address, status, octets each way, versions"
    dim "In $out: transactions.jsonl and sessions.jsonl"
    if [ $agree = no ]; then
        echo "They do not agree; < the server's log, > plaintap:"
        head -n 20 "$dir/difference"
    fi
    [ $agree = yes ] && [ $lost -eq 0 ] && [ "${decrypted:-0}" -eq $((curls + loads)) ] && [ "$logged" -eq $((curls + loads)) ] &&
        [ "$ended" -eq 0 ] && ! grep -q '^BUG' "$dir/said"
}

# ---- how it is made

# Where it cannot be shown, the reason and the demo that needs no more than a file.
can_show() {
    [ "$(id -u)" -eq 0 ] || instead "it needs root (sudo deploy/lab.sh)"
    local program
    for program in ip tc ethtool nginx curl h2load openssl jq; do
        command -v $program >/dev/null || instead "'$program' is missing (deploy/setup.sh demo)"
    done
    "$plaintap" run --help 2>/dev/null | grep -q -- --interface ||
        instead "$plaintap has no live capture (cargo build --release --features live)"
    sweep
    dir=$(mktemp -d "${TMPDIR:-/tmp}/plaintap-lab-$$.XXXXXX") || exit 1
    trap clean EXIT
    trap 'echo; exit 130' INT
    trap 'exit 143' TERM
    trap 'exit 129' HUP
    for name in $client $server $mirror; do
        ip netns add "$name" 2>"$dir/reason" || instead "no network namespaces: $(tail -n 1 "$dir/reason")"
    done
}

make_network() {
    {
        for name in $client $server $mirror; do
            within "$name" sh -c 'echo 0 >/proc/sys/net/ipv6/conf/default/router_solicitations'
        done &&
            ip -n $mirror link set lo up &&
            pair c0 $client s0 $server && pair w0 $server m0 $mirror && pair w1 $server m1 $mirror && pair k0 $server k1 $mirror &&
            address $client c0 10.77.0.2/24 10.77.0.3/24 10.77.0.4/24 10.77.0.5/24 fd77::2/64 &&
            ip -n $mirror link set lo up && address $server s0 10.77.0.1/24 fd77::1/64 && address $server k0 10.78.0.1/24 && address $mirror k1 10.78.0.2/24 &&
            tc -n $server qdisc add dev s0 clsact &&
            copy ingress w0 && copy egress w1
    } 2>"$dir/reason" || instead "the kernel cannot make such a network: $(tail -n 1 "$dir/reason")"
}

# pair A NAMESPACE B NAMESPACE: a wire; frames on it are no larger than its MTU, with their checksums.
pair() {
    ip -n "$2" link add "$1" type veth peer name "$3" netns "$4" || return
    local end
    for end in "$2 $1" "$4 $3"; do
        # shellcheck disable=SC2086 # words are meant to be split
        set -- $end
        case $2 in
        [mw]?) within "$1" sh -c "echo 1 >/proc/sys/net/ipv6/conf/$2/disable_ipv6" ;;
        esac
        # Words that a kernel does not know are no reason to give up: a frame that does not fit shows in the account.
        within "$1" ethtool -K "$2" tx off tso off gso off gro off >/dev/null 2>&1
        ip -n "$1" link set "$2" up || return
    done
}

address() {
    local name=$1 device=$2 addr
    shift 2
    for addr; do
        case $addr in
        *:*) ip -n "$name" address add "$addr" dev "$device" nodad ;;
        *) ip -n "$name" address add "$addr" dev "$device" ;;
        esac || return
    done
}

copy() {
    tc -n $server filter add dev s0 "$1" protocol all u32 match u32 0 0 action mirred egress mirror dev "$2"
}

start_server() {
    mkdir -p "$dir/www" "$dir/tmp"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=shop.example \
        -addext subjectAltName=DNS:shop.example,DNS:api.example,DNS:files.example \
        -keyout "$dir/key.pem" -out "$dir/cert.pem" 2>/dev/null || fail "openssl makes no certificate"
    printf '<!doctype html><title>shop</title><p>Good day.\n' >"$dir/www/index.html"
    printf 'p { font: 1em/1.5 serif }\n' >"$dir/www/site.css"
    { printf '<svg xmlns="http://www.w3.org/2000/svg">' && seq -f '<circle r="%.0f"/>' 600 && echo '</svg>'; } >"$dir/www/logo.svg"
    head -c 700000 /dev/urandom >"$dir/www/report.bin"
    printf '{"article":"A-4711","quantity":1}' >"$dir/order.json"
    cat >"$dir/nginx.conf" <<CONF
daemon off; user root; worker_processes 1; pid $dir/nginx.pid; error_log $dir/error.log warn;
events { worker_connections 1024; }
http {
    log_format account '\$request_method \$host\$request_uri \$status \$body_bytes_sent \$server_protocol \$ssl_protocol \$content_length';
    access_log off; keepalive_requests 100000; client_max_body_size 8m; default_type application/json;
    client_body_temp_path $dir/tmp/body; proxy_temp_path $dir/tmp/proxy; fastcgi_temp_path $dir/tmp/fastcgi;
    uwsgi_temp_path $dir/tmp/uwsgi; scgi_temp_path $dir/tmp/scgi;
    types { text/html html; text/css css; image/svg+xml svg; application/octet-stream bin; }
    ssl_certificate $dir/cert.pem; ssl_certificate_key $dir/key.pem;
    server {
        listen 10.77.0.1:443 ssl http2; listen [fd77::1]:443 ssl http2; ssl_protocols TLSv1.2 TLSv1.3;
        access_log $dir/access.log account;
        root $dir/www;
        location = /old { return 301 https://shop.example/; }
        location /v1/ { proxy_pass http://unix:$dir/application:; }
        location /2026/ { proxy_pass http://unix:$dir/application:; }
    }
    server {
        listen 10.77.0.1:8443 ssl http2; ssl_protocols TLSv1.2;
        access_log $dir/access.log account;
        root $dir/www;
    }
    server {
        listen unix:$dir/application;
        location = /v1/nothing-here { return 404 '{"error":"there is nothing here"}'; }
        location /v1/stock { return 200 '{"article":"A-4711","on_stock":true}'; }
        location / {
            if (\$request_method = DELETE) { return 204; }
            if (\$request_method = POST) { return 201 '{"id":1002,"state":"accepted"}'; }
            if (\$request_method = PUT) { return 201; }
            return 200 '{"id":1001,"state":"open","article":"A-4711","quantity":3}';
        }
    }
}
CONF
    ip netns exec $server setpriv --pdeathsig TERM nginx -e "$dir/error.log" -c "$dir/nginx.conf" >"$dir/nginx.said" 2>&1 &
    until_true "nginx does not start: $(tail -n 1 "$dir/nginx.said" "$dir/error.log" 2>/dev/null)" [ -s "$dir/nginx.pid" ]
}

start_plaintap() {
    touch "$dir/transactions.jsonl" "$dir/said"
    local arguments=(run --interface m0 --interface m1 --key-listen 10.78.0.2:8001)
    title "plaintap, live"
    cat <<'PICTURE'

   clients                       server                         mirror
   curl, h2load  === HTTPS ===>  nginx                          plaintap
                           |      |                                ^  ^
                           |      '-- session keys, over TLS ------'  |    after each handshake, as an F5's iRule sends them
                           '--------- a copy of every frame ----------'    the two directions on two interfaces

PICTURE
    bold "\$ plaintap ${arguments[*]}"
    ip netns exec $mirror setpriv --pdeathsig TERM "$plaintap" "${arguments[@]}" --key-state "$dir/state" \
        --out "$dir/transactions.jsonl" --sessions "$dir/sessions.jsonl" 2>"$dir/said" &
    runs=$!
    until_true "plaintap does not start" said_all
    cp "$dir/said" "$dir/said.first"
    plain <"$dir/said.first"
}

said_all() {
    kill -0 "$runs" 2>/dev/null || fail "plaintap has ended: $(cat "$dir/said")"
    grep -q 'capturing on m1' "$dir/said" && grep -q 'keys with certificate' "$dir/said"
}

# Log lines without their time.
plain() { sed -E 's/^[0-9-]+T[0-9:.]+Z +(INFO )?//'; }

# What the iRule does: when a handshake is over, its secrets, over a TLS connection of their own. Here they are taken from the clients.
start_key_sender() {
    : >"$dir/keys"
    mkfifo "$dir/keys.fifo"
    tail --pid=$$ -s 0.05 -n +1 -f "$dir/keys" >"$dir/keys.fifo" &
    tails=$!
    send_keys <"$dir/keys.fifo" &
    sends=$!
}

send_keys() {
    local label random secret
    local -A lines=() count=()
    while read -r label random secret; do
        case $label in
        CLIENT_RANDOM) send "$label $random $secret" ;;
        CLIENT_HANDSHAKE_TRAFFIC_SECRET | SERVER_HANDSHAKE_TRAFFIC_SECRET | CLIENT_TRAFFIC_SECRET_0 | SERVER_TRAFFIC_SECRET_0)
            lines[$random]+="$label $random $secret"$'\n'
            count[$random]=$((${count[$random]:-0} + 1))
            if [ "${count[$random]}" -eq 4 ]; then
                send "${lines[$random]}"
                unset "lines[$random]" "count[$random]"
            fi
            ;;
        esac
    done
}

# To the intake, whose certificate is pinned. A key that does not arrive shows in the account.
send() {
    within $server timeout 20 openssl s_client -quiet -no_ign_eof -verify_return_error -CAfile "$dir/state/intake.pem" \
        -connect 10.78.0.2:8001 <<<"$1" >>"$dir/send.said" 2>&1
}

start_screen() {
    title "Transactions, as they come"
    row "time (UTC)" client TLS key HTTP status octets request
    tail --pid="$runs" -s 0.1 -n +1 -f "$dir/transactions.jsonl" | jq --unbuffered -nr --argjson width "$width" --argjson every $EVERY '
        def left(n): tostring | if length < n then . + " " * (n - length) else . end;
        def right(n): tostring | if length < n then " " * (n - length) + . else . end;
        foreach inputs as $t ({};
            .many = (($t["user_agent.original"] // "") | startswith("h2load")) | if .many then .count += 1 else . end;
            if .many and .count % $every != 0 then empty else
                [($t.time[11:23] | left(13)), ($t["client.address"] | left(10)), ($t["tls.protocol.version"] // "-" | left(3)),
                 (($t["plaintap.key.wait_ns"] // 0) / 1e6 | floor | "\(.) ms" | right(7)),
                 ($t["network.protocol.version"] // "-" | left(4)), ($t["http.response.status_code"] // "-" | right(6)),
                 ($t["http.response.body.size"] // 0 | right(7)),
                 " " + ($t["http.request.method"] // "-") + " " + $t["url.scheme"] + "://" + ($t["server.address"] // "-") + $t["url.path"]
                    + (if $t["url.query"] then "?" + $t["url.query"] else "" end)] | join(" ") | .[0:$width]
            end)' &
    screen=$!
}

row() {
    bold "$(printf '%-13s %-10s %-3s %7s %-4s %6s %7s  %s' "$@" | cut -c "1-$width")"
}

# as ADDRESS CURL'S ARGUMENTS: one visitor, from that address (or the last octet of it), with one connection.
as() {
    local addr=$1 to=10.77.0.1
    shift
    case $addr in
    *:*) to='[fd77::1]' ;;
    *) addr=10.77.0.$addr ;;
    esac
    local host outputs=()
    for host; do
        case $host in https:*) outputs+=(-o /dev/null) ;; esac
    done
    client curl -sS --max-time 60 --cacert "$dir/cert.pem" --interface "$addr" --connect-to "::$to:443" -w '%{http_code}\n' \
        "${outputs[@]}" "$@" >>"$dir/curl.report" || fail "curl has failed"
    # Each is on the screen before the next comes.
    all_out || :
    pause "$rest"
}

# many WHAT REQUESTS H2LOAD'S ARGUMENTS: that many requests.
many() {
    say "$2 requests: $1"
    local requests=$2
    shift 2
    client h2load -t 1 -n "$requests" "$@" >>"$dir/h2load.report" || fail "h2load has failed"
    all_out || :
}

# A client program; its keys are noted where the sender finds them.
client() {
    # Not in the foreground: a signal is to be heard at once.
    SSLKEYLOGFILE="$dir/keys" ip netns exec $client timeout 60 "$@" &
    wait $!
}

# Waits until the output has what the server has answered.
all_out() {
    local tries
    for ((tries = 0; tries < patience; tries++)); do
        [ "$(wc -l <"$dir/transactions.jsonl")" -lt "$(wc -l <"$dir/access.log")" ] || return 0
        pause 0.05
    done
    # What is missing will not come later either.
    patience=10
    return 1
}

# Every process has done its part.
settle() {
    kill -TERM "$runs" 2>/dev/null
    wait "$runs"
    ended=$?
    wait "$screen"
    kill "$tails" 2>/dev/null
    wait "$sends"
}

# ---- the small things

within() { ip netns exec "$@"; }

pause() {
    sleep "$1" &
    wait $!
}

# until_true REASON COMMAND: ten seconds.
until_true() {
    local reason=$1 tries
    shift
    for ((tries = 0; tries < 200; tries++)); do
        "$@" && return
        pause 0.05
    done
    fail "$reason"
}

fail() {
    echo "lab: $1" >&2
    tail -n 5 "$dir/error.log" "$dir/said" >&2 2>/dev/null
    exit 1
}

# The demo that needs no more than a capture.
instead() {
    echo "No live demo here: $1. Here is one from a capture instead."
    [ -z "${dir-}" ] || clean
    trap - EXIT
    exec deploy/demo.sh
}

# Ends what this run has started, and removes what it has made.
clean() {
    trap '' INT TERM HUP
    # The shell would tell of every process that is ended.
    exec 2>/dev/null
    local jobs
    jobs=$(jobs -p)
    for name in $client $server $mirror; do
        remove "$name"
    done
    # shellcheck disable=SC2086 # words are meant to be split
    [ -z "$jobs" ] || kill $jobs 2>/dev/null
    wait 2>/dev/null
    rm -rf "$dir"
}

# A namespace and all that runs in it, its wires too.
remove() {
    [ -e "/run/netns/$1" ] || return 0
    local pids tries
    # Asked first: a server ends its own children.
    for ((tries = 0; tries < 40; tries++)); do
        pids=$(ip netns pids "$1" 2>/dev/null)
        [ -n "$pids" ] || break
        # shellcheck disable=SC2086 # words are meant to be split
        case $tries in
        0) kill -TERM $pids 2>/dev/null ;;
        20) kill -KILL $pids 2>/dev/null ;;
        esac
        sleep 0.05
    done
    ip netns delete "$1" 2>/dev/null
}

# What runs that were killed have left: namespaces and directories that bear the number of no lab that runs.
sweep() {
    local pid side
    for pid in $({
        ip netns list
        find "${TMPDIR:-/tmp}" -maxdepth 1 -name 'plaintap-lab-*' -printf '%f\n'
    } 2>/dev/null | sed -nE 's/^plaintap-lab-([0-9]+)[-.].*/\1/p' | sort -u); do
        tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -q 'lab\.sh' && continue
        for side in client server mirror; do
            remove "plaintap-lab-$pid-$side"
        done
        rm -rf "${TMPDIR:-/tmp}/plaintap-lab-$pid".??????
    done
}

if [ -t 1 ]; then
    width=$(tput cols 2>/dev/null || echo 100) rest=${LAB_PAUSE:-0.5}
    bold() { printf '\033[1m%s\033[0m\n' "$1"; }
    dim() { printf '\033[2m%s\033[0m\n' "$1"; }
else
    width=120 rest=${LAB_PAUSE:-0}
    bold() { printf '%s\n' "$1"; }
    dim() { printf '%s\n' "$1"; }
fi
title() { echo && bold "$1"; }
say() { dim "$(cut -c "1-$width" <<<"-- $1")"; }
line() { printf '%-46s %7s   %s\n' "$1" "$2" "${3-}"; }

client=plaintap-lab-$$-client server=plaintap-lab-$$-server mirror=plaintap-lab-$$-mirror
ended=1 patience=200
readonly EVERY=250

main
