//! Cipher suites by their number in the IANA registry, and what the number says about records.
//!
//! The key exchange does not matter to who already has the secret, so only the words after `_WITH_` are read:
//!
//! ```text
//! TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384
//!                    |       |   MAC, and PRF of TLS 1.2
//!                    +-------+-- bulk cipher
//! ```
//!
//! Not supported: export suites, GOST, SEED, AEGIS, integrity-only TLS 1.3 (RFC 9150), and ChaCha20-Poly1305 as the drafts
//! before RFC 7905 had it.

mod registry;

use super::cipher::{BulkCipher, HashAlgorithm};

/// A cipher suite as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CipherSuite(pub u16);

/// What a suite says about keys and records: 4 octets, to be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuiteParams {
    /// What protects the content.
    pub cipher: BulkCipher,
    /// What authenticates it; `None` for an AEAD.
    pub mac: Option<HashAlgorithm>,
    /// The hash of the TLS 1.2 PRF or of the TLS 1.3 key schedule.
    pub prf: HashAlgorithm,
    /// Whether the suite belongs to TLS 1.3, and to it alone.
    pub tls13: bool,
    /// The draft of TLS 1.3 that the peers speak; 0 for the RFC.
    pub draft: u8,
}

impl CipherSuite {
    /// The name in the IANA registry; `None` for a number that is not there.
    pub fn name(self) -> Option<&'static str> {
        let index = registry::REGISTRY.binary_search_by_key(&self.0, |&(number, _)| number).ok()?;
        registry::REGISTRY.get(index).map(|&(_, name)| name)
    }

    /// How its records are made; `None` where they cannot be opened.
    pub fn params(self) -> Option<SuiteParams> {
        use BulkCipher as B;
        use HashAlgorithm::{Md5, Sha1, Sha256, Sha384, Sm3};

        let name = self.name()?;
        let Some((key_exchange, protection)) = name.split_once("_WITH_") else {
            return match name {
                "TLS_AES_128_GCM_SHA256" => Some(SuiteParams::tls13(B::Aes128Gcm, Sha256)),
                "TLS_AES_256_GCM_SHA384" => Some(SuiteParams::tls13(B::Aes256Gcm, Sha384)),
                "TLS_CHACHA20_POLY1305_SHA256" => Some(SuiteParams::tls13(B::ChaCha20Poly1305, Sha256)),
                "TLS_AES_128_CCM_SHA256" => Some(SuiteParams::tls13(B::Aes128Ccm, Sha256)),
                "TLS_AES_128_CCM_8_SHA256" => Some(SuiteParams::tls13(B::Aes128Ccm8, Sha256)),
                "TLS_SM4_GCM_SM3" => Some(SuiteParams::tls13(B::Sm4Gcm, Sm3)),
                "TLS_SM4_CCM_SM3" => Some(SuiteParams::tls13(B::Sm4Ccm, Sm3)),
                _ => None,
            };
        };
        if key_exchange.contains("EXPORT") {
            return None;
        }
        Some(match protection {
            "NULL_MD5" => SuiteParams::with_mac(B::Null, Md5),
            "NULL_SHA" => SuiteParams::with_mac(B::Null, Sha1),
            "NULL_SHA256" => SuiteParams::with_mac(B::Null, Sha256),
            "NULL_SHA384" => SuiteParams::with_mac(B::Null, Sha384),
            "RC4_128_MD5" => SuiteParams::with_mac(B::Rc4, Md5),
            "RC4_128_SHA" => SuiteParams::with_mac(B::Rc4, Sha1),
            "DES_CBC_MD5" => SuiteParams::with_mac(B::DesCbc, Md5),
            "DES_CBC_SHA" => SuiteParams::with_mac(B::DesCbc, Sha1),
            "3DES_EDE_CBC_MD5" => SuiteParams::with_mac(B::TripleDesCbc, Md5),
            "3DES_EDE_CBC_SHA" => SuiteParams::with_mac(B::TripleDesCbc, Sha1),
            "IDEA_CBC_MD5" => SuiteParams::with_mac(B::IdeaCbc, Md5),
            "IDEA_CBC_SHA" => SuiteParams::with_mac(B::IdeaCbc, Sha1),
            "AES_128_CBC_SHA" => SuiteParams::with_mac(B::Aes128Cbc, Sha1),
            "AES_256_CBC_SHA" => SuiteParams::with_mac(B::Aes256Cbc, Sha1),
            "AES_128_CBC_SHA256" => SuiteParams::with_mac(B::Aes128Cbc, Sha256),
            "AES_256_CBC_SHA256" => SuiteParams::with_mac(B::Aes256Cbc, Sha256),
            "AES_256_CBC_SHA384" => SuiteParams::with_mac(B::Aes256Cbc, Sha384),
            "CAMELLIA_128_CBC_SHA" => SuiteParams::with_mac(B::Camellia128Cbc, Sha1),
            "CAMELLIA_256_CBC_SHA" => SuiteParams::with_mac(B::Camellia256Cbc, Sha1),
            "CAMELLIA_128_CBC_SHA256" => SuiteParams::with_mac(B::Camellia128Cbc, Sha256),
            "CAMELLIA_256_CBC_SHA256" => SuiteParams::with_mac(B::Camellia256Cbc, Sha256),
            "CAMELLIA_256_CBC_SHA384" => SuiteParams::with_mac(B::Camellia256Cbc, Sha384),
            "ARIA_128_CBC_SHA256" => SuiteParams::with_mac(B::Aria128Cbc, Sha256),
            "ARIA_256_CBC_SHA384" => SuiteParams::with_mac(B::Aria256Cbc, Sha384),
            "AES_128_GCM_SHA256" => SuiteParams::aead(B::Aes128Gcm, Sha256),
            "AES_256_GCM_SHA384" => SuiteParams::aead(B::Aes256Gcm, Sha384),
            "CAMELLIA_128_GCM_SHA256" => SuiteParams::aead(B::Camellia128Gcm, Sha256),
            "CAMELLIA_256_GCM_SHA384" => SuiteParams::aead(B::Camellia256Gcm, Sha384),
            "ARIA_128_GCM_SHA256" => SuiteParams::aead(B::Aria128Gcm, Sha256),
            "ARIA_256_GCM_SHA384" => SuiteParams::aead(B::Aria256Gcm, Sha384),
            "CHACHA20_POLY1305_SHA256" => SuiteParams::aead(B::ChaCha20Poly1305, Sha256),
            "AES_128_CCM" | "AES_128_CCM_SHA256" => SuiteParams::aead(B::Aes128Ccm, Sha256),
            "AES_128_CCM_8" | "AES_128_CCM_8_SHA256" => SuiteParams::aead(B::Aes128Ccm8, Sha256),
            "AES_256_CCM" => SuiteParams::aead(B::Aes256Ccm, Sha256),
            "AES_256_CCM_SHA384" => SuiteParams::aead(B::Aes256Ccm, Sha384),
            "AES_256_CCM_8" => SuiteParams::aead(B::Aes256Ccm8, Sha256),
            _ => return None,
        })
    }
}

