//! A message's head as it is kept until its transaction is emitted: one octet buffer and ranges into it. Both HTTP versions
//! fill it; [`Headers`] is the view that sinks get.
//!
//! ```text
//! buf     GET /a?b=1 HTTP/1.1\r\nhost: x\r\ncookie: s=1\r\n\r\n...trailers...
//!         ^method ^path ^query    ^name  ^value
//! fields  [host x] [cookie s=1 redacted] | [trailers]
//!                                        ^ trailers_at
//! ```

use std::fmt;

/// A range of a head's buffer. Heads are capped far below 4 GiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) len: u32,
}

impl Span {
    pub(crate) fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, len: end.saturating_sub(start) as u32 }
    }

    /// The range that `part` has in `whole`, which it must be a part of.
    pub(crate) fn within(whole: &[u8], part: &[u8]) -> Self {
        let start = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
        debug_assert!(part.is_empty() || start + part.len() <= whole.len());
        Self { start: start as u32, len: part.len() as u32 }
    }

    pub(crate) fn end(self) -> usize {
        self.start as usize + self.len as usize
    }

    /// The octets; empty when the range is not inside `buf`.
    pub(crate) fn of(self, buf: &[u8]) -> &[u8] {
        buf.get(self.start as usize..self.end()).unwrap_or_default()
    }

    pub(crate) fn of_mut(self, buf: &mut [u8]) -> &mut [u8] {
        buf.get_mut(self.start as usize..self.end()).unwrap_or_default()
    }
}

/// One field line: its name in lower case, its value without surrounding white space.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Field {
    pub(crate) name: Span,
    pub(crate) value: Span,
    /// The value is not to be shown.
    pub(crate) redacted: bool,
    /// Parts of the value were replaced.
    pub(crate) partly_redacted: bool,
}

/// The start line (or pseudo-header fields) and the field lines of one message.
#[derive(Default)]
pub(crate) struct Head {
    pub(crate) buf: Vec<u8>,
    pub(crate) fields: Vec<Field>,
    /// Where the trailer fields begin in `fields`; `None` while there are none.
    pub(crate) trailers_at: Option<u32>,
    /// Request method; empty in a response.
    pub(crate) method: Span,
    /// Scheme, from an absolute-form target or `:scheme`.
    pub(crate) scheme: Option<Span>,
    /// Host and port from an absolute-form or authority-form target or `:authority`, without userinfo.
    pub(crate) authority: Option<Span>,
    /// Path; `None` for authority-form.
    pub(crate) path: Option<Span>,
    /// What follows the first `?`.
    pub(crate) query: Option<Span>,
    /// Values in `query` were replaced.
    pub(crate) query_redacted: bool,
    /// Status code; 0 in a request.
    pub(crate) status: u16,
}

impl Head {
    /// Empties it and keeps its buffers, unless they have grown past `keep` octets.
    pub(crate) fn reset(&mut self, keep: usize) {
        let mut buf = std::mem::take(&mut self.buf);
        let mut fields = std::mem::take(&mut self.fields);
        buf.clear();
        fields.clear();
        buf.shrink_to(keep);
        fields.shrink_to(keep / 32);
        *self = Self { buf, fields, ..Self::default() };
    }

    /// Appends a field whose name is in lower case.
    #[allow(dead_code, reason = "HTTP/2 fills its heads by it")]
    pub(crate) fn push_field(&mut self, name: &[u8], value: &[u8]) {
        let name = self.append(name);
        let value = self.append(value);
        self.fields.push(Field { name, value, ..Field::default() });
    }

    /// Appends octets to the buffer and says where they are.
    pub(crate) fn append(&mut self, octets: &[u8]) -> Span {
        let start = self.buf.len();
        self.buf.extend_from_slice(octets);
        Span::new(start, self.buf.len())
    }

    /// The octets of a range.
    pub(crate) fn octets(&self, span: Span) -> &[u8] {
        span.of(&self.buf)
    }

    /// Says that the fields pushed from now on are trailer fields.
    pub(crate) fn begin_trailers(&mut self) {
        self.trailers_at.get_or_insert(self.fields.len() as u32);
    }

    /// The header fields.
    pub(crate) fn headers(&self) -> Headers<'_> {
        let end = self.trailers_at.map_or(self.fields.len(), |at| at as usize);
        Headers { buf: &self.buf, fields: self.fields.get(..end).unwrap_or_default() }
    }

    /// The trailer fields.
    pub(crate) fn trailers(&self) -> Headers<'_> {
        let start = self.trailers_at.map_or(self.fields.len(), |at| at as usize);
        Headers { buf: &self.buf, fields: self.fields.get(start..).unwrap_or_default() }
    }
}

/// Never prints the octets: they may hold credentials.
impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Head").field("octets", &self.buf.len()).field("fields", &self.fields.len()).finish()
    }
}

/// The field lines of a message, in the order in which they were sent.
#[derive(Clone, Copy, Default)]
pub struct Headers<'a> {
    buf: &'a [u8],
    fields: &'a [Field],
}

/// One field line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// The name in lower case.
    pub name: &'a [u8],
    /// The value as it was sent, line folds replaced by spaces; sensitive parts are [`REDACTED`].
    pub value: &'a [u8],
    /// The value, or a part of it, was sensitive and is not shown.
    pub redacted: bool,
}

/// The name only: the value may be sensitive.
impl fmt::Debug for Header<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Header").field(&String::from_utf8_lossy(self.name)).finish()
    }
}

/// What stands in place of a sensitive value.
pub const REDACTED: &str = "REDACTED";

impl<'a> Headers<'a> {
    /// How many field lines there are.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The field line at `index`.
    pub fn at(&self, index: usize) -> Option<Header<'a>> {
        let field = self.fields.get(index)?;
        let value = if field.redacted { REDACTED.as_bytes() } else { field.value.of(self.buf) };
        Some(Header { name: field.name.of(self.buf), value, redacted: field.redacted || field.partly_redacted })
    }

    /// The field lines in order.
    pub fn iter(&self) -> impl Iterator<Item = Header<'a>> + use<'a> {
        let this = *self;
        (0..this.fields.len()).filter_map(move |index| this.at(index))
    }

    /// The first value of the field `name` (in lower case).
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        let field = self
            .fields
            .iter()
            .find(|field| field.name.len as usize == name.len() && field.name.of(self.buf) == name.as_bytes())?;
        Some(if field.redacted { REDACTED.as_bytes() } else { field.value.of(self.buf) })
    }
}

/// Names only: values may be sensitive.
impl fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|header| String::from_utf8_lossy(header.name))).finish()
    }
}
