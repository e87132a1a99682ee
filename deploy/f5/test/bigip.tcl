# Stand-ins for the parts of a BIG-IP that plaintap_keys.tcl touches, so that tclsh runs the iRule itself.
#
# The virtual server with its serverssl profile is played by a TLS socket to a live intake: what `send` takes arrives there.

package require tls

namespace eval static {}
namespace eval bigip {
    variable events;     array set events {}
    # Destination -> port on 127.0.0.1, or a way to fail: empty, error, send_error, send_closed, send_timeout.
    variable virtuals;   array set virtuals {}
    variable open 0      ;# sideband connections that were not closed
    variable connects 0
    variable logged {}
    # What the SSL commands return; an absent one raises an error.
    variable ssl;        array set ssl {}
}

proc when { event args } { set bigip::events($event) [lindex $args end] }

# Runs an event as TMM does: an error would reset the client's connection.
proc bigip::fire { event } {
    variable events
    return [list [catch { apply [list {} $events($event)] } message] $message]
}

# Procedures of an iRule run in the context of the event that calls them.
proc call { name args } { uplevel 1 [linsert $args 0 $name] }

proc log { facility message } { lappend bigip::logged $message }

proc bigip::ssl { key } {
    variable ssl
    if { ![info exists ssl($key)] } { error "Can't read secret: $key" }
    return $ssl($key)
}

namespace eval SSL {
    proc clientrandom {} { bigip::ssl random }
    proc sessionsecret {} { bigip::ssl master }
    proc sessionid {} { bigip::ssl session }
    proc cipher { what } { bigip::ssl $what }
    proc tls13_secret { side which } { bigip::ssl "$side $which" }
}

# Options as F5 documents them; the rest, the destination or the connection and its data, is returned.
proc bigip::options { arguments allowed statusVar } {
    upvar 1 $statusVar status
    set status ""
    while { [string match -* [lindex $arguments 0]] } {
        set option [lindex $arguments 0]
        if { [lsearch -exact $allowed $option] < 0 } { error "bad option $option" }
        if { $option eq "-status" } { set status [lindex $arguments 1] }
        if { [string match "-timeout" $option] && ![string is integer -strict [lindex $arguments 1]] } { error "bad timeout" }
        set arguments [lrange $arguments 2 end]
    }
    return $arguments
}

proc connect { args } {
    set rest [bigip::options $args {-protocol -myaddr -myport -tos -status -idle -timeout} name]
    if { $name ne "" } { upvar 1 $name status }
    if { [llength $rest] != 1 } { error "wrong # args" }
    incr bigip::connects
    if { ![info exists bigip::virtuals([lindex $rest 0])] } { error "no such virtual server" }
    set behaviour $bigip::virtuals([lindex $rest 0])
    switch -glob $behaviour {
        empty { set status "timeout"; return "" }
        error { error "TCL error (line 1)" }
        send_* { set status "connected"; incr bigip::open; return $behaviour }
    }
    if { [catch {
        set channel [tls::socket -require 0 127.0.0.1 $behaviour]
        fconfigure $channel -translation binary -buffering none
        tls::handshake $channel
    }] } {
        set status "peer_reset"
        return ""
    }
    set status "connected"
    incr bigip::open
    return $channel
}

proc send { args } {
    set rest [bigip::options $args {-timeout -status} name]
    if { $name ne "" } { upvar 1 $name status }
    foreach { connection data } $rest break
    switch -glob $connection {
        send_error { unset -nocomplain status; error "connection closed, data: $data" }
        send_closed { set status closed; return 0 }
        send_timeout { set status timeout; return 0 }
    }
    puts -nonewline $connection $data
    flush $connection
    set status sent
    return [string length $data]
}

rename close tcl_close
proc close { connection } {
    incr bigip::open -1
    if { ![string match send_* $connection] } { tcl_close $connection }
}
