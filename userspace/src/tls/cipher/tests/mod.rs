//! The layouts of records, by records made here from the RFCs' figures; the suites one by one are proved against real libraries
//! in `tests/cipher_suites.rs`.

mod rfc8448;

use cbc::cipher::{Array, BlockModeEncrypt, KeyIvInit};

use super::*;
use crate::tls::CipherSuite;
use crate::tls::testing::hex;

const TLS_1_0: ProtocolVersion = ProtocolVersion::TLS_1_0;
const TLS_1_2: ProtocolVersion = ProtocolVersion::TLS_1_2;
const TLS_1_3: ProtocolVersion = ProtocolVersion::TLS_1_3;

/// AES-128-CBC with SHA-1.
const AES_CBC: CipherSuite = CipherSuite(0x002F);
const RC4: CipherSuite = CipherSuite(0x0005);
const AES_GCM: CipherSuite = CipherSuite(0xC02F);

const MAC: [u8; 20] = [0x11; 20];
const KEY: [u8; 16] = [0x22; 16];
const IV: [u8; 16] = [0x33; 16];

fn opener(version: ProtocolVersion, suite: CipherSuite, encrypt_then_mac: bool) -> Opener {
    Opener::new(version, suite.params().unwrap(), DirectionKeys::new(&MAC, &KEY, &IV), encrypt_then_mac)
}

fn header(version: ProtocolVersion, fragment: &[u8]) -> [u8; 5] {
    let ([major, minor], [high, low]) = (version.0.to_be_bytes(), (fragment.len() as u16).to_be_bytes());
    [23, major, minor, high, low]
}

fn open(opener: &mut Opener, version: ProtocolVersion, seq: u64, fragment: &[u8]) -> Result<Vec<u8>, TlsError> {
    let mut fragment = fragment.to_vec();
    opener.open(seq, header(version, &fragment), &mut fragment).map(|opened| opened.plaintext.to_vec())
}

fn hmac_sha1(seq: u64, version: ProtocolVersion, content: &[u8]) -> Vec<u8> {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &MAC);
    let [_, major, minor, high, low] = header(version, content);
    let message = [&seq.to_be_bytes(), [23, major, minor, high, low].as_slice(), content].concat();
    ring::hmac::sign(&key, &message).as_ref().to_vec()
}

fn encrypt_aes(iv: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let mut data = plaintext.to_vec();
    let (blocks, rest) = Array::slice_as_chunks_mut(&mut data);
    assert!(rest.is_empty());
    cbc::Encryptor::<aes::Aes128>::new(&KEY.into(), iv.try_into().unwrap()).encrypt_blocks(blocks);
    data
}

/// Content, MAC, then `blocks` blocks of padding more than are needed.
fn mac_then_encrypt(iv: &[u8], seq: u64, version: ProtocolVersion, content: &[u8], blocks: usize) -> Vec<u8> {
    let mut plaintext = [content, &hmac_sha1(seq, version, content)].concat();
    let padding = 15 - plaintext.len() % 16 + 16 * blocks;
    plaintext.resize(plaintext.len() + padding + 1, padding as u8);
    encrypt_aes(iv, &plaintext)
}

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + len) as u8).collect()
}

#[test]
fn an_idle_direction_is_small() {
    assert_eq!(size_of::<DirectionKeys>(), 96);
    assert!(size_of::<Opener>() <= 128, "{}", size_of::<Opener>());
}

#[test]
fn debug_says_nothing_of_the_keys() {
    let mut opener = opener(TLS_1_2, AES_GCM, false);
    let _ = open(&mut opener, TLS_1_2, 0, &[0; 64]);
    let text = format!("{opener:?} {:?}", DirectionKeys::new(&MAC, &KEY, &IV));
    assert!(text.contains("<redacted>") && !text.contains("34, 34") && !text.contains("[34"), "{text}");
}

