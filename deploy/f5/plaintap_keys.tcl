# plaintap_keys: sends the secrets of each TLS handshake of a virtual server to plaintap's key intake.
#
# Attach it to the virtual servers whose traffic is mirrored. README.md has the walk-through. Needs TMOS 11.4 or later
# (procedures), TLS 1.3 secrets TMOS 15.1 or later. Written for Tcl 8.4, which iRules are.
#
# What it must never do is harm the handshake that it reports: each step has a timeout, every error is caught, and a
# destination that failed is left alone for a while. No secret is logged.

when RULE_INIT {
    # Virtual servers on this BIG-IP that lead to the intake, with a serverssl profile. Every one of them gets every key: one
    # for each plaintap node that must have it. (A sideband connection to a virtual server is accepted within the BIG-IP,
    # however slow the node behind it is.)
    set static::plaintap_virtuals [list /Common/plaintap_keys_vs]

    # Milliseconds that the handshake waits at most, for each of them and for each of the two steps.
    set static::plaintap_connect_ms 50
    set static::plaintap_send_ms 50

    # Seconds after which the BIG-IP ends a sideband connection that was not closed.
    set static::plaintap_idle_s 5

    # Seconds for which a destination is left alone after a failure, in each TMM.
    set static::plaintap_retry_s 5

    # 1: report handshakes with pool members, too (for a server-side mirror).
    set static::plaintap_serverside 1

    # 1: ask for TLS 1.3 secrets there, too. F5 documents the command for the client side only: try it first.
    set static::plaintap_serverside_tls13 0

    # When each destination may be tried again. A static variable that is changed outside RULE_INIT is a TMM's own, which is
    # what is wanted here.
    array unset static::plaintap_retry_at
}

# The lines of this handshake, in the context (client side or server side) of the event that calls.
proc plaintap_lines { tls13 } {
    set random [SSL::clientrandom]
    set lines ""
    if { $tls13 } {
        foreach { label side which } {
            CLIENT_EARLY_TRAFFIC_SECRET     client early
            CLIENT_HANDSHAKE_TRAFFIC_SECRET client hs
            SERVER_HANDSHAKE_TRAFFIC_SECRET server hs
            CLIENT_TRAFFIC_SECRET_0         client app
            SERVER_TRAFFIC_SECRET_0         server app
        } {
            # Not every handshake has every secret; some versions raise an error for those that it lacks.
            if { [catch { SSL::tls13_secret $side $which } secret] == 0 && [string trim $secret 0] ne "" } {
                append lines "$label $random $secret\n"
            }
        }
    } else {
        set master [SSL::sessionsecret]
        if { [string trim $master 0] ne "" } {
            append lines "CLIENT_RANDOM $random $master\n"
            # For handshakes that resume this session with another random.
            set session [SSL::sessionid]
            if { [string trim $session 0] ne "" } {
                append lines "RSA Session-ID:$session Master-Key:$master\n"
            }
        }
    }
    return $lines
}

# Hands `lines` to every destination. Raises no error.
proc plaintap_send { lines } {
    foreach virtual $static::plaintap_virtuals {
        set now [clock seconds]
        if { [info exists static::plaintap_retry_at($virtual)] && $now < $static::plaintap_retry_at($virtual) } {
            continue
        }
        set connection ""
        set status "not connected"
        set failed [catch {
            set connection [connect -protocol TCP -timeout $static::plaintap_connect_ms -idle $static::plaintap_idle_s \
                -status status $virtual]
            if { $connection ne "" } {
                set status "not sent"
                send -timeout $static::plaintap_send_ms -status status $connection $lines
            }
        }]
        if { $connection ne "" } {
            catch { close $connection }
        }
        # An error of `send` may leave the variable unset.
        if { ![info exists status] } {
            set status "error"
        }
        if { $failed || $connection eq "" || $status ne "sent" } {
            set static::plaintap_retry_at($virtual) [expr { $now + $static::plaintap_retry_s }]
            # At most once in that time and TMM. The reason is not logged as Tcl gives it: it may quote what was sent.
            catch { log local0.warning "plaintap: $virtual takes no keys ($status); next try in $static::plaintap_retry_s s" }
        }
    }
}

when CLIENTSSL_HANDSHAKE {
    catch {
        set plaintap_data [call plaintap_lines [expr { [SSL::cipher version] eq "TLSv1.3" }]]
        if { $plaintap_data ne "" } {
            call plaintap_send $plaintap_data
        }
    }
    unset -nocomplain plaintap_data
}

when SERVERSSL_HANDSHAKE {
    catch {
        if { $static::plaintap_serverside } {
            set plaintap_tls13 [expr { [SSL::cipher version] eq "TLSv1.3" }]
            if { !$plaintap_tls13 || $static::plaintap_serverside_tls13 } {
                set plaintap_data [call plaintap_lines $plaintap_tls13]
                if { $plaintap_data ne "" } {
                    call plaintap_send $plaintap_data
                }
            }
        }
    }
    unset -nocomplain plaintap_data plaintap_tls13
}
