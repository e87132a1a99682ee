//! Cipher suites by their number in the IANA registry.

/// A cipher suite as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CipherSuite(pub u16);

impl CipherSuite {
    /// The name in the IANA registry; `None` for a number that is not there.
    pub fn name(self) -> Option<&'static str> {
        match self.0 {
            0x1301 => Some("TLS_AES_128_GCM_SHA256"),
            _ => None,
        }
    }
}
