//! Octets of a head to a [`Head`]: httparse on the usual road, a lenient line reader for what it refuses and real peers
//! send (folded lines in requests, blanks before the colon, lines without a colon, control characters in values, blanks in
//! targets, `http/1.1`), and for heads of which only a part is kept.

use std::mem::MaybeUninit;

use super::super::Version;
use super::super::head::{Field, Head, Span};
use super::framing::is_framing_field;
use crate::flow::Direction;

/// What a start line told besides what the [`Head`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) version: Version,
    /// Lines were left out: over the limit of fields.
    pub(super) cut: bool,
}

/// Field lines that httparse may meet before the lenient reader takes over. More are rare, and this many on the stack are
/// cheap.
const FAST_FIELDS: usize = 64;

/// Framing fields that are kept over the limit of fields: a message with more of them is malformed anyway.
const MAX_FRAMING: usize = 16;

/// Reads the head that `head.buf` holds (and nothing else). `None`: it is not HTTP.
pub(super) fn head(direction: Direction, head: &mut Head, max_fields: usize) -> Option<Parsed> {
    let fast = match direction {
        Direction::ClientToServer => fast_request(head),
        Direction::ServerToClient => fast_response(head),
    };
    if let Some(version) = fast {
        finish_fast(head);
        let cut = head.fields.len() > max_fields;
        if cut {
            let mut index = 0;
            let Head { fields, buf, .. } = head;
            fields.retain(|field| {
                index += 1;
                index <= max_fields || is_framing_field(field.name.of(buf))
            });
        }
        return Some(Parsed { version, cut });
    }
    head.fields.clear();
    lenient(direction, head, max_fields)
}

