//! Expectations come from RFC 8448 (TLS 1.3), from the vectors that were posted to the TLS working group's list (TLS 1.2,
//! <https://mailarchive.ietf.org/arch/msg/tls/fzVCzk-z3FShgGJ6DOXqM1ydxms/>), and from `openssl kdf ... TLS1-PRF` of OpenSSL 3.0
//! (`-kdfopt hexsecret:... -kdfopt hexseed:<label><seeds>`); for SSL 3.0 from a few lines of Python's hashlib.

use super::*;
use crate::tls::CipherSuite;
use crate::tls::testing::hex;

const TLS_1_0: ProtocolVersion = ProtocolVersion::TLS_1_0;
const TLS_1_2: ProtocolVersion = ProtocolVersion::TLS_1_2;

/// 00 01 02 ... and 80 81 82 ...
fn randoms() -> ([u8; 32], [u8; 32]) {
    (std::array::from_fn(|i| i as u8), std::array::from_fn(|i| 0x80 + i as u8))
}

/// 03 03, then multiples of 7.
fn premaster() -> Vec<u8> {
    [3, 3].into_iter().chain((0..46u32).map(|i| (i * 7) as u8)).collect()
}

/// Multiples of 5.
fn master() -> [u8; 48] {
    std::array::from_fn(|i| (i * 5) as u8)
}

#[test]
fn tls12_prf_gives_the_published_vectors() {
    let check = |hash, secret: &str, seed: &str, expected: &str| {
        let expected = hex(expected);
        let mut out = vec![0; expected.len()];
        derive(TLS_1_2, hash, &hex(secret), b"test label", [&hex(seed), &[]], &mut out);
        assert_eq!(out, expected);
    };
    check(
        HashAlgorithm::Sha256,
        "9bbe436ba940f017b17652849a71db35",
        "a0ba9f936cda311827a6f796ffd5198c",
        "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a6b301791e90d35c9c9a46b4e14baf9af
         0fa022f7077def17abfd3797c0564bab4fbc91666e9def9b97fce34f796789baa48082d122ee42c5a72e5a5110fff701
         87347b66",
    );
    check(
        HashAlgorithm::Sha384,
        "b80b733d6ceefcdc71566ea48e5567df",
        "cd665cf6a8447dd6ff8b27555edb7465",
        "7b0c18e9ced410ed1804f2cfa34a336a1c14dffb4900bb5fd7942107e81c83cde9ca0faa60be9fe34f82b1233c9146a0
         e534cb400fed2700884f9dc236f80edd8bfa961144c9e8d792eca722a7b32fc3d416d473ebc2c5fd4abfdad05d918425
         9b5bf8cd4d90fa0d31e2dec479e4f1a26066f2eea9a69236a3e52655c9e9aee691c8f3a26854308d5eaa3be85e099070
         3d73e56f",
    );
}

#[test]
fn master_secrets_are_those_of_openssl() {
    let (client, server) = randoms();
    // TLS 1.0 and 1.1 do not look at the suite's hash.
    for (version, prf, expected) in [
        (
            TLS_1_0,
            HashAlgorithm::Sha384,
            "624f0ee54e0b630de53ce574fb05559da77326b630e52a4f3aeb7ac28cbdd6cbaf07fa84639aacda558b9070ee8607fc",
        ),
        (
            ProtocolVersion::TLS_1_1,
            HashAlgorithm::Sha256,
            "624f0ee54e0b630de53ce574fb05559da77326b630e52a4f3aeb7ac28cbdd6cbaf07fa84639aacda558b9070ee8607fc",
        ),
        (
            TLS_1_2,
            HashAlgorithm::Sha256,
            "ac815182b16790c34bd0f894ecc62dd6b14282edbf328adf587fb177d8a91aadc652f43287053f9a3bfe788787b934d1",
        ),
        (
            TLS_1_2,
            HashAlgorithm::Sha384,
            "b026bfaef6506ece11bdb753c3b30064c1980ceca1d4959aa5016964c2e6ad0f04be99c20bad5c7cf688a1384db4081c",
        ),
    ] {
        assert_eq!(master_secret(version, prf, &premaster(), &client, &server).to_vec(), hex(expected), "{version:?}");
    }
}

