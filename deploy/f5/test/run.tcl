# Runs plaintap_keys.tcl against a live intake: tclsh run.tcl RULE PORT DEAD_PORT
#
# DEAD_PORT is one that nothing listens on. Exit 0 when every check holds. What arrived is for the caller to see.

foreach { rule port dead } $argv break
source [file join [file dirname [info script]] bigip.tcl]
source $rule

set failures 0
proc check { what condition } {
    global failures
    set holds [uplevel 1 [list expr $condition]]
    puts "[expr { $holds ? {ok} : {FAILED} }]: $what"
    if { !$holds } { incr failures }
}

# A new BIG-IP, whose destinations behave as given.
proc begin { args } {
    bigip::fire RULE_INIT
    array unset bigip::virtuals
    array set bigip::virtuals $args
    set static::plaintap_virtuals {}
    foreach { virtual behaviour } $args { lappend static::plaintap_virtuals $virtual }
    set bigip::connects 0
    set bigip::logged {}
    array unset bigip::ssl
}

# A handshake; a secret is its number in hex, over and over.
proc handshake { event version n args } {
    array unset bigip::ssl
    array set bigip::ssl [list version $version random [string repeat [format %02x $n] 32]]
    array set bigip::ssl $args
    set result [bigip::fire $event]
    check "$event $version $n raises no error" { [lindex $result 0] == 0 }
}

proc secret { octet len } { string repeat $octet $len }

# Keys arrive: TLS 1.2 with and without a session id, 1.3 with and without early data, both sides.
begin vs $port
handshake CLIENTSSL_HANDSHAKE TLSv1.2 1 master [secret a1 48] session [secret b1 32]
handshake CLIENTSSL_HANDSHAKE TLSv1.2 2 master [string toupper [secret a2 48]] session ""
handshake CLIENTSSL_HANDSHAKE TLSv1.3 3 {client hs} [secret a3 32] {server hs} [secret b3 32] \
    {client app} [secret c3 32] {server app} [secret d3 32] master [secret 00 48]
handshake CLIENTSSL_HANDSHAKE TLSv1.3 4 {client hs} [secret a4 48] {server hs} [secret b4 48] \
    {client app} [secret c4 48] {server app} [secret d4 48] {client early} [secret e4 48]
handshake SERVERSSL_HANDSHAKE TLSv1.2 5 master [secret a5 48] session [secret b5 32]
check "nothing is left open" { $bigip::open == 0 }
check "nothing is logged" { $bigip::logged eq "" }
check "one connection a handshake" { $bigip::connects == 5 }

# TLS 1.3 to pool members only when asked for.
handshake SERVERSSL_HANDSHAKE TLSv1.3 6 {client app} [secret a6 32]
check "no TLS 1.3 from the server side" { $bigip::connects == 5 }
set static::plaintap_serverside_tls13 1
handshake SERVERSSL_HANDSHAKE TLSv1.3 7 {client app} [secret a7 32]
check "TLS 1.3 from the server side when asked for" { $bigip::connects == 6 }

# Nothing to tell: placeholders, or commands that fail.
begin vs $port
handshake CLIENTSSL_HANDSHAKE TLSv1.2 8 master [secret 00 48] session ""
handshake CLIENTSSL_HANDSHAKE TLSv1.2 8 master "" session ""
handshake CLIENTSSL_HANDSHAKE TLSv1.2 8
handshake CLIENTSSL_HANDSHAKE TLSv1.3 8 {client hs} "" {server hs} [secret 00 32]
check "no connection without a secret" { $bigip::connects == 0 }

# The intake is unreachable, in every way: no error, one try, one line of log without a secret, and nothing left open.
foreach behaviour [list $dead empty error send_error send_closed send_timeout] {
    begin vs $behaviour
    for { set i 0 } { $i < 20 } { incr i } {
        handshake CLIENTSSL_HANDSHAKE TLSv1.2 9 master [secret a9 48] session [secret b9 32]
        handshake CLIENTSSL_HANDSHAKE TLSv1.3 9 {client app} [secret c9 32] {server app} [secret d9 32]
    }
    check "$behaviour: one try" { $bigip::connects == 1 }
    check "$behaviour: one line of log" { [llength $bigip::logged] == 1 }
    check "$behaviour: no secret in it" { ![regexp {a9a9|b9b9|c9c9|d9d9} $bigip::logged] }
    check "$behaviour: nothing is left open" { $bigip::open == 0 }
    # It comes back.
    set static::plaintap_retry_at(vs) [clock seconds]
    set bigip::virtuals(vs) $port
    handshake CLIENTSSL_HANDSHAKE TLSv1.2 10 master [secret aa 48] session ""
    check "$behaviour: tried again, and well" { $bigip::connects == 2 && [llength $bigip::logged] == 1 }
}

# Two destinations: one that fails takes nothing from the other.
begin down $dead up $port
handshake CLIENTSSL_HANDSHAKE TLSv1.2 11 master [secret ab 48] session ""
handshake CLIENTSSL_HANDSHAKE TLSv1.2 12 master [secret ac 48] session ""
check "two tries of the one that is up, one of the other" { $bigip::connects == 3 }

exit [expr { $failures > 0 }]
