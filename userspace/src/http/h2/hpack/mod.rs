//! HPACK (RFC 7541) as an observer needs it: header blocks to header fields.
//!
//! A peer's decoder has seen every header block of its connection, and gives the connection up at the first error. An
//! observer may have joined later or have lost a block, and goes on: an index that points to what it has not seen yields
//! a field whose name, value or both are *unknown*, never a guessed one, and what it learns afterwards is used. Why that
//! is safe stands in [`table`].
//!
//! ```text
//!   0   1   2   3   4   5   6   7
//! +---+---+---+---+---+---+---+---+
//! | 1 |        Index (7+)         |  indexed field                              section 6.1
//! | 0 | 1 |      Index (6+)       |  literal, becomes the newest dynamic entry  section 6.2.1
//! | 0 | 0 | 1 |   Max size (5+)   |  dynamic table size update                  section 6.3
//! | 0 | 0 | 0 | 1 |  Index (4+)   |  literal, never indexed: sensitive          section 6.2.3
//! | 0 | 0 | 0 | 0 |  Index (4+)   |  literal, not indexed                       section 6.2.2
//! +---+---+-----------------------+
//! | H |    Name length (7+)       |  only where a literal's index is 0; H: Huffman coded
//! | H |    Value length (7+)      |  of every literal
//! +---+---------------------------+
//! ```

pub mod huffman;
pub mod static_table;
pub mod table;

#[cfg(test)]
mod tests;

use table::{Entry, Table};

/// One direction's header decompression.
#[derive(Debug)]
pub struct Decoder {
    table: Table,
}

/// A header field; `None` is what only someone who saw the whole connection could know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its name as sent (lower case, if the peer obeys RFC 9113 section 8.2).
    pub name: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
    /// The sender asked for it to be kept out of every table: it holds a secret.
    pub never_indexed: bool,
}

/// Room for strings while they are decoded; may be shared by any number of decoders.
#[derive(Debug, Default)]
pub struct Scratch {
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Scratch {
    /// Gives the memory back.
    pub fn trim(&mut self) {
        *self = Self::default();
    }
}

/// What a whole header block was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// Fields of which the name or the value is unknown.
    pub unknown: u32,
    /// Indices to entries that a table known in full does not have: the peer errs, or something was lost unnoticed.
    /// The table is unknown from there on.
    pub beyond_table: u32,
}

/// Why a header block could not be decoded to its end (the peer's doing; RFC 9113 section 4.3 ends the connection for it).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HpackError {
    /// The block ends inside a field.
    Truncated,
    /// An integer of more than 32 bits.
    IntegerOverflow,
    /// An indexed field with the index 0.
    ZeroIndex,
    /// A string that is not Huffman code.
    Huffman,
}

impl Decoder {
    /// The decoder of a connection that is seen from its start: an empty table of at most 4,096 octets (RFC 9113 section
    /// 6.5.2). `limit` octets at most are kept, however large a table the peers agree on.
    pub fn new(limit: usize) -> Self {
        Self { table: Table::new(limit) }
    }

    /// The decoder of a connection whose earlier header blocks were not seen.
    pub fn unknown(limit: usize) -> Self {
        let mut table = Table::new(limit);
        table.forget();
        Self { table }
    }

    /// Takes note that header blocks may have been missed.
    pub fn forget(&mut self) {
        self.table.forget();
    }

