#!/bin/sh
# The demo: a capture of real HTTPS traffic, first as the wire shows it, then as plaintap does.
set -eu
cd "$(dirname "$0")/.."
capture=userspace/tests/corpus/demo/capture.pcapng
keys=userspace/tests/corpus/demo/keys.log
transactions=target/demo.transactions.jsonl
sessions=target/demo.sessions.jsonl
width=$(tput cols 2>/dev/null || echo 120)
bold() { if [ -t 1 ]; then printf '\n\033[1m%s\033[0m\n' "$1"; else printf '\n%s\n' "$1"; fi; }

bold "\$ plaintap read $capture --keys $keys"
target/release/plaintap read "$capture" --keys "$keys" --out $transactions --sessions $sessions

bold "The HTTP transactions in it (the whole records are in $transactions)"
jq -r '[.time[11:23], .["client.address"], .["tls.protocol.version"] // "-", .["network.protocol.version"],
    .["http.response.status_code"], .["http.request.method"],
    (.["url.scheme"] + "://" + .["server.address"] + .["url.path"] + (.["url.query"] | if . then "?" + . else "" end)),
    (.["http.request.body.size"] // 0), (.["http.response.body.size"] // 0)]
    | map(tostring) | @tsv' $transactions |
    awk -F '\t' 'BEGIN { printf "%-12s  %-15s  %-4s %-4s  %-6s %-7s %7s %8s  %s\n", "time", "client", "TLS", "HTTP", "status", "method", "sent", "received", "url" }
        { printf "%-12s  %-15s  %-4s %-4s  %-6s %-7s %7d %8d  %s\n", $1, $2, $3, $4, $5, $6, $8, $9, $7 }' | cut -c "1-$width"

bold "One record, as a backend gets it"
jq 'select(.["http.request.method"] == "POST")' $transactions | jq -s '.[0]'

bold "The TLS sessions ($sessions): which were read, and why not"
jq -r '[.["client.address"] + ":" + (.["client.port"] | tostring), .["tls.protocol.version"] // "-", .["tls.cipher"] // "-", .["plaintap.tls.sni"] // "-", .["plaintap.outcome"]] | @tsv' $sessions |
    awk -F '\t' '{ printf "%-22s  %-4s %-38s %-20s %s\n", $1, $2, $3, $4, $5 }' | cut -c "1-$width"

bold "Yours: plaintap read CAPTURE --keys KEYLOG     (plaintap read --help)"
