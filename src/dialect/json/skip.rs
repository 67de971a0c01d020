//! Skips the text of a string: the one loop that sees nearly every byte of a body.

/// Length of the leading bytes that are neither a quote, a backslash nor a control character. Whole blocks first (the
/// compiler makes them vectors), then words, then bytes.
pub(super) fn plain_run(bytes: &[u8]) -> usize {
    let special = |byte: u8| byte == b'"' || byte == b'\\' || byte < 0x20;
    let is_plain = |block: &&[u8]| !block.iter().fold(false, |hit, byte| hit | special(*byte));
    let blocks = bytes.chunks_exact(32).take_while(is_plain).count() * 32;
    let mut run = blocks;
    for word in bytes[blocks..].chunks_exact(8) {
        match first_special(word) {
            Some(place) => return run + place,
            None => run += 8,
        }
    }
    run + bytes[run..].iter().position(|byte| special(*byte)).unwrap_or(bytes.len() - run)
}

/// Place of the first special byte among eight. Each term sets the top bit of every byte it looks for; a wrong bit can
/// only stand after a right one, so the lowest is right.
fn first_special(word: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    let word = u64::from_le_bytes(word.try_into().ok()?);
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word;
    let hits = (below(word ^ (ONES * 0x22), 1) | below(word ^ (ONES * 0x5c), 1) | below(word, 0x20)) & (ONES * 0x80);
    (hits != 0).then(|| hits.trailing_zeros() as usize / 8)
}

#[cfg(test)]
mod tests;
