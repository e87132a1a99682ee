//! Vectors: RFC 8448 (TLS 1.3), and the PRF vectors that were posted to the TLS working group's list
//! (<https://mailarchive.ietf.org/arch/msg/tls/fzVCzk-z3FShgGJ6DOXqM1ydxms/>).

use super::*;
use crate::tls::CipherSuite;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16).unwrap()).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

#[test]
fn tls12_prf_with_sha256_gives_the_published_vector() {
    let expected =
        hex("e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a6b301791e90d35c9c9a46b4e14baf9af
        0fa022f7077def17abfd3797c0564bab4fbc91666e9def9b97fce34f796789baa48082d122ee42c5a72e5a5110fff70187347b66");
    let mut out = vec![0; expected.len()];
    let secret = hex("9bbe436ba940f017b17652849a71db35");
    let seed = hex("a0ba9f936cda311827a6f796ffd5198c");
    derive(ProtocolVersion::TLS_1_2, HashAlgorithm::Sha256, &secret, b"test label", [&seed, &[]], &mut out);
    assert_eq!(out, expected);
}

#[test]
fn rfc8448_server_handshake_keys() {
    let params = CipherSuite(0x1301).params().unwrap();
    let secret = hex("b67b7d690cc16c4e75e54213cb2d37b4e9c912bcded9105d42befd59d391ad38");
    let keys = traffic_keys(params, &secret).unwrap();
    assert_eq!(keys.key[..16], hex("3fce516009c21727d0f2e4e86ee403bc"));
    assert_eq!(keys.iv[..12], hex("5d313eb2671276ee13000b30"));
}
