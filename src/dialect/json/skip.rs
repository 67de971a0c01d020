//! Skips the text of strings: the loops that see nearly every byte of a body.

use memchr::{memchr, memchr2};

/// Where a string ends that nobody wants: the place behind its closing quote. `odd`: the first byte is escaped by the
/// byte before. Without an end: whether the byte after these is escaped.
pub(in crate::dialect) fn end_of_text(bytes: &[u8], odd: bool) -> Result<usize, bool> {
    if bytes.is_empty() {
        return Err(odd);
    }
    let mut from = usize::from(odd);
    loop {
        let quote = memchr(b'"', &bytes[from..]).map(|place| from + place);
        let text = &bytes[from..quote.unwrap_or(bytes.len())];
        let slashes = text.iter().rev().take_while(|byte| **byte == b'\\').count();
        match (quote, slashes % 2 == 1) {
            (Some(quote), true) => from = quote + 1,
            (Some(quote), false) => return Ok(quote + 1),
            (None, is_odd) => return Err(is_odd),
        }
    }
}

/// Length of the leading bytes that are neither a quote, a backslash nor a control character.
pub(super) fn plain_run(bytes: &[u8]) -> usize {
    let run = memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len());
    bytes[..run].iter().position(|byte| *byte < 0x20).unwrap_or(run)
}

#[cfg(test)]
mod tests;
