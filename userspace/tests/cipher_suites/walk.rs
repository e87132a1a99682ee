//! From a recorded connection and its key log to plaintext: as much of the handshake as that needs, and no more.

use plaintap::tls::cipher::HashAlgorithm;
use plaintap::tls::key_schedule::{
    TranscriptHash, extended_master_secret, key_block, master_secret, next_traffic_secret, traffic_keys,
};
use plaintap::tls::{CipherSuite, ContentType, Opener, ProtocolVersion, SuiteParams};

use super::peers::Recording;

/// What a connection turned out to be, and its application data.
pub(crate) struct Walked {
    pub(crate) version: ProtocolVersion,
    pub(crate) suite: CipherSuite,
    pub(crate) encrypt_then_mac: bool,
    pub(crate) client: Vec<u8>,
    pub(crate) server: Vec<u8>,
}

/// Opens every record of both directions; an error says which one did not open.
pub(crate) fn walk(recording: &Recording) -> Result<Walked, String> {
    let (client, server) = (records(&recording.client)?, records(&recording.server)?);
    let client_hello = hello(&client).ok_or("no ClientHello")?;
    let server_hello = hello(&server).ok_or("no ServerHello: the peers did not agree")?;
    let client_random: [u8; 32] = client_hello[6..38].try_into().expect("32 octets");
    let server_random: [u8; 32] = server_hello[6..38].try_into().expect("32 octets");
    let rest = &server_hello[39 + usize::from(server_hello[38])..];
    let suite = CipherSuite(u16::from_be_bytes([rest[0], rest[1]]));
    let params = suite.params().ok_or("the suite is not supported")?;
    let extensions = extensions(rest.get(5..).unwrap_or_default());
    let extension = |wanted| extensions.iter().find(|(number, _)| *number == wanted).map(|(_, body)| *body);
    let version = match extension(43) {
        Some(&[high, low]) => ProtocolVersion(u16::from_be_bytes([high, low])),
        _ => ProtocolVersion(u16::from_be_bytes([server_hello[4], server_hello[5]])),
    };
    let encrypt_then_mac = extension(22).is_some();
    let secret = |label: &str| key_log_entry(&recording.key_log, label, Some(&client_random));

    if version == ProtocolVersion::TLS_1_3 {
        let direction = |records, handshake, application| -> Result<Vec<u8>, String> {
            let handshake = secret(handshake).ok_or("no handshake secret")?;
            let application = secret(application).ok_or("no application secret")?;
            open_tls13(records, params, &handshake, application)
        };
        return Ok(Walked {
            version,
            suite,
            encrypt_then_mac,
            client: direction(&client, "CLIENT_HANDSHAKE_TRAFFIC_SECRET", "CLIENT_TRAFFIC_SECRET_0")?,
            server: direction(&server, "SERVER_HANDSHAKE_TRAFFIC_SECRET", "SERVER_TRAFFIC_SECRET_0")?,
        });
    }

    let logged = secret("CLIENT_RANDOM");
    // OpenSSL logs the premaster secret of an RSA key exchange as well: the master secret must follow from it. (With RSA_PSK
    // it is only a part of it.)
    let rsa = suite.name().is_some_and(|name| name.starts_with("TLS_RSA_WITH_"));
    let derived = key_log_entry(&recording.key_log, "RSA", None).filter(|_| rsa).map(|premaster| {
        match extension(23) {
            Some(_) => {
                let hash = session_hash(&client, &server, version, params.prf);
                extended_master_secret(version, params.prf, &premaster, &hash)
            }
            None => master_secret(version, params.prf, &premaster, &client_random, &server_random),
        }
        .to_vec()
    });
    if logged.is_some() && derived.is_some() && logged != derived {
        return Err("the master secret does not follow from the premaster secret".to_owned());
    }
    let master = logged.or(derived).ok_or("no master secret")?.try_into().map_err(|_| "not 48 octets")?;
    let (client_keys, server_keys) = key_block(version, params, &master, &client_random, &server_random);
    let opener = |keys| Opener::new(version, params, keys, encrypt_then_mac);
    Ok(Walked {
        version,
        suite,
        encrypt_then_mac,
        client: open_tls12(&client, opener(client_keys)).map_err(|error| format!("client's {error}"))?,
        server: open_tls12(&server, opener(server_keys)).map_err(|error| format!("server's {error}"))?,
    })
}

/// What an RSA key exchange carries (RFC 5246 section 7.4.7.1; SSL 3.0 has no length before it).
pub(crate) fn rsa_encrypted_premaster(recording: &Recording) -> Result<Vec<u8>, String> {
    let messages = plain_messages(&records(&recording.client)?);
    let message = messages.iter().find(|message| message[0] == 16).ok_or("no ClientKeyExchange")?;
    let body = &message[4..];
    Ok(if body.len() % 8 == 2 { body[2..].to_vec() } else { body.to_vec() })
}

type Record<'a> = ([u8; 5], &'a [u8]);

fn records(mut stream: &[u8]) -> Result<Vec<Record<'_>>, String> {
    let mut records = Vec::new();
    while let Some((header, rest)) = stream.split_first_chunk::<5>() {
        let len = usize::from(u16::from_be_bytes([header[3], header[4]]));
        let fragment = rest.get(..len).ok_or("a record is cut short")?;
        records.push((*header, fragment));
        stream = &rest[len..];
    }
    Ok(records)
}

/// The first handshake message of a direction, which both libraries send in one record.
fn hello<'a>(records: &[Record<'a>]) -> Option<&'a [u8]> {
    records.first().filter(|(header, fragment)| header[0] == 22 && fragment.len() > 40).map(|(_, fragment)| *fragment)
}