#[test]
fn premaster_secrets_may_be_odd_or_longer_than_a_hash_block() {
    let (client, server) = randoms();
    for (version, premaster, expected) in [
        (
            TLS_1_0,
            vec![0xAB; 33],
            "9082e639b59af55ae67a90b8b58954dc9459676897878d49fcb1ccb1e2a56039060f2d6adc6e2ab5fc83aa4d16505a4f",
        ),
        (
            TLS_1_0,
            vec![0xCD; 256],
            "ca89e02f2043919937fb63b22e86914b0345df981dc7174b9ad4f69e6f4929a6806b0f32a52fea435978db30966f2c57",
        ),
        (
            TLS_1_2,
            vec![0xCD; 256],
            "1ec82b79071fdb8327eb92a955904b7bcde524f4c5b101295b338d4cc25820c7ba198e645f226c8c28e1fddbfb43116b",
        ),
    ] {
        let master = master_secret(version, HashAlgorithm::Sha256, &premaster, &client, &server);
        assert_eq!(master.to_vec(), hex(expected), "{version:?}");
    }
}

#[test]
fn extended_master_secrets_are_those_of_openssl() {
    // The seed that OpenSSL was given is both randoms; any octets do for a session hash.
    let (client, server) = randoms();
    let session_hash = [client, server].concat();
    for (version, prf, expected) in [
        (
            TLS_1_0,
            HashAlgorithm::Sha256,
            "1629b6bfeabde1df3e3eb5dfe925c285bad88665462d3df168bc7225cb2e4cfad6ee142daae6d057714941b03db63ba5",
        ),
        (
            TLS_1_2,
            HashAlgorithm::Sha256,
            "23a8046695a43cccd2f8e284230f057185011579454730313277af2f05290cb693bfcc2976981865ab0fceb88f510810",
        ),
        (
            TLS_1_2,
            HashAlgorithm::Sha384,
            "bcfe33ca71df0b713f853d5d9f98d9daffa817d5b1353be68e20d8548f18269cf4d785c39c05fb90fc90d33ad5b4fc86",
        ),
    ] {
        let master = extended_master_secret(version, prf, &premaster(), &session_hash);
        assert_eq!(master.to_vec(), hex(expected), "{version:?}");
    }
}

