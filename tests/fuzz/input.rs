//! Makes inputs of bytes: choices one by one, texts of known words, real texts with a few changes, splits.
//!
//! Bytes in, text out, nothing else: so the same bytes are the same input under every engine, and an engine that
//! changes a byte changes one choice. When the bytes run out every choice is the first one. An input that begins with
//! a printable ASCII character is taken as it is: a file of the corpus can be read and written by hand.

use std::fmt::Write as _;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Choices.
pub(crate) struct Dice<'a> {
    bytes: &'a [u8],
}

impl<'a> Dice<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Dice<'a> {
        Dice { bytes }
    }

    /// True if every further choice is the first one.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        *first
    }

    /// A number below `bound` (at least 1).
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let high = if bound > 256 { usize::from(self.byte()) << 8 } else { 0 };
        (high | usize::from(self.byte())) % bound.max(1)
    }

    /// True in one of `times` cases.
    pub(crate) fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == times - 1
    }

    pub(crate) fn pick<'t, T: ?Sized>(&mut self, all: &[&'t T]) -> &'t T {
        all[self.below(all.len())]
    }

    /// All bytes that are left.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.bytes
    }
}

/// The input itself, if it is meant to be the text.
pub(crate) fn plain_text(input: &[u8]) -> Option<&[u8]> {
    input.first().filter(|first| matches!(first, b' '..=b'~' | b'\n' | b'\t')).map(|_| input)
}

/// Known words in any order, and single bytes between them.
pub(crate) fn soup(dice: Dice<'_>, words: &[&[u8]]) -> Vec<u8> {
    let mut text = Vec::new();
    for &byte in dice.rest() {
        match usize::from(byte).checked_sub(0x80) {
            Some(word) => text.extend_from_slice(words[word % words.len()]),
            None => text.push(byte),
        }
    }
    text
}

/// A text with up to `most` changes: parts left out, doubled, moved, overwritten by a known word or any byte.
pub(crate) fn changed(text: &[u8], most: usize, dice: &mut Dice<'_>, words: &[&[u8]]) -> Vec<u8> {
    let mut text = text.to_vec();
    for _ in 0..dice.below(most + 1) {
        let part = part(&text, dice);
        match dice.below(6) {
            0 => drop(text.splice(part, dice.pick(words).iter().copied())),
            1 => drop(text.drain(part)),
            2 => {
                let copy = text[part.clone()].to_vec();
                drop(text.splice(part.end..part.end, copy));
            }
            3 => {
                let moved: Vec<u8> = text.drain(part).collect();
                let to = dice.below(text.len() + 1);
                drop(text.splice(to..to, moved));
            }
            4 => drop(text.splice(part.start..part.start, dice.pick(words).iter().copied())),
            _ => drop(text.splice(part.start..part.start, [dice.byte()])),
        }
    }
    text
}

/// A part of a text: a word, a line, or a few bytes.
fn part(text: &[u8], dice: &mut Dice<'_>) -> Range<usize> {
    let at = dice.below(text.len() + 1);
    let around = |inside: fn(u8) -> bool| {
        let start = text[..at].iter().rposition(|byte| !inside(*byte)).map_or(0, |place| place + 1);
        let end = text[at..].iter().position(|byte| !inside(*byte)).map_or(text.len(), |place| at + place);
        start..end
    };
    match dice.below(4) {
        0 | 1 => around(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'"' | b'/')),
        2 => around(|byte| byte != b'\n'),
        _ => at..text.len().min(at + dice.below(32)),
    }
}

/// Splits of a text: byte by byte (if it is short), and one by chance.
pub(crate) fn splits(text: &[u8], seed: u64) -> Vec<Vec<&[u8]>> {
    let mut all = Vec::new();
    if text.len() <= 2048 {
        all.push(text.chunks(1).collect());
    }
    let mut random = Random(seed | 1);
    let longest = 1 + random.below(if text.len() > 4096 { 4096 } else { 40 });
    let (mut pieces, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        // sometimes nothing: an empty chunk is a chunk
        let (piece, after) = rest.split_at(random.below(longest + 1).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    all.push(pieces);
    all
}

/// A number that depends on every byte of the input.
pub(crate) fn seed_of(input: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(input)
}

/// Numbers that look random and are the same each time (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// Calls `check` with `count` inputs of up to `longest` bytes, the same each time. A failing one is printed.
pub(crate) fn fixed(count: u64, longest: usize, check: fn(&[u8])) {
    for seed in 0..count {
        let mut random = Random(seed);
        let input: Vec<u8> = (0..random.below(longest)).map(|_| random.below(256) as u8).collect();
        if catch_unwind(AssertUnwindSafe(|| check(&input))).is_err() {
            let hex = input.iter().fold(String::new(), |mut hex, byte| {
                let _ = write!(hex, "{byte:02x}");
                hex
            });
            panic!("see above; the input in hex, seed {seed}: {hex}");
        }
    }
}
