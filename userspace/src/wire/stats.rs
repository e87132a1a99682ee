//! What became of each frame.

/// Declares [`WireStats`] and [`Outcome`] together, so that neither can have what the other lacks.
macro_rules! wire_stats {
    (
        outcomes { $($(#[doc = $doc:literal])* $variant:ident => $field:ident,)* }
        notes { $($(#[doc = $note_doc:literal])* $note:ident,)* }
    ) => {
        crate::counters! {
            /// Counts of [`Decoder`](super::Decoder). Every frame ends in exactly one of `segments` and the outcomes:
            /// `frames_in == segments + outcomes()`. The notes at the end tell of things that happened on the way.
            pub struct WireStats {
                /// Frames that came in.
                frames_in,
                /// Frames that held, or completed, a TCP segment.
                segments,
                $($(#[doc = $doc])* $field,)*
                $($(#[doc = $note_doc])* $note,)*
            }
        }

        /// Why a frame gave no segment; each variant is one counter.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Outcome { $($(#[doc = $doc])* $variant,)* }

        impl WireStats {
            /// The counters of which each frame ends in one.
            pub const OUTCOMES: &'static [&'static str] = &["segments", $(stringify!($field),)*];

            /// Frames that gave no segment.
            pub fn outcomes(&self) -> u64 {
                0 $(+ self.$field)*
            }

            pub(super) fn count(&mut self, outcome: Outcome) {
                match outcome { $(Outcome::$variant => self.$field += 1,)* }
            }
        }
    };
}

wire_stats! {
    outcomes {
        /// UDP that is no tunnel we know.
        Udp => udp,
        /// ICMP.
        Icmp => icmp,
        /// ICMPv6.
        Icmpv6 => icmpv6,
        /// SCTP.
        Sctp => sctp,
        /// ESP: encrypted, nothing to see.
        Esp => esp,
        /// Any other protocol over IP.
        OtherIp => other_ip,
        /// ARP and RARP.
        Arp => arp,
        /// ARP with an opcode that is not assigned: heartbeats of bypass TAPs.
        ArpHeartbeat => arp_heartbeat,
        /// LLDP.
        Lldp => lldp,
        /// Spanning tree.
        Stp => stp,
        /// Other IEEE 802.2 frames.
        Llc => llc,
        /// PPPoE discovery.
        PppoeDiscovery => pppoe_discovery,
        /// PPP that carries no IP: LCP, authentication, IPCP, compressed payloads.
        PppOther => ppp_other,
        /// MACsec.
        Macsec => macsec,
        /// The frame with which an F5 capture begins, telling of the device.
        F5FileInfo => f5_file_info,
        /// EtherTypes that are not looked into; heartbeats of inline devices too.
        UnknownEtherType => unknown_ethertype,
        /// IEEE 802.11 frames without data.
        WifiOther => wifi_other,
        /// Encrypted IEEE 802.11 frames.
        WifiProtected => wifi_protected,
        /// Link types that are not known.
        UnknownLink => unknown_link,
        /// Messages of a tunnel's own (GTP echo, pseudowire control channel, GRE keepalive).
        TunnelControl => tunnel_control,
        /// A tunnel with a payload, version or option that is not looked into.
        TunnelUnsupported => tunnel_unsupported,
        /// More tunnels in one another than `WireConfig::max_depth`.
        TooDeep => too_deep,
        /// The capture cut the frame off within a header.
        Truncated => truncated,
        /// A link header that cannot be.
        MalformedLink => malformed_link,
        /// An IP header or extension header that cannot be.
        MalformedIp => malformed_ip,
        /// A tunnel header that cannot be.
        MalformedTunnel => malformed_tunnel,
        /// A UDP header that cannot be.
        MalformedUdp => malformed_udp,
        /// A TCP header that cannot be: a data offset below 5 or past the end of the packet.
        MalformedTcp => malformed_tcp,
        /// IP fragments kept until their datagram is whole.
        FragmentHeld => fragments_held,
        /// IP fragments that brought nothing new.
        FragmentDuplicate => fragments_duplicate,
        /// IP fragments that cannot be: past 65,535 octets, past the last fragment, not a multiple of 8.
        FragmentMalformed => fragments_malformed,
        /// IP fragments that the capture cut off.
        FragmentTruncated => fragments_truncated,
        /// IP fragments dropped for a limit (`WireConfig::fragment_*`).
        FragmentLimit => fragments_over_limit,
    }
    notes {
        /// Datagrams put together from fragments.
        datagrams_reassembled,
        /// Datagrams given up: older than `WireConfig::fragment_age`.
        datagrams_expired,
        /// Datagrams given up for newer ones: `WireConfig::fragment_datagrams` or `fragment_bytes` was reached.
        datagrams_evicted,
        /// Fragments that overlap what was there with other content: the first copy won.
        fragment_conflicts,
        /// Segments of which the capture lacks the end.
        segments_cut,
        /// Frames with an F5 Ethernet trailer.
        f5_trailers,
        /// F5 Ethernet trailers with a part that cannot be.
        f5_malformed,
        /// Parts of F5 Ethernet trailers of a kind or version that is not known.
        f5_unknown,
        /// Secrets learnt from F5 Ethernet trailers, repetitions not counted.
        f5_keys,
        /// Flows whose half-known secrets were forgotten: `WireConfig::f5_flows` was reached.
        f5_flows_evicted,
    }
}