#[test]
fn the_key_block_is_cut_in_the_order_of_the_rfc() {
    let (client, server) = randoms();
    let cut = |version, suite: u16, block: &str| {
        let params = CipherSuite(suite).params().unwrap();
        let (from_client, from_server) = key_block(version, params, &master(), &client, &server);
        let (mac, key, iv) = (params.mac_len(), params.cipher.key_len(), params.cipher.iv_len(version));
        let block = hex(block);
        let mut rest = block.as_slice();
        let mut take = |len: usize| {
            let (part, left) = rest.split_at(len);
            rest = left;
            part.to_vec()
        };
        assert_eq!((take(mac), take(mac)), (from_client.mac[..mac].to_vec(), from_server.mac[..mac].to_vec()));
        assert_eq!((take(key), take(key)), (from_client.key[..key].to_vec(), from_server.key[..key].to_vec()));
        assert_eq!((take(iv), take(iv)), (from_client.iv[..iv].to_vec(), from_server.iv[..iv].to_vec()));
        2 * (mac + key + iv)
    };
    let tls10 = "819d4449e8379f0c684a5b8796fea9eb9ceb495736f21d5761f2444022e6a3930d2827ce3109289ccf98018b52b447fd
        56abb272fcc5a3e827fb131b5609dce983589126390f33a7aa10f8846aff19d6c17eff14ac40eda78349b4f99aa56557
        ce5a11619632702ba22e5acf9f44bcd151f0503e18a34ffb604f56f70598cdb8cd09d45fefdbe0359d63e647c198437d
        b7b6a70899588e5c571577d9a9ec16cb45d72c77ed66cc6dcd3c732b6d69c5f8e3a0736479076b6fc21034e9dc234a8b";
    let sha256 = "e3b367d1b3783934fb848b3f2013de41a9c6c6ec4458daa42991f96e5b7b107af90dea3a75d508988741d8205c9fe107
        bd3088d4dfeb5d3723f2f9d73105cb76523c5765f04e7e5266f2baf4ce34d2d764741382fa1f90db5b77e18c720bd33f
        3a047d8cf7e3216919c7a60152ba8803b0514b3b39f78f12095d08889defe642e6afaf3464017da473bcccd5392bb4cb
        f432d23a57c7937ba8fb7253b8178967808bab1860b16f55ed307bc5592d12c10dd702bc6c120c42b08fbc5b1a1f51b7";
    let sha384 = "6a8de4b2780af3059a6ccafe65e46ed3cf1574903d1a6213c321efc3973a1d849a5d61c566c307180a4535364e07ec77
        2733319a6bae9dba1cb255b6873f13c716e560159113d95f750aec8764c3914171f5b6d8770e48c95fcbb5cdb2da6f3a
        98ee624b52ca8cead8472363636f83242ad1d1efdd15ff115f51ca80a41923cec77244d586cccd2ba4b04438dda73bdc
        29b5135049d4c1b19ab99e26d1ffa43da39c59f56472f8ee4139a649702e909dcac1e8ed93ca9288ef266f4014ade427";
    assert_eq!(cut(TLS_1_0, 0x0035, tls10), 136, "AES-256-CBC, SHA-1: RFC 2246's IV");
    assert_eq!(cut(ProtocolVersion::TLS_1_1, 0x0035, tls10), 104, "no IV since TLS 1.1");
    assert_eq!(cut(TLS_1_0, 0x000A, tls10), 104, "3DES, RFC 2246 section 6.3");
    assert_eq!(cut(TLS_1_2, 0x003D, sha256), 128, "AES-256-CBC, SHA-256");
    assert_eq!(cut(TLS_1_2, 0xC02F, sha256), 40, "AES-128-GCM, RFC 5288");
    assert_eq!(cut(TLS_1_2, 0xCCA8, sha256), 88, "ChaCha20, RFC 7905");
    assert_eq!(cut(TLS_1_2, 0xC028, sha384), 160, "AES-256-CBC, SHA-384");
    assert_eq!(cut(TLS_1_2, 0xC030, sha384), 72, "AES-256-GCM");
}

#[test]
fn ssl3_derives_as_rfc_6101_says() {
    let (client, server) = randoms();
    let master = master_secret(ProtocolVersion::SSL_3_0, HashAlgorithm::Sha256, &premaster(), &client, &server);
    assert_eq!(master.to_vec(), hex(SSL3_MASTER));
    let params = CipherSuite(0x0035).params().unwrap();
    let (from_client, from_server) = key_block(ProtocolVersion::SSL_3_0, params, &self::master(), &client, &server);
    let block = [
        &from_client.mac[..20],
        &from_server.mac[..20],
        &from_client.key,
        &from_server.key,
        &from_client.iv,
        &from_server.iv,
    ]
    .concat();
    assert_eq!(block, hex(SSL3_BLOCK));
}

/// RFC 8448 sections 3, 4 and 5: secret, key, IV.
#[test]
fn traffic_keys_are_those_of_rfc_8448() {
    let params = CipherSuite(0x1301).params().unwrap();
    for (name, secret, key, iv) in [
        (
            "3, server handshake",
            "b67b7d690cc16c4e75e54213cb2d37b4e9c912bcded9105d42befd59d391ad38",
            "3fce516009c21727d0f2e4e86ee403bc",
            "5d313eb2671276ee13000b30",
        ),
        (
            "3, client handshake",
            "b3eddb126e067f35a780b3abf45e2d8f3b1a950738f52e9600746a0e27a55a21",
            "dbfaa693d1762c5b666af5d950258d01",
            "5bd3c71b836e0b76bb73265f",
        ),
        (
            "3, server application",
            "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643",
            "9f02283b6c9c07efc26bb9f2ac92e356",
            "cf782b88dd83549aadf1e984",
        ),
        (
            "3, client application",
            "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5",
            "17422dda596ed5d9acd890e3c63f5051",
            "5b78923dee08579033e523d9",
        ),
        (
            "4, client early",
            "3fbbe6a60deb66c30a32795aba0eff7eaa10105586e7be5c09678d63b6caab62",
            "920205a5b7bf2115e6fc5c2942834f54",
            "6d475f0993c8e564610db2b9",
        ),
        (
            "5, server handshake",
            "3403e781e2af7b6508da28574f6e95a1abf162de83a97927c37672a4a0cef8a1",
            "4646bfac1712c426cd78d8a24a8a6f6b",
            "c7d395c08d62f297d13768ea",
        ),
    ] {
        let keys = traffic_keys(params, &hex(secret)).unwrap();
        assert_eq!((keys.key[..16].to_vec(), keys.iv[..12].to_vec()), (hex(key), hex(iv)), "{name}");
    }
}