fn fast_request(head: &mut Head) -> Option<Version> {
    let mut config = httparse::ParserConfig::default();
    config.allow_multiple_spaces_in_request_line_delimiters(true);
    let mut fields = [const { MaybeUninit::uninit() }; FAST_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    let buf = head.buf.as_slice();
    let status = config.parse_request_with_uninit_headers(&mut request, buf, &mut fields).ok()?;
    if status.is_partial() {
        return None;
    }
    let (method, target) = (request.method?, request.path?);
    let (method, target) = (Span::within(buf, method.as_bytes()), Span::within(buf, target.as_bytes()));
    push_fields(&mut head.fields, buf, request.headers);
    let version = version_of(request.version?);
    head.method = method;
    split_target(head, target);
    Some(version)
}

fn fast_response(head: &mut Head) -> Option<Version> {
    let mut config = httparse::ParserConfig::default();
    config
        .allow_multiple_spaces_in_response_status_delimiters(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_spaces_after_header_name_in_responses(true);
    let mut fields = [const { MaybeUninit::uninit() }; FAST_FIELDS];
    let mut response = httparse::Response::new(&mut []);
    let buf = head.buf.as_slice();
    let status = config.parse_response_with_uninit_headers(&mut response, buf, &mut fields).ok()?;
    if status.is_partial() {
        return None;
    }
    push_fields(&mut head.fields, buf, response.headers);
    head.status = response.code.filter(|code| *code >= 100)?;
    Some(version_of(response.version?))
}

fn push_fields(fields: &mut Vec<Field>, buf: &[u8], headers: &[httparse::Header<'_>]) {
    fields.extend(headers.iter().map(|header| Field {
        name: Span::within(buf, header.name.as_bytes()),
        value: Span::within(buf, header.value),
        ..Field::default()
    }));
}

/// Names to lower case, folds to spaces (RFC 9112 section 5.2).
fn finish_fast(head: &mut Head) {
    for field in &head.fields {
        field.name.of_mut(&mut head.buf).make_ascii_lowercase();
        let value = field.value.of_mut(&mut head.buf);
        if memchr::memchr2(b'\r', b'\n', value).is_some() {
            unfold(value);
        }
    }
}

fn unfold(value: &mut [u8]) {
    for octet in value.iter_mut().filter(|octet| matches!(octet, b'\r' | b'\n')) {
        *octet = b' ';
    }
}

const fn version_of(minor: u8) -> Version {
    if minor == 0 { Version::Http10 } else { Version::Http11 }
}

/// Reads a head line by line. The start line alone decides whether it is HTTP.
pub(super) fn lenient(direction: Direction, head: &mut Head, max_fields: usize) -> Option<Parsed> {
    let (first, rest) = line_at(&head.buf, 0)?;
    let version = match direction {
        Direction::ClientToServer => lenient_request_line(head, first)?,
        Direction::ServerToClient => lenient_status_line(head, first)?,
    };
    let cut = field_lines(head, rest, max_fields);
    Some(Parsed { version, cut })
}

/// Reads the field lines that begin at `at` in `head.buf`, up to an empty line or the end of the buffer. Says whether
/// lines were left out for `max_fields`.
pub(super) fn field_lines(head: &mut Head, mut at: usize, max_fields: usize) -> bool {
    let mut cut = false;
    // Whether a line that begins with a blank goes on with the last field, or with a line that was left out.
    let mut last_kept = false;
    while let Some((line, next)) = line_at(&head.buf, at) {
        at = next;
        if line.len == 0 {
            break;
        }
        if matches!(head.buf.get(line.start as usize), Some(b' ' | b'\t')) {
            if let Some(field) = head.fields.last_mut().filter(|_| last_kept) {
                let value = Span::new(field.value.start as usize, line.end());
                unfold(value.of_mut(&mut head.buf));
                field.value = trimmed(&head.buf, value);
            }
            continue;
        }
        last_kept = false;
        let Some(colon) = memchr::memchr(b':', line.of(&head.buf)) else { continue };
        let colon = line.start as usize + colon;
        let name = trimmed(&head.buf, Span::new(line.start as usize, colon));
        if name.len == 0 {
            continue;
        }
        name.of_mut(&mut head.buf).make_ascii_lowercase();
        if head.fields.len() >= max_fields
            && (!is_framing_field(name.of(&head.buf)) || head.fields.len() >= max_fields.saturating_add(MAX_FRAMING))
        {
            cut = true;
            continue;
        }
        let value = trimmed(&head.buf, Span::new(colon + 1, line.end()));
        head.fields.push(Field { name, value, ..Field::default() });
        last_kept = true;
    }
    cut
}

/// The line at `at` without its end (LF, or CRLF), and where the next one begins; the last one may lack its end.
fn line_at(buf: &[u8], at: usize) -> Option<(Span, usize)> {
    let rest = buf.get(at..).filter(|rest| !rest.is_empty())?;
    let len = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
    let next = (at + len + 1).min(buf.len());
    let end = if rest[..len].last() == Some(&b'\r') { at + len - 1 } else { at + len };
    Some((Span::new(at, end), next))
}

fn trimmed(buf: &[u8], span: Span) -> Span {
    let octets = span.of(buf);
    let (from, to) = (octets.len() - octets.trim_ascii_start().len(), octets.trim_ascii_end().len());
    let start = span.start as usize;
    Span::new(start + from, start + to.max(from))
}

/// `method SP target [SP version]`; blanks within the target stay. Without a version only where the line was cut off.
fn lenient_request_line(head: &mut Head, line: Span) -> Option<Version> {
    let octets = line.of(&head.buf);
    let method_len = octets.iter().position(|octet| matches!(octet, b' ' | b'\t'))?;
    if method_len == 0 || !octets[..method_len].iter().copied().all(is_token) {
        return None;
    }
    let (target_end, version) = match octets.trim_ascii_end().iter().rposition(|octet| matches!(octet, b' ' | b'\t')) {
        Some(blank) if blank >= method_len => match version_token(octets[blank + 1..].trim_ascii_end()) {
            Some(version) => (blank, version),
            None => return None,
        },
        _ => return None,
    };
    let start = line.start as usize;
    let target = trimmed(&head.buf, Span::new(start + method_len, start + target_end));
    if target.len == 0 {
        return None;
    }
    head.method = Span::new(start, start + method_len);
    split_target(head, target);
    Some(version)
}

/// A request line whose end is over the limit: method and the beginning of the target.
pub(super) fn cut_request_line(head: &mut Head) -> Option<Version> {
    let method_len = head.buf.iter().position(|octet| matches!(octet, b' ' | b'\t'))?;
    if method_len == 0 || !head.buf[..method_len].iter().copied().all(is_token) {
        return None;
    }
    head.method = Span::new(0, method_len);
    let target = trimmed(&head.buf, Span::new(method_len, head.buf.len()));
    split_target(head, target);
    Some(Version::Http11)
}

/// A status line whose end is over the limit.
pub(super) fn cut_status_line(head: &mut Head) -> Option<Version> {
    let line = Span::new(0, head.buf.len());
    lenient_status_line(head, line)
}

/// `HTTP/1.x SP 3DIGIT`, whatever follows.
fn lenient_status_line(head: &mut Head, line: Span) -> Option<Version> {
    let octets = line.of(&head.buf);
    let version = version_token(octets.get(..8)?)?;
    let rest = octets.get(8..)?;
    if !matches!(rest.first(), Some(b' ' | b'\t')) {
        return None;
    }
    let digits = rest.trim_ascii_start().get(..3)?;
    let status = digits.iter().try_fold(0, |value, digit| Some(value * 10 + u16::from(decimal(*digit)?)))?;
    head.status = Some(status).filter(|status| *status >= 100)?;
    Some(version)
}

const fn decimal(octet: u8) -> Option<u8> {
    if octet.is_ascii_digit() { Some(octet - b'0') } else { None }
}

/// `HTTP/1.x` in either case.
fn version_token(octets: &[u8]) -> Option<Version> {
    let minor = match octets {
        [name @ .., b'1', b'.', minor] if name.eq_ignore_ascii_case(b"HTTP/") => decimal(*minor)?,
        _ => return None,
    };
    Some(version_of(minor))
}

/// Octets of a token (RFC 9110 section 5.6.2).
pub(super) const fn is_token(octet: u8) -> bool {
    octet.is_ascii_alphanumeric()
        || matches!(
            octet,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

/// Takes a request target apart (RFC 9112 section 3.2): origin-form, absolute-form, authority-form, asterisk-form.
fn split_target(head: &mut Head, target: Span) {
    let octets = target.of(&head.buf);
    let start = target.start as usize;
    let mut path_at = start;
    let connect = head.method.of(&head.buf) == b"CONNECT";
    if connect && octets.first() != Some(&b'/') {
        // `host:port / HTTP/1.0` has been seen: no authority has blanks.
        let len = octets.iter().position(|octet| matches!(octet, b' ' | b'\t')).unwrap_or(octets.len());
        let userinfo = octets[..len].iter().rposition(|octet| *octet == b'@').map_or(0, |at| at + 1);
        head.authority = Some(Span::new(start + userinfo, start + len));
        return;
    }
    if !matches!(octets.first(), Some(b'/' | b'*'))
        && let Some(scheme_len) = scheme_len(octets)
    {
        let authority = start + scheme_len + 3;
        let tail = octets.get(scheme_len + 3..).unwrap_or_default();
        let authority_len = tail.iter().position(|octet| matches!(octet, b'/' | b'?' | b'#')).unwrap_or(tail.len());
        let userinfo = tail[..authority_len].iter().rposition(|octet| *octet == b'@').map_or(0, |at| at + 1);
        head.scheme = Some(Span::new(start, start + scheme_len));
        head.authority = Some(Span::new(authority + userinfo, authority + authority_len));
        path_at = authority + authority_len;
    }
    let octets = Span::new(path_at, target.end()).of(&head.buf);
    let question = memchr::memchr(b'?', octets);
    head.path = Some(Span::new(path_at, question.map_or(target.end(), |at| path_at + at)));
    head.query = question.map(|at| Span::new(path_at + at + 1, target.end()));
}

/// The length of the scheme where `octets` begin with `scheme://` (RFC 3986 section 3.1).
fn scheme_len(octets: &[u8]) -> Option<usize> {
    let len = octets.iter().position(|octet| !octet.is_ascii_alphanumeric() && !matches!(octet, b'+' | b'-' | b'.'))?;
    (len > 0 && octets[len..].starts_with(b"://")).then_some(len)
}