fn extensions(mut list: &[u8]) -> Vec<(u16, &[u8])> {
    let mut extensions = Vec::new();
    while let [a, b, c, d, rest @ ..] = list {
        let len = usize::from(u16::from_be_bytes([*c, *d]));
        let Some(body) = rest.get(..len) else { break };
        extensions.push((u16::from_be_bytes([*a, *b]), body));
        list = &rest[len..];
    }
    extensions
}

/// The octets of a line with this label, and this client random where one is asked for.
fn key_log_entry(key_log: &str, label: &str, client_random: Option<&[u8; 32]>) -> Option<Vec<u8>> {
    let hex = |text: &str| -> Option<Vec<u8>> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
    };
    key_log.lines().find_map(|line| {
        let [found, random, secret] = line.split(' ').collect::<Vec<_>>()[..] else { return None };
        let fits = found == label && client_random.is_none_or(|wanted| hex(random).as_deref() == Some(wanted));
        if fits { hex(secret) } else { None }
    })
}

/// Opens what follows the ChangeCipherSpec; the first must be Finished.
fn open_tls12(records: &[Record<'_>], mut opener: Opener) -> Result<Vec<u8>, String> {
    let start = records.iter().position(|(header, _)| header[0] == 20).ok_or("side has no ChangeCipherSpec")?;
    let mut application_data = Vec::new();
    for (seq, (header, fragment)) in (0..).zip(&records[start + 1..]) {
        let least = fragment.len().saturating_sub(opener.overhead());
        // Once with the expanded cipher dropped, as after an idle time.
        if seq % 3 == 2 {
            opener.trim();
        }
        let mut fragment = fragment.to_vec();
        let opened = opener.open(seq, *header, &mut fragment).map_err(|error| format!("record {seq}: {error:?}"))?;
        if opened.plaintext.len() > least {
            return Err(format!("record {seq} has less overhead than the least"));
        }
        match opened.content_type {
            ContentType::HANDSHAKE if seq == 0 && opened.plaintext.first() == Some(&20) => {}
            ContentType::APPLICATION_DATA if seq > 0 => application_data.extend_from_slice(opened.plaintext),
            ContentType::ALERT if seq > 0 => {}
            other => return Err(format!("record {seq} is {other:?}")),
        }
    }
    Ok(application_data)
}

/// Opens the protected records: the handshake up to Finished with one secret, the rest with the other and those after it.
fn open_tls13(
    records: &[Record<'_>],
    params: SuiteParams,
    handshake: &[u8],
    application: Vec<u8>,
) -> Result<Vec<u8>, String> {
    let opener = |secret: &[u8]| -> Result<Opener, String> {
        let keys = traffic_keys(params, secret).map_err(|error| format!("{error:?}"))?;
        Ok(Opener::new(ProtocolVersion::TLS_1_3, params, keys, false))
    };
    let (mut opener_now, mut seq, mut secret) = (opener(handshake)?, 0, application);
    let (mut messages, mut application_data) = (Vec::new(), Vec::new());
    for (header, fragment) in records.iter().filter(|(header, _)| header[0] == 23) {
        let mut fragment = fragment.to_vec();
        let opened =
            opener_now.open(seq, *header, &mut fragment).map_err(|error| format!("record {seq}: {error:?}"))?;
        seq += 1;
        match opened.content_type {
            ContentType::HANDSHAKE => messages.extend_from_slice(opened.plaintext),
            ContentType::APPLICATION_DATA => application_data.extend_from_slice(opened.plaintext),
            ContentType::ALERT => {}
            other => return Err(format!("record {seq} is {other:?}")),
        }
        while let Some(message) = take_message(&mut messages) {
            match message[0] {
                20 => {}
                24 => secret = next_traffic_secret(params, &secret).map_err(|e| format!("{e:?}"))?.as_slice().to_vec(),
                _ => continue,
            }
            (opener_now, seq) = (opener(&secret)?, 0);
        }
    }
    Ok(application_data)
}

/// The hash up to ClientKeyExchange (RFC 7627 section 3).
fn session_hash(client: &[Record<'_>], server: &[Record<'_>], version: ProtocolVersion, prf: HashAlgorithm) -> Vec<u8> {
    let (client, server) = (plain_messages(client), plain_messages(server));
    let mut transcript = TranscriptHash::new();
    transcript.update(&client[0]);
    transcript.update(&server[0]);
    transcript.choose(version, prf).expect("up to TLS 1.2");
    // NewSessionTicket comes after it.
    server[1..].iter().filter(|message| message[0] != 4).for_each(|message| transcript.update(message));
    let end = client.iter().position(|message| message[0] == 16).expect("a ClientKeyExchange");
    client[1..=end].iter().for_each(|message| transcript.update(message));
    transcript.current().expect("chosen").as_slice().to_vec()
}

/// The handshake messages before ChangeCipherSpec.
fn plain_messages(records: &[Record<'_>]) -> Vec<Vec<u8>> {
    let plain = records.iter().take_while(|(header, _)| header[0] == 22);
    let mut stream: Vec<u8> = plain.flat_map(|(_, fragment)| fragment.iter().copied()).collect();
    std::iter::from_fn(|| take_message(&mut stream)).collect()
}

/// Takes the first whole message off a stream of them.
fn take_message(stream: &mut Vec<u8>) -> Option<Vec<u8>> {
    let len = 4 + u32::from_be_bytes([0, *stream.get(1)?, *stream.get(2)?, *stream.get(3)?]) as usize;
    (stream.len() >= len).then(|| stream.drain(..len).collect())
}