/// The label and its length as RFC 8446 section 7.1 writes them, with ring's HKDF as the other implementation.
#[test]
fn the_next_traffic_secret_is_what_another_hkdf_gives() {
    struct Len(usize);
    impl ring::hkdf::KeyType for Len {
        fn len(&self) -> usize {
            self.0
        }
    }
    for (suite, algorithm, len) in [
        (0x1301, ring::hkdf::HKDF_SHA256, 32u8),
        (0x1302, ring::hkdf::HKDF_SHA384, 48),
        (0x1303, ring::hkdf::HKDF_SHA256, 32),
    ] {
        let secret: Vec<u8> = (0..len).map(|i| i ^ 0x5A).collect();
        let info = [&[0, len, 17], b"tls13 traffic upd".as_slice(), &[0]].concat();
        let mut expected = vec![0; usize::from(len)];
        let prk = ring::hkdf::Prk::new_less_safe(algorithm, &secret);
        prk.expand(&[&info], Len(expected.len())).unwrap().fill(&mut expected).unwrap();
        let next = next_traffic_secret(CipherSuite(suite).params().unwrap(), &secret).unwrap();
        assert_eq!(next.as_slice(), expected);
    }
}

#[test]
fn a_secret_of_the_wrong_length_or_suite_is_refused() {
    let params = |suite| CipherSuite(suite).params().unwrap();
    for len in [0, 31, 33, 48] {
        assert_eq!(traffic_keys(params(0x1301), &vec![1; len]).err(), Some(TlsError::SecretLength), "{len}");
        assert_eq!(next_traffic_secret(params(0x1301), &vec![1; len]).err(), Some(TlsError::SecretLength), "{len}");
    }
    assert_eq!(traffic_keys(params(0x1302), &[1; 32]).err(), Some(TlsError::SecretLength));
    assert_eq!(traffic_keys(params(0xC02F), &[1; 32]).err(), Some(TlsError::Unsupported));
}

/// FIPS 180's example "abc" for each hash, the message cut before and after the hash is known.
#[test]
fn the_transcript_hash_does_not_depend_on_when_the_hash_is_known() {
    for (version, prf, expected) in [
        (TLS_1_2, HashAlgorithm::Sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            TLS_1_2,
            HashAlgorithm::Sha384,
            "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
        ),
        (TLS_1_0, HashAlgorithm::Sha256, "900150983cd24fb0d6963f7d28e17f72 a9993e364706816aba3e25717850c26c9cd0d89d"),
    ] {
        for known_after in 0..=3 {
            let mut transcript = TranscriptHash::new();
            transcript.update(&b"abc"[..known_after]);
            assert!(transcript.current().is_none());
            transcript.choose(version, prf).unwrap();
            transcript.update(&b"abc"[known_after..]);
            assert_eq!(transcript.current().unwrap().as_slice(), hex(expected));
            assert_eq!(transcript.current().unwrap().as_slice(), hex(expected), "reading it changes nothing");
        }
    }
}

const SSL3_MASTER: &str =
    "bcb7d9de0e658ecaaf9852ad50413890da012dd42aa692685399b2bf657d9c63d3aae5106530c956d0b422cbd66f3b08";
const SSL3_BLOCK: &str =
    "718f66a8bb7ee13c24f8efcf680c55e5eb70ebbda76ef941b7a3757a5ba121a911cc017e1459de55f9204091dcf73453
    46a07d0343d407bf186b53555893526b7a9ccb289763dcf93ec0064c5c922807dcce700dcf3d93ed73106bda59b41fd2
    e635308bfc6a6cda03586f6700686a955dd282f7ccd38a21a8190344e6be931bfa6aad78fad10439";