#[test]
fn cbc_with_explicit_iv_opens_at_every_length_and_padding() {
    for version in [ProtocolVersion::TLS_1_1, TLS_1_2] {
        let mut opener = opener(version, AES_CBC, false);
        for len in 0..64 {
            for blocks in [0, 1, 14] {
                let iv = [len as u8; 16];
                let record = [iv.to_vec(), mac_then_encrypt(&iv, 9, version, &content(len), blocks)].concat();
                assert_eq!(open(&mut opener, version, 9, &record), Ok(content(len)), "{len} {blocks}");
                assert_eq!(open(&mut opener, version, 8, &record), Err(TlsError::BadMac));
                assert!(record.len() >= len + opener.overhead());
            }
        }
        assert!(!opener.is_stateful());
    }
}

#[test]
fn cbc_of_tls10_chains_and_goes_on_after_a_loss() {
    let mut opener = opener(TLS_1_0, AES_CBC, false);
    assert!(opener.is_stateful());
    let mut iv = IV.to_vec();
    let records: Vec<Vec<u8>> = (0..6usize)
        .map(|seq| {
            let record = mac_then_encrypt(&iv, seq as u64, TLS_1_0, &content(seq * 20), 0);
            iv = record[record.len() - 16..].to_vec();
            record
        })
        .collect();

    assert_eq!(open(&mut opener, TLS_1_0, 0, &records[0]), Ok(content(0)), "an empty fragment, against BEAST");
    assert_eq!(open(&mut opener, TLS_1_0, 1, &records[1]), Ok(content(20)));
    let mut copy = opener.clone();
    assert!(open(&mut opener, TLS_1_0, 3, &records[3]).is_err(), "without record 2");
    assert_eq!(open(&mut opener, TLS_1_0, 2, &records[2]), Ok(content(40)), "a failure changes nothing");
    opener.trim();
    assert_eq!(open(&mut opener, TLS_1_0, 3, &records[3]), Ok(content(60)), "nor does trimming");
    opener.resume_after(&records[4]);
    assert_eq!(open(&mut opener, TLS_1_0, 5, &records[5]), Ok(content(100)));
    copy.resume_after(&records[4][records[4].len() - 16..]);
    assert_eq!(open(&mut copy, TLS_1_0, 5, &records[5]), Ok(content(100)), "the last block is enough");
}

#[test]
fn encrypt_then_mac_authenticates_the_ciphertext() {
    for version in [TLS_1_0, TLS_1_2] {
        let mut opener = opener(version, AES_CBC, true);
        let mut iv = IV.to_vec();
        for len in 0..64u8 {
            let mut plaintext = content(len.into());
            let padding = 15 - len % 16;
            plaintext.extend(std::iter::repeat_n(padding, usize::from(padding) + 1));
            let ciphertext = encrypt_aes(&iv, &plaintext);
            let mut record = match version {
                TLS_1_0 => ciphertext.clone(),
                _ => [iv, ciphertext.clone()].concat(),
            };
            record.extend(hmac_sha1(len.into(), version, &record));
            assert_eq!(open(&mut opener, version, len.into(), &record), Ok(content(len.into())), "{len}");
            assert!(record.len() >= usize::from(len) + opener.overhead());
            if version == TLS_1_2 {
                record[3] ^= 1;
                assert_eq!(open(&mut opener, version, len.into(), &record), Err(TlsError::BadMac));
            }
            iv = ciphertext[ciphertext.len() - 16..].to_vec();
        }
    }
}

#[test]
fn padding_that_is_not_what_the_version_prescribes_is_refused() {
    let plaintext_with = |padding: &[u8]| {
        let content = content(16);
        [content.as_slice(), &hmac_sha1(0, TLS_1_2, &content), padding].concat()
    };
    let mut opener = opener(TLS_1_2, AES_CBC, false);
    let mut check = |padding: &[u8]| {
        let record = [IV.to_vec(), encrypt_aes(&IV, &plaintext_with(padding))].concat();
        open(&mut opener, TLS_1_2, 0, &record)
    };
    assert_eq!(check(&[11; 12]), Ok(content(16)));
    assert_eq!(check(&[0, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11]), Err(TlsError::BadPadding));
    assert_eq!(check(&[48; 12]), Err(TlsError::BadPadding), "longer than the record");
    assert_eq!(check(&[255; 12]), Err(TlsError::BadPadding));
    assert_eq!(check(&[0; 12]), Err(TlsError::BadMac), "too short: the MAC is elsewhere");
}

