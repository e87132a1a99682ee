#!/bin/bash
# Sets a BIG-IP up for plaintap: run it in the BIG-IP's own bash (it calls tmsh), with plaintap_keys.tcl beside it.
#
#   NODES="192.0.2.11 192.0.2.12" VIRTUALS="/Common/shop_vs" bash setup.sh           key intake and iRule
#   ... CLONE_MEMBERS="198.51.100.11=02:00:00:00:00:11" bash setup.sh                 and the mirror
#   bash setup.sh remove                                                              takes all of it away
#
# Each object is made, or changed if it is there: run it again after changing a value. README.md says what each is for.
set -euo pipefail

NODES=${NODES-}                              # plaintap nodes, where their intake listens
PORT=${PORT-8001}                            # the intake's port
VIRTUALS=${VIRTUALS-}                        # virtual servers whose keys are sent, and traffic mirrored
SIDEBAND_ADDRESS=${SIDEBAND_ADDRESS-192.0.2.1} # any address that is not in use; it is reachable from no VLAN
INTAKE_CERT=${INTAKE_CERT-}                  # PEM file of the intake's certificate: then only that one is accepted
CLONE_MEMBERS=${CLONE_MEMBERS-}              # address=MAC of each capture port, in a VLAN that the BIG-IP has a self IP in
CLONE_CONTEXT=${CLONE_CONTEXT-clientside}    # clientside or serverside

here=$(cd "$(dirname "$0")" && pwd)

say() { echo "setup: $*"; }

# One tmsh command, as it would be typed there.
run() { tmsh -q -c "$*"; }

# Makes an object, or changes the one that is there: put "TYPE NAME" PROPERTIES...
put() {
    local object=$1
    shift
    if run "list $object one-line" >/dev/null 2>&1; then
        run "modify $object $*"
    else
        run "create $object $*"
    fi
    say "$object"
}

# The iRules of a virtual server, but for plaintap's.
other_rules() {
    run "list ltm virtual $1 rules one-line" | sed -n 's/.*rules { \(.*\) } }.*/\1/p' | tr ' ' '\n' |
        grep -v -x -e '\(/Common/\)\?plaintap_keys' | tr '\n' ' ' || true
}

if [ "${1-}" = remove ]; then
    for virtual in $VIRTUALS; do
        rules=$(other_rules "$virtual")
        if [ -n "$rules" ]; then rules="{ $rules}"; fi
        run "modify ltm virtual $virtual rules ${rules:-none}"
        run "modify ltm virtual $virtual clone-pools delete { plaintap_clone_pool }" 2>/dev/null || true
        say "$virtual sends no keys"
    done
    for object in "ltm rule plaintap_keys" "ltm virtual plaintap_keys_vs" "ltm pool plaintap_keys_pool" \
        "ltm pool plaintap_clone_pool" "ltm monitor https plaintap_keys_monitor" \
        "ltm profile server-ssl plaintap_keys_serverssl" "sys file ssl-cert plaintap_intake.crt"; do
        run "delete $object" 2>/dev/null && say "no $object" || true
    done
    for member in $CLONE_MEMBERS; do
        run "delete net arp plaintap_${member%%=*}" 2>/dev/null || true
    done
    run "save sys config"
    exit
fi

[ -n "$NODES" ] || { echo "setup: NODES is empty: where does plaintap listen?" >&2; exit 2; }
[ -f "$here/plaintap_keys.tcl" ] || { echo "setup: plaintap_keys.tcl is not beside this script" >&2; exit 2; }

# How the BIG-IP sees that a node takes keys: an HTTPS request on the very port.
put "ltm monitor https plaintap_keys_monitor" interval 5 timeout 16 \
    send '"GET /healthz HTTP/1.1\\r\\nHost: plaintap\\r\\nConnection: close\\r\\n\\r\\n"' recv '"200 OK"'

members=""
for node in $NODES; do members="$members $node:$PORT"; done
put "ltm pool plaintap_keys_pool" members "replace-all-with { $members }" monitor plaintap_keys_monitor \
    load-balancing-mode least-connections-member service-down-action reselect

# TLS to the nodes.
if [ -n "$INTAKE_CERT" ]; then
    put "sys file ssl-cert plaintap_intake.crt" source-path "file:$INTAKE_CERT"
    pin="peer-cert-mode require ca-file plaintap_intake.crt authenticate-name plaintap"
else
    pin="peer-cert-mode ignore"
fi
put "ltm profile server-ssl plaintap_keys_serverssl" defaults-from serverssl server-name plaintap $pin

# Where the iRule connects to. No clientssl and no HTTP profile: plain lines come in, TLS goes out.
put "ltm virtual plaintap_keys_vs" destination "$SIDEBAND_ADDRESS:$PORT" ip-protocol tcp pool plaintap_keys_pool \
    profiles "replace-all-with { f5-tcp-lan { context all } plaintap_keys_serverssl { context serverside } }" \
    source-address-translation "{ type automap }" vlans none vlans-enabled

# The iRule itself.
rule=$(mktemp /var/tmp/plaintap_keys.XXXXXX)
trap 'rm -f "$rule"' EXIT
{ echo "ltm rule /Common/plaintap_keys {"; cat "$here/plaintap_keys.tcl"; echo "}"; } >"$rule"
run "load sys config merge file $rule"
say "ltm rule plaintap_keys"

# The mirror. A capture port answers no ARP, hence the static entries and no monitor: a clone pool without an available member
# mirrors nothing, and says nothing.
if [ -n "$CLONE_MEMBERS" ]; then
    members=""
    for member in $CLONE_MEMBERS; do
        address=${member%%=*}
        put "net arp plaintap_$address" ip-address "$address" mac-address "${member#*=}"
        members="$members $address:0"
    done
    put "ltm pool plaintap_clone_pool" members "replace-all-with { $members }" monitor none
fi

for virtual in $VIRTUALS; do
    run "modify ltm virtual $virtual rules { $(other_rules "$virtual")/Common/plaintap_keys }"
    if [ -n "$CLONE_MEMBERS" ]; then
        run "modify ltm virtual $virtual clone-pools add { plaintap_clone_pool { context $CLONE_CONTEXT } }" 2>/dev/null ||
            run "modify ltm virtual $virtual clone-pools modify { plaintap_clone_pool { context $CLONE_CONTEXT } }"
    fi
    say "$virtual sends its keys"
done
run "save sys config"
