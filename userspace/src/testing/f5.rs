//! F5 Ethernet trailers, as `tcpdump` on a BIG-IP writes them: both forms, and what can stand around them.

/// A trailer in the form of 14.0 and later.
///
/// ```
/// use plaintap::testing::f5::TlvTrailer;
/// let trailer = TlvTrailer::default().low(3, true, "/Common/vs").medium(7, 8).build();
/// assert_eq!(trailer[..4], [0xf5, 0xde, 0xb0, 0xf5]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct TlvTrailer {
    tlvs: Vec<u8>,
}

impl TlvTrailer {
    /// Low noise, version 2 or 3: one name.
    #[must_use]
    pub fn low(self, version: u16, ingress: bool, virtual_server: &str) -> Self {
        let mut data = vec![u8::from(ingress), 0, 1, virtual_server.len() as u8];
        data.extend(virtual_server.as_bytes());
        self.tlv(1, 1, version, &data)
    }

    /// Low noise, version 4: names with their types (0 virtual server, 1 port, 2 trunk).
    #[must_use]
    pub fn low_named(self, ingress: bool, names: &[(u8, &str)]) -> Self {
        let mut list = Vec::new();
        for (kind, name) in names {
            list.extend([*kind, name.len() as u8]);
            list.extend(name.as_bytes());
        }
        let mut data = vec![u8::from(ingress), 0, 1, list.len() as u8];
        data.extend(list);
        self.tlv(1, 1, 4, &data)
    }

    /// Medium noise, version 4: the flow and its peer.
    #[must_use]
    pub fn medium(self, flow: u64, peer: u64) -> Self {
        let mut data = [flow.to_be_bytes(), peer.to_be_bytes()].concat();
        data.extend([0; 4 + 4 + 1 + 1 + 4 + 1 + 1]);
        self.tlv(1, 2, 4, &data)
    }

    /// High noise, version 1: the peer's connection, addresses as they stand in the trailer.
    #[must_use]
    pub fn high(self, vlan: u16, remote: [u8; 16], local: [u8; 16], ports: [u16; 2]) -> Self {
        self.tlv(1, 3, 1, &high(vlan, remote, local, ports))
    }

    /// TLS up to 1.2. Zeros: not known yet.
    #[must_use]
    pub fn tls12(self, master: &[u8; 48], client_random: &[u8; 32]) -> Self {
        let mut data = master.to_vec();
        data.extend(client_random);
        data.extend([0x5e; 32]);
        self.tlv(4, 0, 0, &data)
    }

    /// TLS 1.3: the client's and the server's handshake secret, then their application secrets; all of one length. With the
    /// early secret it is version 1, without version 0.
    #[must_use]
    pub fn tls13(self, early: Option<&[u8]>, secrets: [&[u8]; 4], client_random: &[u8; 32]) -> Self {
        let mut data = vec![secrets[0].len() as u8];
        for secret in early.into_iter().chain(secrets) {
            data.extend(secret);
            data.extend(vec![0; 64 - secret.len()]);
        }
        data.extend(client_random);
        data.extend([0x5e; 32]);
        self.tlv(4, 2, u16::from(early.is_some()), &data)
    }

    /// Any TLV.
    #[must_use]
    pub fn tlv(mut self, provider: u16, kind: u16, version: u16, data: &[u8]) -> Self {
        for word in [provider, kind, data.len() as u16 + 8, version] {
            self.tlvs.extend(word.to_be_bytes());
        }
        self.tlvs.extend(data);
        self
    }

    /// The trailer's octets.
    pub fn build(&self) -> Vec<u8> {
        let mut trailer = vec![0xf5, 0xde, 0xb0, 0xf5];
        trailer.extend((self.tlvs.len() as u16 + 8).to_be_bytes());
        trailer.extend(1_u16.to_be_bytes());
        trailer.extend(&self.tlvs);
        trailer
    }
}

