#!/bin/sh
# The demo that needs no root: a capture of real HTTPS traffic, and what plaintap reads in it. (lab.sh is the live one.)
set -eu
cd "$(dirname "$0")/.."
capture=userspace/tests/corpus/demo/capture.pcapng
keys=userspace/tests/corpus/demo/keys.log
transactions=target/demo.transactions.jsonl
sessions=target/demo.sessions.jsonl
plaintap=${PLAINTAP:-target/release/plaintap}

if [ -t 1 ]; then
    width=$(tput cols 2>/dev/null || echo 80)
    title() { printf '\n\033[1m%s\033[0m\n' "$1"; }
else
    width=120
    title() { printf '\n%s\n' "$1"; }
fi

title "\$ plaintap read $capture --keys $keys"
"$plaintap" read "$capture" --keys "$keys" --out "$transactions" --sessions "$sessions"

title "The HTTP transactions in it ($transactions)"
jq -r '[.["client.address"], .["tls.protocol.version"] // "-", .["network.protocol.version"],
    .["http.response.status_code"] // "-", .["http.response.body.size"] // 0, .["http.request.method"] // "-",
    (.["url.scheme"] + "://" + .["server.address"] + .["url.path"] + (if .["url.query"] then "?" + .["url.query"] else "" end))]
    | @tsv' "$transactions" |
    awk -F '\t' 'BEGIN { printf "%-10s %-4s %-4s %-6s %6s  %s\n", "client", "TLS", "HTTP", "status", "octets", "request" }
        { printf "%-10s %-4s %-4s %-6s %6d  %s %s\n", $1, $2, $3, $4, $5, $6, $7 }' | cut -c "1-$width"

title "One of them, as a backend gets it"
jq -c 'select(.["http.request.method"] == "POST")' "$transactions" | head -n 1 | sed 's/,"/, "/g' | fold -s -w "$width"

title "The TLS sessions: which could be read, and why not ($sessions)"
jq -r '[.["plaintap.outcome"], .["tls.protocol.version"] // "-", .["client.address"], .["plaintap.tls.sni"] // "-",
    .["tls.cipher"] // "-"] | @tsv' "$sessions" |
    awk -F '\t' 'BEGIN { printf "%-10s %-4s %-10s %-18s %s\n", "outcome", "TLS", "client", "server", "suite" }
        { printf "%-10s %-4s %-10s %-18s %s\n", $1, $2, $3, $4, $5 }' | cut -c "1-$width"

title "Yours: target/release/plaintap read CAPTURE --keys KEYLOG   (--help says more)"
