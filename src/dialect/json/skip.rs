//! Skips the text of a string: the one loop that sees nearly every byte of a body.

use memchr::memchr2;

/// True if a control character is among `bytes`. Compact JSON has none, so one look at a whole chunk saves a look at
/// each of its strings.
pub(super) fn has_control(bytes: &[u8]) -> bool {
    let control = |block: &[u8]| block.iter().fold(false, |hit, byte| hit | (*byte < 0x20));
    // blocks of a fixed size become vector code, and a hit ends the look
    let (blocks, rest) = bytes.as_chunks::<256>();
    blocks.iter().any(|block| control(block)) || control(rest)
}

/// Length of the leading bytes that are neither a quote, a backslash nor a control character. `clean`: it is known that
/// there are no control characters.
pub(super) fn plain_run(bytes: &[u8], clean: bool) -> usize {
    let run = memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len());
    if clean || !has_control(&bytes[..run]) {
        return run;
    }
    bytes.iter().position(|byte| *byte < 0x20).unwrap_or(run)
}

#[cfg(test)]
mod tests;