/// A trailer in the form up to 13.x; each is of one release.
#[derive(Clone, Debug, Default)]
pub struct OldTrailer(Vec<u8>);

impl OldTrailer {
    /// Low noise of 9.4: flow identifiers of 32 bits, a name of 16 octets.
    #[must_use]
    pub fn low_9(self, ingress: bool, flow: u32, peer: u32, name: &str) -> Self {
        let mut data = vec![u8::from(ingress), 0, 1];
        data.extend([flow.to_be_bytes(), peer.to_be_bytes(), [0; 4]].concat());
        data.push(0);
        data.extend(padded(name));
        self.part(1, 0, &data)
    }

    /// Low noise of 10: a name of 16 octets.
    #[must_use]
    pub fn low_10(self, ingress: bool, name: &str) -> Self {
        let mut data = vec![u8::from(ingress), 0, 1];
        data.extend(padded(name));
        self.part(1, 0, &data)
    }

    /// Low noise since 11.2: a name of any length.
    #[must_use]
    pub fn low(self, ingress: bool, name: &str) -> Self {
        let mut data = vec![u8::from(ingress), 0, 1, name.len() as u8];
        data.extend(name.as_bytes());
        self.part(1, 1, &data)
    }

    /// Medium noise of 10: identifiers of 32 bits.
    #[must_use]
    pub fn medium_10(self, flow: u32, peer: u32) -> Self {
        let mut data = [flow.to_be_bytes(), peer.to_be_bytes()].concat();
        data.extend([0; 4 + 1 + 1 + 4]);
        self.part(2, 0, &data)
    }

    /// Medium noise with identifiers of 64 bits, version 0 to 3.
    #[must_use]
    pub fn medium(self, version: u8, flow: u64, peer: u64) -> Self {
        let mut data = [flow.to_be_bytes(), peer.to_be_bytes()].concat();
        data.extend([0; 4 + 1 + 1 + 4]);
        data.extend(match version {
            0 => &[][..],
            1 => &[0],    // length of the reset's cause
            2 => &[0, 0], // and priority
            _ => &[0; 6], // and more flags
        });
        self.part(2, version, &data)
    }

    /// High noise: the peer's connection.
    #[must_use]
    pub fn high(self, vlan: u16, remote: [u8; 16], local: [u8; 16], ports: [u16; 2]) -> Self {
        self.part(3, 0, &high(vlan, remote, local, ports))
    }

    /// Any part.
    #[must_use]
    pub fn part(mut self, kind: u8, version: u8, data: &[u8]) -> Self {
        self.0.extend([kind, data.len() as u8 + 1, version]);
        self.0.extend(data);
        self
    }

    /// The trailer's octets.
    pub fn build(&self) -> Vec<u8> {
        self.0.clone()
    }
}

/// What stands around a trailer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Around {
    /// Zeros up to this length of the frame come first.
    pub pad_to: usize,
    /// Then an FCS.
    pub fcs_before: Option<[u8; 4]>,
    /// Another FCS comes last.
    pub fcs_after: Option<[u8; 4]>,
}

impl Around {
    /// `frame` with `trailer` behind it.
    pub fn append(&self, frame: &[u8], trailer: &[u8]) -> Vec<u8> {
        let mut frame = frame.to_vec();
        frame.resize(frame.len().max(self.pad_to), 0);
        frame.extend(self.fcs_before.iter().flatten());
        frame.extend(trailer);
        frame.extend(self.fcs_after.iter().flatten());
        frame
    }
}

fn padded(name: &str) -> [u8; 16] {
    let mut padded = [0; 16];
    padded[..name.len()].copy_from_slice(name.as_bytes());
    padded
}

fn high(vlan: u16, remote: [u8; 16], local: [u8; 16], ports: [u16; 2]) -> Vec<u8> {
    let mut data = vec![6];
    data.extend(vlan.to_be_bytes());
    data.extend(remote);
    data.extend(local);
    data.extend(ports.map(u16::to_be_bytes).concat());
    data
}
