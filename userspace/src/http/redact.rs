//! Redaction of credentials, in the worker, before a transaction leaves it.
//!
//! Sensitive header fields lose their whole value, sensitive query parameters theirs, in the target and in the header fields
//! that hold URLs; user information in URLs goes.

use super::HttpStats;
use super::head::{Field, Head, REDACTED, Span};

/// Header fields that carry credentials.
pub const HEADERS: [&str; 5] = ["authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key"];

/// Query parameters that sign a request, which OpenTelemetry's HTTP conventions want redacted.
pub const PARAMETERS: [&str; 7] = [
    "X-Amz-Signature",
    "X-Amz-Credential",
    "X-Amz-Security-Token",
    "AWSAccessKeyId",
    "Signature",
    "sig",
    "X-Goog-Signature",
];

/// Header fields whose value is a URL.
const URL_HEADERS: [&str; 4] = ["referer", "location", "content-location", "refresh"];

/// Redacts the header fields and the target of a head that is complete.
pub(crate) fn head(head: &mut Head, stats: &mut HttpStats) {
    if let Some(query) = head.query
        && let Some(span) = query_span(head, query, stats)
    {
        head.query = Some(span);
        head.query_redacted = true;
    }
    fields(head, 0, stats);
}

/// Redacts trailer fields.
pub(crate) fn trailers(head: &mut Head, stats: &mut HttpStats) {
    let from = head.trailers_at.map_or(head.fields.len(), |at| at as usize);
    fields(head, from, stats);
}

fn fields(head: &mut Head, from: usize, stats: &mut HttpStats) {
    for index in from..head.fields.len() {
        let Some(&Field { name, value, redacted, partly_redacted }) = head.fields.get(index) else { return };
        if redacted || partly_redacted || !matches!(name.len, 6..=19) {
            continue;
        }
        let name = head.octets(name);
        if is_one_of(&HEADERS, name) {
            stats.values_redacted += 1;
            head.fields[index].redacted = true;
        } else if is_one_of(&URL_HEADERS, name)
            && let Some(span) = url_span(head, value, stats)
        {
            head.fields[index].value = span;
            head.fields[index].partly_redacted = true;
        }
    }
}

fn is_one_of(names: &[&str], name: &[u8]) -> bool {
    names.iter().any(|known| known.as_bytes() == name)
}

/// Where the redacted copy of a URL is, if there was something to redact.
fn url_span(head: &mut Head, url: Span, stats: &mut HttpStats) -> Option<Span> {
    let octets = head.octets(url);
    memchr::memchr2(b'?', b'@', octets)?;
    let mut parts = [Span::default(); 2];
    let question = memchr::memchr(b'?', octets).unwrap_or(octets.len());
    let start = url.start as usize;
    // scheme://user:password@host
    parts[0] = Span::new(start, start + question);
    let mut userinfo = None;
    if let Some(slashes) = memchr::memmem::find(&octets[..question], b"//") {
        let authority = &octets[slashes + 2..question];
        let end = authority.iter().position(|octet| *octet == b'/').unwrap_or(authority.len());
        if let Some(at) = memchr::memrchr(b'@', &authority[..end]) {
            userinfo = Some((start + slashes + 2, start + slashes + 2 + at));
        }
    }
    if question < octets.len() {
        parts[1] = Span::new(start + question + 1, url.end());
    }
    let query = if question < octets.len() { query_span(head, parts[1], stats) } else { None };
    if userinfo.is_none() && query.is_none() {
        return None;
    }
    let out = head.buf.len();
    match userinfo {
        Some((from, to)) => {
            stats.values_redacted += 1;
            head.buf.extend_from_within(start..from);
            head.buf.extend_from_slice(REDACTED.as_bytes());
            head.buf.extend_from_within(to..parts[0].end());
        }
        None => head.buf.extend_from_within(start..parts[0].end()),
    }
    if question < url.len as usize {
        let query = query.unwrap_or(parts[1]);
        head.buf.push(b'?');
        head.buf.extend_from_within(query.start as usize..query.end());
    }
    Some(Span::new(out, head.buf.len()))
}

/// Where the redacted copy of a query is, if there was something to redact.
fn query_span(head: &mut Head, query: Span, stats: &mut HttpStats) -> Option<Span> {
    if !head.octets(query).split(|octet| *octet == b'&').any(|pair| sensitive_value(pair).is_some()) {
        return None;
    }
    let out = head.buf.len();
    let mut at = query.start as usize;
    while at <= query.end() {
        let rest = head.buf.get(at..query.end()).unwrap_or_default();
        let len = memchr::memchr(b'&', rest).unwrap_or(rest.len());
        let keep = sensitive_value(&rest[..len]);
        if at > query.start as usize {
            head.buf.push(b'&');
        }
        head.buf.extend_from_within(at..at + keep.unwrap_or(len));
        if keep.is_some() {
            stats.values_redacted += 1;
            head.buf.extend_from_slice(REDACTED.as_bytes());
        }
        at += len + 1;
    }
    Some(Span::new(out, head.buf.len()))
}

/// Where the value of a `name=value` pair begins, if it is sensitive.
fn sensitive_value(pair: &[u8]) -> Option<usize> {
    let equals = memchr::memchr(b'=', pair)?;
    let name = &pair[..equals];
    PARAMETERS.iter().any(|known| percent_eq(name, known.as_bytes())).then_some(equals + 1)
}

/// Whether `name`, percent-decoded, is `known` in any case.
fn percent_eq(name: &[u8], known: &[u8]) -> bool {
    let mut rest = name;
    for expected in known {
        let octet = match *rest {
            [b'%', high, low, ref tail @ ..] => {
                let (Some(high), Some(low)) = (char::from(high).to_digit(16), char::from(low).to_digit(16)) else {
                    return false;
                };
                rest = tail;
                (high * 16 + low) as u8
            }
            [octet, ref tail @ ..] => {
                rest = tail;
                octet
            }
            [] => return false,
        };
        if !octet.eq_ignore_ascii_case(expected) {
            return false;
        }
    }
    rest.is_empty()
}
