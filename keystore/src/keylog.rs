//! Key-log text to secrets: the lines of an SSLKEYLOGFILE (RFC 9850), of F5 iRules and of what syslog makes of them.
//!
//! ```text
//!  [prefix] LABEL <64 hex: client random> <hex: secret> [rest]
//!  [prefix] RSA Session-ID:<2..64 hex> Master-Key:<96 hex> [rest]
//!  # comment
//! ```
//!
//! A label counts wherever it stands, either hex case does, lines end with LF, CR or CRLF. Of secrets, zeros and nothing are
//! what an iRule sends for those that the negotiated version does not have: they are counted and dropped. Parsing a line
//! allocates nothing (but for premaster secrets longer than `Secret::INLINE`).

mod feed;
mod fuzz;
mod hex;
mod load;

use crate::{ClientRandom, KeyId, Label, Secret};

pub use feed::{Feed, FeedEvent};
pub use fuzz::fuzz_keylog;
pub use load::{Loader, Report, load_keylog, load_keylog_file};

/// What one line says.
#[derive(Debug)]
pub enum Line {
    /// A secret of one connection.
    Secret {
        /// Whose.
        random: ClientRandom,
        /// Which.
        label: Label,
        /// The secret itself.
        secret: Secret,
    },
    /// The master secret of a session that may be resumed.
    Session {
        /// The session id.
        id: KeyId,
        /// Its master secret, 48 octets.
        master: Secret,
    },
}

/// Why a line that is no comment gives no secret. One counter each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum LineError {
    /// Nothing in it looks like a label that is followed by hex digits.
    #[error("no known label")]
    NoLabel,
    /// No secret after the random, or neither: an iRule's line for a secret that the connection does not have.
    #[error("no secret")]
    Empty,
    /// A secret, or a client random, of zeros: a placeholder.
    #[error("a secret or a client random of zeros")]
    Zero,
    /// A client random of other than 64 digits.
    #[error("a client random that is not 64 hex digits")]
    RandomLength,
    /// A session id of other than 2 to 64 digits.
    #[error("a session id that is not 2 to 64 hex digits")]
    SessionIdLength,
    /// A secret whose length does not fit its label.
    #[error("a secret of the wrong length")]
    SecretLength,
    /// Something other than hex digits where they should be, or half an octet.
    #[error("not hex")]
    NotHex,
    /// `RSA <16 digits> <premaster secret>`, the oldest form: it is filed under a part of the encrypted premaster secret.
    #[error("the old form `RSA <encrypted premaster> <premaster>` is not supported; log CLIENT_RANDOM lines")]
    EncryptedPremaster,
    /// Longer than any line can be. Nothing of it was kept.
    #[error("line too long")]
    TooLong,
}

impl LineError {
    /// Every error, in the order of their indices in [`Report::rejected`].
    pub const ALL: [Self; 9] = [
        Self::NoLabel,
        Self::Empty,
        Self::Zero,
        Self::RandomLength,
        Self::SessionIdLength,
        Self::SecretLength,
        Self::NotHex,
        Self::EncryptedPremaster,
        Self::TooLong,
    ];

    /// The name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoLabel => "no_label",
            Self::Empty => "empty",
            Self::Zero => "zero",
            Self::RandomLength => "random_length",
            Self::SessionIdLength => "session_id_length",
            Self::SecretLength => "secret_length",
            Self::NotHex => "not_hex",
            Self::EncryptedPremaster => "encrypted_premaster",
            Self::TooLong => "too_long",
        }
    }

    /// Whether it is no fault of the sender: iRules send all lines on every handshake, with nothing or zeros in those that do
    /// not fit the version.
    pub const fn is_expected(self) -> bool {
        matches!(self, Self::Empty | Self::Zero)
    }
}

/// Reads one line, without its end; `Ok(None)` for a blank one or a comment.
///
/// The first label that is followed by hex digits counts; if none is, the error is that of the first.
pub fn parse_line(line: &[u8]) -> Result<Option<Line>, LineError> {
    let line = line.trim_ascii();
    if line.is_empty() || line.starts_with(b"#") {
        return Ok(None);
    }
    let mut error = None;
    let mut rest = line;
    while let Some((word, after)) = next_word(rest) {
        rest = after;
        // A prefix may touch the label: `rule:CLIENT_RANDOM`.
        let start = word.iter().rposition(|octet| !is_label_octet(*octet)).map_or(0, |index| index + 1);
        let name = word.get(start..).unwrap_or_default();
        let parsed = match Label::from_bytes(name) {
            Some(label) => parse_secret(label, after),
            None if name == b"RSA" => parse_rsa(after),
            None => continue,
        };
        match parsed {
            Ok(line) => return Ok(Some(line)),
            Err(this) => _ = error.get_or_insert(this),
        }
    }
    Err(error.unwrap_or(LineError::NoLabel))
}

