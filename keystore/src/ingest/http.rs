//! Just enough HTTP for the health monitors of load balancers.

use super::stats::Outcome;

/// What the first octets of a stream are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An HTTP request.
    Http,
    /// Key-log text, or garbage.
    Lines,
    /// Too few to tell.
    Short,
}

/// No line of a key log begins with a method and a blank that is followed by `/` or `*`... but a prefix might, so the target
/// decides, too.
pub(super) fn classify(head: &[u8]) -> Kind {
    let mut kind = Kind::Lines;
    for method in METHODS {
        let len = head.len().min(method.len());
        if head.get(..len) != method.get(..len) {
            continue;
        }
        match head.get(method.len()) {
            Some(b'/' | b'*' | b'h') => return Kind::Http,
            Some(_) => {}
            None => kind = Kind::Short,
        }
    }
    kind
}

/// The answer to the request that `head` begins, once it is whole; `None` before.
///
/// A request without a version (HTTP/0.9, the default of F5's HTTP monitors: `GET /\r\n`) ends with its line.
pub(super) fn respond(head: &[u8]) -> Option<(Outcome, &'static [u8])> {
    let line_len = head.iter().position(|octet| *octet == b'\n')?;
    let line = head.get(..line_len)?.trim_ascii_end();
    let mut words = line.split(|octet| *octet == b' ').filter(|word| !word.is_empty());
    let (method, target, version) = (words.next()?, words.next().unwrap_or_default(), words.next());
    if version.is_some()
        && !head.windows(4).any(|window| window == b"\r\n\r\n")
        && !head.windows(2).any(|window| window == b"\n\n")
    {
        return None;
    }
    let path = target.split(|octet| *octet == b'?').next().unwrap_or_default();
    Some(match (method, path) {
        (b"GET", b"/healthz") => (Outcome::Health, OK),
        (b"HEAD", b"/healthz") => (Outcome::Health, OK_HEAD),
        (b"GET" | b"HEAD", _) => (Outcome::Http, NOT_FOUND),
        _ => (Outcome::Http, NOT_ALLOWED),
    })
}

const METHODS: [&[u8]; 9] =
    [b"GET ", b"HEAD ", b"POST ", b"PUT ", b"OPTIONS ", b"DELETE ", b"PATCH ", b"CONNECT ", b"TRACE "];

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n";
const OK_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\nConnection: close\r\n\r\n";
const NOT_FOUND: &[u8] = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const NOT_ALLOWED: &[u8] =
    b"HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, HEAD\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
/// To HTTP in clear on the TLS port.
pub(super) const NOT_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 24\r\nConnection: close\r\n\r\nthis port speaks https.\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_from_lines() {
        assert_eq!(classify(b"GET /healthz HTTP/1.1\r\n"), Kind::Http);
        assert_eq!(classify(b"OPTIONS * HTTP/1.1"), Kind::Http);
        assert_eq!(classify(b"CLIENT_RANDOM 52"), Kind::Lines);
        assert_eq!(classify(b"PMS_CLIENT_RANDOM 52"), Kind::Lines);
        assert_eq!(classify(b"P"), Kind::Short);
        assert_eq!(classify(b"PO"), Kind::Short);
        assert_eq!(classify(b"GET"), Kind::Short);
        assert_eq!(classify(b"GET "), Kind::Short);
        assert_eq!(classify(b"GET CLIENT_RANDOM"), Kind::Lines);
        assert_eq!(classify(b"C"), Kind::Short);
        assert_eq!(classify(b"CL"), Kind::Lines);
        assert_eq!(classify(b"\x16\x03"), Kind::Lines);
    }

    #[test]
    fn requests_are_answered_when_whole() {
        let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
        for len in 0..request.len() {
            assert_eq!(respond(&request[..len]), None, "{len}");
        }
        assert_eq!(respond(request), Some((Outcome::Health, OK)));
        assert_eq!(respond(b"GET /healthz?x=1 HTTP/1.0\n\n"), Some((Outcome::Health, OK)));
        assert_eq!(respond(b"GET /healthz\r\n"), Some((Outcome::Health, OK)));
        assert_eq!(respond(b"GET /\r\n"), Some((Outcome::Http, NOT_FOUND)));
        assert_eq!(respond(b"HEAD /healthz HTTP/1.1\r\n\r\n"), Some((Outcome::Health, OK_HEAD)));
        assert_eq!(respond(b"POST /healthz HTTP/1.1\r\n\r\n"), Some((Outcome::Http, NOT_ALLOWED)));
    }

    #[test]
    fn content_lengths_are_right() {
        for response in [OK, NOT_FOUND, NOT_ALLOWED, NOT_TLS] {
            let text = std::str::from_utf8(response).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            let len = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
            assert_eq!(len.parse::<usize>().unwrap(), body.len());
        }
    }
}
