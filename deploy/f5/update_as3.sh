#!/bin/sh
# Puts plaintap_keys.tcl into as3.json, with the path that the virtual server has there.
set -eu
cd "$(dirname "$0")"
rule=$(sed 's,/Common/plaintap_keys_vs,/plaintap/keys/plaintap_keys_vs,' plaintap_keys.tcl | base64 -w 0)
jq --arg rule "$rule" '.declaration.plaintap.keys.plaintap_keys.iRule.base64 = $rule' as3.json >as3.json.new
mv as3.json.new as3.json
