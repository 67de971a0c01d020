//! Strings of JSON without their escapes, piece by piece: nothing is copied that stands plain.
//!
//! A half of a surrogate pair alone is written in three bytes as if it were a character; an escape that JSON does not
//! know stays as it is. Bytes that are no UTF-8 stay, too.

use memchr::memchr;

/// Takes text in pieces.
pub(super) trait Take {
    /// Takes a piece. False: no more is wanted.
    fn take(&mut self, bytes: &[u8]) -> bool;
}

/// The text of a string (as written, without its quotes), in pieces.
pub(super) fn unescape(raw: &[u8], to: &mut impl Take) {
    let mut rest = raw;
    while !rest.is_empty() {
        let plain = memchr(b'\\', rest).unwrap_or(rest.len());
        let wanted = to.take(&rest[..plain]);
        rest = &rest[plain..];
        if !wanted || rest.is_empty() {
            return;
        }
        let (bytes, length, taken) = escape(rest);
        if !to.take(&bytes[..length]) {
            return;
        }
        rest = &rest[taken..];
    }
}

/// What the escape at the beginning of `raw` stands for: bytes, how many of them count, and how many the escape has.
fn escape(raw: &[u8]) -> ([u8; 4], usize, usize) {
    let plain = match raw.get(1) {
        Some(b'n') => b'\n',
        Some(b't') => b'\t',
        Some(b'r') => b'\r',
        Some(b'b') => 8,
        Some(b'f') => 12,
        Some(byte @ (b'"' | b'\\' | b'/')) => *byte,
        Some(b'u') => {
            if let Some(unit) = unit(raw) {
                return character(unit, &raw[6..]);
            }
            return ([b'\\', 0, 0, 0], 1, 1);
        }
        _ => return ([b'\\', 0, 0, 0], 1, 1),
    };
    ([plain, 0, 0, 0], 1, 2)
}

/// The four hexadecimal digits of `\uXXXX` at the beginning of `raw`.
fn unit(raw: &[u8]) -> Option<u32> {
    let digits = raw.strip_prefix(b"\\u")?.first_chunk::<4>()?;
    digits.iter().try_fold(0, |number, digit| Some(number * 16 + char::from(*digit).to_digit(16)?))
}

/// The character of one UTF-16 unit, with the one that `rest` begins with if the two are a pair.
fn character(first: u32, rest: &[u8]) -> ([u8; 4], usize, usize) {
    let second = unit(rest).filter(|second| (0xd800..0xdc00).contains(&first) && (0xdc00..0xe000).contains(second));
    let (code, taken) = match second {
        Some(second) => (0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00), 12),
        None => (first, 6),
    };
    let mut bytes = [0; 4];
    match char::from_u32(code) {
        Some(character) => {
            let length = character.encode_utf8(&mut bytes).len();
            (bytes, length, taken)
        }
        None => {
            let low = |shift: u32| 0x80 | (code >> shift & 0x3f) as u8;
            ([0xe0 | (code >> 12) as u8, low(6), low(0), 0], 3, taken)
        }
    }
}

/// The first bytes of a string as read, and how long it is (at least, if longer than `N`).
pub(super) struct Head<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

/// A key as read, if it is short: no key that means anything to us is longer.
pub(super) type Name = Head<24>;

impl<const N: usize> Head<N> {
    /// The head of a string as written, without its quotes.
    pub(super) fn of(raw: &[u8]) -> Head<N> {
        let mut head = Head { bytes: [0; N], length: 0 };
        unescape(raw, &mut head);
        head
    }

    /// What there is of it.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length.min(N)]
    }

    /// True if the whole string is this one.
    pub(super) fn is(&self, name: &str) -> bool {
        self.length <= N && self.bytes() == name.as_bytes()
    }
}

impl<const N: usize> Take for Head<N> {
    fn take(&mut self, bytes: &[u8]) -> bool {
        let room = self.bytes.get_mut(self.length..).unwrap_or_default();
        let fits = bytes.len().min(room.len());
        room[..fits].copy_from_slice(&bytes[..fits]);
        self.length += bytes.len();
        self.length <= N
    }
}
