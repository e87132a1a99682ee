//! The records of RFC 8448's traces: header and fragment as they are on the wire, secrets as the RFC gives them.

use super::*;
use crate::tls::key_schedule::traffic_keys;

/// Opens records of one direction from record `seq` on; gives the inner types and the plaintexts.
fn open_all(secret: &str, seq: u64, records: &[&str]) -> Vec<(ContentType, Vec<u8>)> {
    let params = CipherSuite(0x1301).params().unwrap();
    let mut opener = Opener::new(TLS_1_3, params, traffic_keys(params, &hex(secret)).unwrap(), false);
    (seq..)
        .zip(records)
        .map(|(seq, record)| {
            let record = hex(record);
            let (header, fragment) = record.split_first_chunk().unwrap();
            let mut fragment = fragment.to_vec();
            assert_eq!(usize::from(u16::from_be_bytes([header[3], header[4]])), fragment.len());
            let opened = opener.open(seq, *header, &mut fragment).unwrap();
            (opened.content_type, opened.plaintext.to_vec())
        })
        .collect()
}

/// The application data of every trace: 00 01 ... 31.
fn application_data() -> (ContentType, Vec<u8>) {
    (ContentType::APPLICATION_DATA, (0..50).collect())
}

fn close_notify() -> (ContentType, Vec<u8>) {
    (ContentType::ALERT, vec![1, 0])
}