/// RFC 6101 section 5.2.3.1 and 5.2.3.2, with ring's SHA-1.
#[test]
fn ssl3_has_its_own_mac_and_free_padding() {
    let sha1 = |parts: &[&[u8]]| {
        ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &parts.concat()).as_ref().to_vec()
    };
    let content = content(20);
    let inner = sha1(&[&MAC, &[0x36; 40], &5u64.to_be_bytes(), &[23, 0, 20], &content]);
    let mac = sha1(&[&MAC, &[0x5C; 40], &inner]);
    let padding = [0xAA, 0xBB, 0xCC, 0xDD, 0xEE, 0xFF, 1, 7];
    let record = encrypt_aes(&IV, &[content.as_slice(), &mac, &padding].concat());
    let mut opener = opener(ProtocolVersion::SSL_3_0, AES_CBC, false);
    assert_eq!(open(&mut opener, ProtocolVersion::SSL_3_0, 5, &record), Ok(content));
}

#[test]
fn rc4_runs_on_and_a_failure_uses_nothing_up() {
    use rc4::{KeyInit, StreamCipher};
    let mut cipher = rc4::Rc4::new_from_slice(&KEY).unwrap();
    let records: Vec<Vec<u8>> = (0..6usize)
        .map(|seq| {
            let content = content(seq * 700);
            let mut record = [content.as_slice(), &hmac_sha1(seq as u64, TLS_1_2, &content)].concat();
            cipher.apply_keystream(&mut record);
            record
        })
        .collect();

    let mut opener = opener(TLS_1_2, RC4, false);
    assert!(opener.is_stateful());
    assert_eq!(opener.overhead(), 20);
    assert_eq!(open(&mut opener, TLS_1_2, 0, &records[0]), Ok(content(0)));
    assert_eq!(open(&mut opener, TLS_1_2, 3, &records[3]), Err(TlsError::BadMac));
    assert_eq!(open(&mut opener, TLS_1_2, 1, &records[1]), Ok(content(700)));
    let mut copy = opener.clone();
    for opener in [&mut opener, &mut copy] {
        assert_eq!(open(opener, TLS_1_2, 5, &records[5]), Err(TlsError::BadMac));
        opener.trim();
        opener.skip((records[2].len() + records[3].len()) as u64);
        assert_eq!(open(opener, TLS_1_2, 4, &records[4]), Ok(content(2800)));
        opener.trim();
        assert_eq!(open(opener, TLS_1_2, 5, &records[5]), Ok(content(3500)));
    }
}

/// RFC 5288, RFC 7905: nonce and additional data written out here.
#[test]
fn aead_records_of_tls12_take_their_nonce_from_the_record_or_the_sequence_number() {
    use ring::aead::{AES_128_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
    let seq = 0x0102_0304_0506_0708u64;
    let content = content(50);
    let aad = [&seq.to_be_bytes(), [23, 3, 3, 0, 50].as_slice()].concat();
    let seal = |algorithm, key: &[u8], nonce: [u8; 12]| {
        let mut record = content.clone();
        LessSafeKey::new(UnboundKey::new(algorithm, key).unwrap())
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&aad), &mut record)
            .unwrap();
        record
    };

    let explicit = [0xA0, 1, 2, 3, 4, 5, 6, 7];
    let nonce = std::array::from_fn(|i| if i < 4 { IV[i] } else { explicit[i - 4] });
    let record = [explicit.to_vec(), seal(&AES_128_GCM, &KEY, nonce)].concat();
    let mut gcm = opener(TLS_1_2, AES_GCM, false);
    assert_eq!(gcm.explicit_nonce(&record), Some(0xA001_0203_0405_0607));
    assert_eq!(gcm.explicit_nonce(&record[..7]), None);
    assert_eq!(record.len(), content.len() + gcm.overhead());
    assert_eq!(open(&mut gcm, TLS_1_2, seq, &record), Ok(content.clone()));
    assert_eq!(open(&mut gcm, TLS_1_2, seq + 1, &record), Err(TlsError::BadTag));

    let key = [0x44; 32];
    let nonce = std::array::from_fn(|i| IV[i] ^ if i < 4 { 0 } else { (i - 3) as u8 });
    let record = seal(&CHACHA20_POLY1305, &key, nonce);
    let keys = DirectionKeys::new(&[], &key, &IV);
    let mut chacha = Opener::new(TLS_1_2, CipherSuite(0xCCA8).params().unwrap(), keys, false);
    assert_eq!(chacha.explicit_nonce(&record), None);
    assert_eq!(record.len(), content.len() + chacha.overhead());
    assert_eq!(open(&mut chacha, TLS_1_2, seq, &record), Ok(content.clone()));
}