/// `<client random> <secret>`
fn parse_secret(label: Label, text: &[u8]) -> Result<Line, LineError> {
    let text = text.trim_ascii_start();
    let mut random = ClientRandom([0; 32]);
    // A random is mostly what it should be: then its end need not be looked for.
    let rest = match text.split_at_checked(64) {
        Some((digits, rest @ [b' ' | b'\t', ..])) if hex::decode(digits, &mut random.0).is_ok() => rest,
        _ => {
            let (digits, rest) = hex_field(text)?;
            if digits.len() != 64 {
                return Err(LineError::RandomLength);
            }
            hex::decode(digits, &mut random.0)?;
            rest
        }
    };
    let secret = secret(rest, |len| match label {
        Label::ClientRandom => len == 48,
        Label::PmsClientRandom | Label::EchSecret | Label::EchConfig => len <= Secret::MAX,
        // The hashes of TLS 1.3's suites; 64 is what a SHA-512 one would have.
        _ => matches!(len, 32 | 48 | 64),
    })?;
    if random.0 == [0; 32] {
        return Err(LineError::Zero);
    }
    Ok(Line::Secret { random, label, secret })
}

/// `Session-ID:<session id> Master-Key:<master secret>`
fn parse_rsa(text: &[u8]) -> Result<Line, LineError> {
    let text = text.trim_ascii_start();
    let Some(text) = text.strip_prefix(b"Session-ID:") else {
        let digits = hex_field(text).map_or(0, |(digits, _)| digits.len());
        return Err(if digits == 16 { LineError::EncryptedPremaster } else { LineError::NoLabel });
    };
    if text.trim_ascii_start().starts_with(b"Master-Key:") {
        return Err(LineError::Empty);
    }
    let (digits, rest) = hex_field(text)?;
    if digits.len() > 64 {
        return Err(LineError::SessionIdLength);
    }
    let mut bytes = [0; 32];
    let bytes = bytes.get_mut(..digits.len() / 2).unwrap_or_default();
    hex::decode(digits, bytes)?;
    let id = KeyId::session(bytes).ok_or(LineError::SessionIdLength)?;
    let rest = rest.trim_ascii_start().strip_prefix(b"Master-Key:").ok_or(LineError::NoLabel)?;
    Ok(Line::Session { id, master: secret(rest, |len| len == 48)? })
}

/// The secret that `text` begins with, past blanks.
fn secret(text: &[u8], fits: impl Fn(usize) -> bool) -> Result<Secret, LineError> {
    // Mostly it is the rest of the line.
    let text = text.trim_ascii_start();
    if text.len().is_multiple_of(2) && fits(text.len() / 2) && text.len() <= 2 * Secret::INLINE && !text.is_empty() {
        let mut secret = Secret::zeros(text.len() / 2);
        if hex::decode(text, secret.as_mut_bytes()).is_ok() {
            let zero = secret.as_bytes().iter().fold(0, |any, octet| any | octet) == 0;
            return if zero { Err(LineError::Zero) } else { Ok(secret) };
        }
    }
    let (digits, _) = hex_field(text)?;
    // Placeholders come in any length.
    if digits.iter().all(|digit| *digit == b'0') {
        return Err(LineError::Zero);
    }
    if !digits.len().is_multiple_of(2) {
        return Err(LineError::NotHex);
    }
    if !fits(digits.len() / 2) {
        return Err(LineError::SecretLength);
    }
    let mut secret = Secret::zeros(digits.len() / 2);
    hex::decode(digits, secret.as_mut_bytes())?;
    Ok(secret)
}

/// The hex digits that `text` begins with, past blanks, and what follows them. They end at the end of the line or at
/// something that could not belong to a number: `"`, `}`, a blank, not `x`.
fn hex_field(text: &[u8]) -> Result<(&[u8], &[u8]), LineError> {
    let text = text.trim_ascii_start();
    let len = text.iter().position(|octet| !octet.is_ascii_hexdigit()).unwrap_or(text.len());
    match (len, text.get(len)) {
        (0, None) => Err(LineError::Empty),
        (0, Some(_)) => Err(LineError::NotHex),
        (_, Some(octet)) if octet.is_ascii_alphanumeric() || !octet.is_ascii() || *octet == b'_' => {
            Err(LineError::NotHex)
        }
        _ => Ok(text.split_at(len)),
    }
}

fn next_word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.trim_ascii_start();
    let len = text.iter().position(|octet| octet.is_ascii_whitespace()).unwrap_or(text.len());
    (len > 0).then(|| text.split_at(len))
}

const fn is_label_octet(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || octet == b'_'
}

#[cfg(test)]
mod tests;