impl SuiteParams {
    const fn tls13(cipher: BulkCipher, hash: HashAlgorithm) -> Self {
        Self { cipher, mac: None, prf: hash, tls13: true, draft: 0 }
    }

    const fn aead(cipher: BulkCipher, prf: HashAlgorithm) -> Self {
        Self { cipher, mac: None, prf, tls13: false, draft: 0 }
    }

    /// TLS 1.2's PRF is SHA-256's unless the suite's hash is stronger (RFC 5246 section 5, RFC 5289).
    const fn with_mac(cipher: BulkCipher, mac: HashAlgorithm) -> Self {
        let prf = match mac {
            HashAlgorithm::Sha384 => HashAlgorithm::Sha384,
            _ => HashAlgorithm::Sha256,
        };
        Self { cipher, mac: Some(mac), prf, tls13: false, draft: 0 }
    }

    /// Octets of MAC in a record.
    pub const fn mac_len(self) -> usize {
        match self.mac {
            Some(mac) => mac.output_len(),
            None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_is_sorted_and_every_name_is_found() {
        assert!(registry::REGISTRY.is_sorted_by(|a, b| a.0 < b.0));
        for &(number, name) in registry::REGISTRY {
            assert_eq!(CipherSuite(number).name(), Some(name));
        }
        assert_eq!(CipherSuite(0x2A2A).name(), None);
    }

    #[test]
    fn names_and_parameters_are_those_of_the_rfcs() {
        // RFC 5246 A.5, RFC 5288, RFC 5289, RFC 6655, RFC 7905, RFC 8446 B.4: number, name, key, MAC, PRF.
        let suites = [
            (0x002F, "TLS_RSA_WITH_AES_128_CBC_SHA", 16, 20, HashAlgorithm::Sha256),
            (0x003D, "TLS_RSA_WITH_AES_256_CBC_SHA256", 32, 32, HashAlgorithm::Sha256),
            (0xC028, "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384", 32, 48, HashAlgorithm::Sha384),
            (0x009D, "TLS_RSA_WITH_AES_256_GCM_SHA384", 32, 0, HashAlgorithm::Sha384),
            (0xC0A0, "TLS_RSA_WITH_AES_128_CCM_8", 16, 0, HashAlgorithm::Sha256),
            (0xCCA8, "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", 32, 0, HashAlgorithm::Sha256),
            (0x000A, "TLS_RSA_WITH_3DES_EDE_CBC_SHA", 24, 20, HashAlgorithm::Sha256),
            (0x0005, "TLS_RSA_WITH_RC4_128_SHA", 16, 20, HashAlgorithm::Sha256),
            (0xC03B, "TLS_ECDHE_PSK_WITH_NULL_SHA384", 0, 48, HashAlgorithm::Sha384),
            (0x1302, "TLS_AES_256_GCM_SHA384", 32, 0, HashAlgorithm::Sha384),
        ];
        for (number, name, key_len, mac_len, prf) in suites {
            let suite = CipherSuite(number);
            assert_eq!(suite.name(), Some(name));
            let params = suite.params().expect(name);
            assert_eq!((params.cipher.key_len(), params.mac_len(), params.prf), (key_len, mac_len, prf), "{name}");
            assert_eq!(params.tls13, number >> 8 == 0x13, "{name}");
        }
    }

    #[test]
    fn what_is_not_supported_has_a_name_and_no_parameters() {
        for (number, name) in [
            (0x0003, "TLS_RSA_EXPORT_WITH_RC4_40_MD5"),
            (0x0008, "TLS_RSA_EXPORT_WITH_DES40_CBC_SHA"),
            (0x0000, "TLS_NULL_WITH_NULL_NULL"),
            (0x0096, "TLS_RSA_WITH_SEED_CBC_SHA"),
            (0xC0B4, "TLS_SHA256_SHA256"),
            (0x00FF, "TLS_EMPTY_RENEGOTIATION_INFO_SCSV"),
        ] {
            assert_eq!((CipherSuite(number).name(), CipherSuite(number).params()), (Some(name), None));
        }
    }

    /// Every name is either read or names something that the head of this module says is left out.
    #[test]
    fn no_name_of_the_registry_is_overlooked() {
        let out = ["EXPORT", "GOST", "SEED", "AEGIS", "SCSV", "SHA256_SHA256", "SHA384_SHA384", "NULL_NULL"];
        for &(number, name) in registry::REGISTRY {
            let left_out = out.iter().any(|word| name.contains(word));
            assert_eq!(CipherSuite(number).params().is_none(), left_out, "{name}");
        }
    }
}