/// RFC 8998 appendix A.
#[test]
fn sm4_aeads_give_the_vectors_of_rfc_8998() {
    let key = hex("0123456789abcdeffedcba9876543210");
    let nonce: [u8; 12] = hex("00001234567800000000abcd").try_into().unwrap();
    let aad = hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
    let plaintext = hex("aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbccccccccccccccccdddddddddddddddd
        eeeeeeeeeeeeeeeeffffffffffffffffeeeeeeeeeeeeeeeeaaaaaaaaaaaaaaaa");
    for (cipher, sealed) in [
        (
            BulkCipher::Sm4Gcm,
            "17f399f08c67d5ee19d0dc9969c4bb7d5fd46fd3756489069157b282bb200735d82710ca5c22f0ccfa7cbf93d496ac15
             a56834cbcf98c397b4024a2691233b8d83de3541e4c2b58177e065a9bf7b62ec",
        ),
        (
            BulkCipher::Sm4Ccm,
            "48af93501fa62adbcd414cce6034d895dda1bf8f132f042098661572e7483094fd12e518ce062c98acee28d95df4416b
             ed31a2f04476c18bb40c84a74b97dc5b16842d4fa186f56ab33256971fa110f4",
        ),
    ] {
        let mut sealed = hex(sealed);
        let opened = Aead::new(cipher, &key).unwrap().open(nonce, &aad, &mut sealed).map(|opened| opened.to_vec());
        assert_eq!(opened, Ok(plaintext.clone()), "{cipher:?}");
    }
}

#[test]
fn a_suite_of_another_version_is_unsupported() {
    let all = DirectionKeys::new(&[1; 48], &[2; 32], &[3; 16]);
    for (version, suite) in [(TLS_1_2, 0x1301), (TLS_1_3, 0xC02F), (TLS_1_3, 0x002F), (TLS_1_0, 0xC02F)] {
        let mut opener = Opener::new(version, CipherSuite(suite).params().unwrap(), all.clone(), false);
        assert_eq!(open(&mut opener, version, 0, &[0; 100]), Err(TlsError::Unsupported), "{suite:#06x}");
    }
}

/// Every suite, version and length up to a few blocks, and the longest there are: an error, never a panic, and never plaintext.
#[test]
fn garbage_of_any_length_is_an_error() {
    let versions =
        [ProtocolVersion::SSL_3_0, TLS_1_0, ProtocolVersion::TLS_1_1, TLS_1_2, TLS_1_3, ProtocolVersion(0x7F1C)];
    let mut tried = std::collections::HashSet::new();
    for suite in 0..=u16::MAX {
        let Some(params) = CipherSuite(suite).params() else { continue };
        if !tried.insert((params.cipher, params.mac)) {
            continue;
        }
        for version in versions {
            for encrypt_then_mac in [false, true] {
                let mut opener = Opener::new(version, params, DirectionKeys::new(&MAC, &KEY, &IV), encrypt_then_mac);
                let long = if encrypt_then_mac { &[][..] } else { &[16_640, 65_535, 65_536] };
                for len in (0..100).chain(long.iter().copied()) {
                    let fragment = content(len);
                    opener.resume_after(&fragment);
                    let _ = (opener.explicit_nonce(&fragment), opener.overhead(), opener.is_stateful());
                    assert!(open(&mut opener, version, u64::MAX, &fragment).is_err(), "{params:?} {version:?} {len}");
                }
                opener.trim();
            }
        }
    }
    assert_eq!(tried.len(), 37, "as many as `CipherSuite::params` names");
}
