//! Skipping text finds every byte that means something, at every place.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::{end_of_text, plain_run};

#[test]
fn every_byte_stops_a_run_or_not_at_every_place() {
    for byte in 0..=u8::MAX {
        let stops = byte < 0x20 || byte == b'"' || byte == b'\\';
        for place in 0..80 {
            let mut text = vec![b'a'; 80];
            text[place] = byte;
            assert_eq!(plain_run(&text), if stops { place } else { 80 }, "{byte} at {place}");
            // neighbours just above the limits must not be taken for special ones
            text.iter_mut().skip(place + 1).for_each(|after| *after = 0x20);
            text.iter_mut().take(place).for_each(|before| *before = 0xff);
            assert_eq!(plain_run(&text), if stops { place } else { 80 }, "{byte} at {place}");
        }
    }
}

/// Byte by byte: the rule itself.
fn slow(bytes: &[u8], mut odd: bool) -> Result<usize, bool> {
    for (at, byte) in bytes.iter().enumerate() {
        match (odd, byte) {
            (true, _) => odd = false,
            (false, b'\\') => odd = true,
            (false, b'"') => return Ok(at + 1),
            _ => {}
        }
    }
    Err(odd)
}

proptest! {
    #[test]
    fn the_end_is_found_among_any_escapes(text in "[\"a\\\\]{0,40}", odd: bool) {
        prop_assert_eq!(end_of_text(text.as_bytes(), odd), slow(text.as_bytes(), odd));
    }

    #[test]
    fn pieces_are_read_as_the_whole(text in "[\"a\\\\]{0,40}", cut in 0..40usize) {
        let bytes = text.as_bytes();
        let (first, rest) = bytes.split_at(cut.min(bytes.len()));
        let joined = end_of_text(first, false).or_else(|odd| end_of_text(rest, odd).map(|end| first.len() + end));
        prop_assert_eq!(joined, slow(bytes, false));
    }
}