    /// Decodes a header block, the octets of a HEADERS or PUSH_PROMISE frame and its CONTINUATIONs, and gives its fields
    /// to `each` in order.
    ///
    /// After an error the fields given are right, the rest is lost and the table is unknown.
    pub fn decode(
        &mut self,
        block: &[u8],
        scratch: &mut Scratch,
        each: impl FnMut(Field<'_>),
    ) -> Result<Decoded, HpackError> {
        let mut decoded = Decoded::default();
        let result = self.decode_fields(&mut Reader { rest: block }, scratch, &mut decoded, each);
        if result.is_err() {
            self.table.forget();
        }
        result.map(|()| decoded)
    }

    /// Decodes what there is of a block whose end is lost; the table is unknown afterwards.
    pub fn decode_prefix(&mut self, block: &[u8], scratch: &mut Scratch, each: impl FnMut(Field<'_>)) -> Decoded {
        let mut decoded = Decoded::default();
        // An error is what is expected here: the last field is cut.
        let _ = self.decode_fields(&mut Reader { rest: block }, scratch, &mut decoded, each);
        self.table.forget();
        decoded
    }

    /// The dynamic table.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Gives spare memory back.
    pub fn trim(&mut self) {
        self.table.trim();
    }

    fn decode_fields(
        &mut self,
        block: &mut Reader<'_>,
        scratch: &mut Scratch,
        decoded: &mut Decoded,
        mut each: impl FnMut(Field<'_>),
    ) -> Result<(), HpackError> {
        while let Some(first) = block.next() {
            if first & 0x80 != 0 {
                let index = block.integer(first, 7)?;
                if index == 0 {
                    return Err(HpackError::ZeroIndex);
                }
                let Entry { name, value } = self.entry(index, decoded);
                decoded.unknown += u32::from(name.is_none() || value.is_none());
                each(Field { name, value, never_indexed: false });
            } else if first & 0x40 != 0 {
                let index = block.integer(first, 6)?;
                let value = self.literal(block, index, false, scratch, decoded, &mut each)?;
                match index {
                    0 => self.table.insert(Some(&scratch.name), value.of(&scratch.value)),
                    _ => self.table.insert_named_by(index, value.of(&scratch.value)),
                }
            } else if first & 0x20 != 0 {
                // Only lawful before a block's first field, but its meaning is clear wherever it stands.
                self.table.set_max_size(block.integer(first, 5)?);
            } else {
                let index = block.integer(first, 4)?;
                self.literal(block, index, first & 0x10 != 0, scratch, decoded, &mut each)?;
            }
        }
        Ok(())
    }

    /// Reads a literal and gives it to `each`. A literal name is left in `scratch.name`, the value where the result says.
    fn literal<'b>(
        &mut self,
        block: &mut Reader<'b>,
        index: u32,
        never_indexed: bool,
        scratch: &mut Scratch,
        decoded: &mut Decoded,
        each: &mut impl FnMut(Field<'_>),
    ) -> Result<Text<'b>, HpackError> {
        if index == 0
            && let Text::InBlock(name) = block.string(&mut scratch.name)?
        {
            scratch.name.clear();
            scratch.name.extend_from_slice(name);
        }
        let value = block.string(&mut scratch.value)?;
        let name = if index == 0 { Some(scratch.name.as_slice()) } else { self.entry(index, decoded).name };
        decoded.unknown += u32::from(name.is_none());
        each(Field { name, value: Some(value.of(&scratch.value)), never_indexed });
        Ok(value)
    }

    fn entry(&mut self, index: u32, decoded: &mut Decoded) -> Entry<'_> {
        if self.table.lacks(index) {
            decoded.beyond_table += 1;
            self.table.forget();
        }
        self.table.entry(index)
    }
}

/// Where a string stands.
#[derive(Clone, Copy)]
enum Text<'b> {
    InBlock(&'b [u8]),
    Decoded,
}

impl<'b> Text<'b> {
    fn of<'a>(self, decoded: &'a [u8]) -> &'a [u8]
    where
        'b: 'a,
    {
        match self {
            Self::InBlock(text) => text,
            Self::Decoded => decoded,
        }
    }
}

struct Reader<'b> {
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    /// An integer whose first octet `first` holds its top in the low `prefix` bits (section 5.1).
    fn integer(&mut self, first: u8, prefix: u32) -> Result<u32, HpackError> {
        let mask = (1_u32 << prefix) - 1;
        let top = u32::from(first) & mask;
        if top < mask {
            return Ok(top);
        }
        let mut value = u64::from(top);
        // Five octets carry 35 bits: more than that is no honest 32-bit number, padded with zeros or not.
        for shift in [0, 7, 14, 21, 28] {
            let octet = self.next().ok_or(HpackError::Truncated)?;
            value += u64::from(octet & 0x7f) << shift;
            if octet & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| HpackError::IntegerOverflow);
            }
        }
        Err(HpackError::IntegerOverflow)
    }

    /// A string (section 5.2): left in the block, or decoded into `scratch`.
    fn string(&mut self, scratch: &mut Vec<u8>) -> Result<Text<'b>, HpackError> {
        let first = self.next().ok_or(HpackError::Truncated)?;
        let len = self.integer(first, 7)?;
        let (text, rest) =
            usize::try_from(len).ok().and_then(|len| self.rest.split_at_checked(len)).ok_or(HpackError::Truncated)?;
        self.rest = rest;
        if first & 0x80 == 0 {
            return Ok(Text::InBlock(text));
        }
        scratch.clear();
        huffman::decode(text, scratch).map_err(|_| HpackError::Huffman)?;
        Ok(Text::Decoded)
    }
}