#[test]
fn section_3_simple_1rtt() {
    let server = open_all(
        "b67b7d690cc16c4e75e54213cb2d37b4e9c912bcded9105d42befd59d391ad38",
        0,
        &[include_str!("rfc8448_server_flight.hex")],
    );
    let [(ContentType::HANDSHAKE, flight)] = server.as_slice() else { panic!("{server:?}") };
    assert_eq!(flight.len(), 657);
    assert_eq!(messages(flight), [8, 11, 15, 20]);

    let client = open_all(
        "b3eddb126e067f35a780b3abf45e2d8f3b1a950738f52e9600746a0e27a55a21",
        0,
        &["17 03 03 00 35 75 ec 4d c2 38 cc e6 0b 29 80 44 a7 1e 21 9c 56 cc 77 b0 51 7f e9 b9 3c 7a 4b fc 44
           d8 7f 38 f8 03 38 ac 98 fc 46 de b3 84 bd 1c ae ac ab 68 67 d7 26 c4 05 46"],
    );
    assert_eq!((client[0].0, messages(&client[0].1)), (ContentType::HANDSHAKE, vec![20]));

    let client = open_all(
        "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5",
        0,
        &["17 03 03 00 43 a2 3f 70 54 b6 2c 94 d0 af fa fe 82 28 ba 55 cb ef ac ea 42 f9 14 aa 66 bc ab 3f 2b
           98 19 a8 a5 b4 6b 39 5b d5 4a 9a 20 44 1e 2b 62 97 4e 1f 5a 62 92 a2 97 70 14 bd 1e 3d ea e6 3a ee
           bb 21 69 49 15 e4"],
    );
    assert_eq!(client, [application_data()]);

    // Record 0 is the NewSessionTicket.
    let server = open_all(
        "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643",
        1,
        &["17 03 03 00 43 2e 93 7e 11 ef 4a c7 40 e5 38 ad 36 00 5f c4 a4 69 32 fc 32 25 d0 5f 82 aa 1b 36 e3
           0e fa f9 7d 90 e6 df fc 60 2d cb 50 1a 59 a8 fc c4 9c 4b f2 e5 f0 a2 1c 00 47 c2 ab f3 32 54 0d d0
           32 e1 67 c2 95 5d"],
    );
    assert_eq!(server, [application_data()]);
}

#[test]
fn section_4_resumed_0rtt() {
    let early = open_all(
        "3fbbe6a60deb66c30a32795aba0eff7eaa10105586e7be5c09678d63b6caab62",
        0,
        &["1703030017ab1df420e75c457a7cc5d2844f76d5aee4b4edbf049be0"],
    );
    assert_eq!(early, [(ContentType::APPLICATION_DATA, b"ABCDEF".to_vec())]);

    let server = open_all(
        "fe927ae271312e8bf0275b581c54eef020450dc4ecffaa05a1a35d27518e7803",
        0,
        &["1703030061dc48237b4b879f50d0d4d262ea8b4716eb40ddc1eb957e11126e8a7149c2d012d37a7115957e64ce30008b9e0323f2
           c05a9c1c77b4f37849a695ab255060a33fee770ca95cb8486bfd0843b87024865ca35cc41c4e515c64dcb1369f98635bc7a5"],
    );
    assert_eq!((server[0].0, messages(&server[0].1)), (ContentType::HANDSHAKE, vec![8, 20]));

    let client = open_all(
        "2faac08f851d35fea3604fcb4de82dc62c9b164a70974d0462e27f1ab278700f",
        0,
        &["170303003500f8b467d14cf22a4b3f0b6ae0d8e6cc8d08e0db3515ef5c2bdf1922eafbb70009964716d834fb70c3d2a56c5b1f5f
           6bdba6c333cf"],
    );
    assert_eq!((client[0].0, messages(&client[0].1)), (ContentType::HANDSHAKE, vec![20]));

    let client = open_all(
        "2abbf2b8e381d23dbebe1dd2a7d16a8bf484cb4950d23fb7fb7fa8547062d9a1",
        0,
        &[
            "1703030043b1cebce242aa201be9ae5e1cb2a9aa4b33d4e866af1edb068919237741aa031d7a74d491c99b9d4e232b74206bc6fb
             aa04fe78be44a9b4f54320a17eb76992afac3103",
            "17030300130facce3246bdfc6369838d6a82ae6de5d422dc",
        ],
    );
    assert_eq!(client, [application_data(), close_notify()]);

    let server = open_all(
        "cc21f1bf8feb7dd5fa505bd9c4b468a9984d554a993dc49e6d285598fb672691",
        0,
        &[
            "1703030043275e9f20acff57bc000657d3867df039cccf79047884cf75771746f740b5a83f462a0954c3581393a203a25a7dd141
             41ef1a37900cdb62ff62dee1ba39ab2590cbf194",
            "17030300135b18af444e8e1eec7158fb62d8f2577d37ba5d",
        ],
    );
    assert_eq!(server, [application_data(), close_notify()]);
}

#[test]
fn section_5_hello_retry_request() {
    let client = open_all(
        "158aa7ab8855073582b41d674b4055cabcc534728f659314861b4e08e2011566",
        0,
        &["17 03 03 00 35 d7 4f 19 23 c6 62 fd 34 13 7c 6f 50 2f 3d d2 b9 3d 95 1d 1b 3b c9 7e 42 af e2 3c 31
           ab ea 92 fe 91 b4 74 99 9e 85 e3 b7 91 ce 25 2f e8 c3 e9 f9 39 a4 12 0c b2"],
    );
    let finished = "14 00 00 20 23 f5 2f db 07 09 a5 5b d7 f7 9b 99 1f 25 48 40 87 bc fd 4d 43 80 b1 23 26 a5 2a 28
        b2 e3 68 e1";
    assert_eq!(client, [(ContentType::HANDSHAKE, hex(finished))]);
    let client = open_all(
        "75ecf4b972525aa0dcd057c9944d4cd5d82671d8843141d7dc2a4ff15a21dc51",
        0,
        &["17 03 03 00 13 2e a6 cd f7 49 19 60 23 e2 b3 a4 94 91 69 55 36 42 60 47"],
    );
    assert_eq!(client, [close_notify()]);
    let server = open_all(
        "5c74f87df04225db0f8209c9de6429e49435fdefa7cad61864874d12f31cfc8d",
        0,
        &["17 03 03 00 13 51 9f c5 07 5c b0 88 43 49 75 9f f9 ef 6f 01 1b b4 c6 f2"],
    );
    assert_eq!(server, [close_notify()]);
}

/// RFC 8446 section 5.4: zeros after the content type go, however many; nothing but zeros is an error.
#[test]
fn padding_of_tls13_is_removed() {
    use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
    let params = CipherSuite(0x1301).params().unwrap();
    let seal = |inner: &[u8]| {
        let mut record = inner.to_vec();
        let header = header(TLS_1_2, &vec![0; inner.len() + 16]);
        let nonce = std::array::from_fn(|i| IV[i]);
        LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &KEY).unwrap())
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&header), &mut record)
            .unwrap();
        record
    };
    let mut opener = Opener::new(TLS_1_3, params, DirectionKeys::new(&[], &KEY, &IV), false);
    let mut check = |inner: &[u8]| {
        let mut fragment = seal(inner);
        let header = header(TLS_1_2, &fragment);
        opener.open(0, header, &mut fragment).map(|opened| (opened.content_type.0, opened.plaintext.to_vec()))
    };
    for padding in [0, 1, 15, 16, 255, 16_000] {
        let inner = [[5, 0, 7, 0, 22].as_slice(), &vec![0; padding]].concat();
        assert_eq!(check(&inner), Ok((22, vec![5, 0, 7, 0])), "{padding}");
    }
    assert_eq!(check(&[23]), Ok((23, vec![])), "no content at all");
    assert_eq!(check(&[]), Err(TlsError::NoContentType));
    assert_eq!(check(&[0; 40]), Err(TlsError::NoContentType));
}

/// The types of the handshake messages in a flight, which they fill.
fn messages(mut flight: &[u8]) -> Vec<u8> {
    let mut types = Vec::new();
    while let [message, a, b, c, rest @ ..] = flight {
        let len = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        types.push(*message);
        flight = &rest[len..];
    }
    assert!(flight.is_empty());
    types
}
