//! Canonical text in, chained hashes of its full blocks out. Keeps one block and the hashes, nothing else.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::text::Take;
use super::{BLOCK_BYTES, MAX_BLOCKS};

/// Bytes of a piece that is copied byte by byte.
const SHORT: usize = 8;

/// The blocks of one prompt.
pub(super) struct Chain {
    block: [u8; BLOCK_BYTES],
    filled: usize,
    hashes: [u64; MAX_BLOCKS],
    count: usize,
    /// The hash of the block before, at first the salt.
    last: u64,
}

impl Chain {
    /// No text yet.
    pub(super) fn new(salt: u64) -> Chain {
        Chain { block: [0; BLOCK_BYTES], filled: 0, hashes: [0; MAX_BLOCKS], count: 0, last: salt }
    }

    /// True if nothing more is taken.
    pub(super) fn is_full(&self) -> bool {
        self.count == MAX_BLOCKS
    }

    /// The hashes so far.
    pub(super) fn hashes(&self) -> &[u64] {
        &self.hashes[..self.count]
    }

    fn take_long(&mut self, mut bytes: &[u8]) -> bool {
        while !self.is_full() {
            if self.filled == 0
                && let Some((block, rest)) = bytes.split_at_checked(BLOCK_BYTES)
            {
                self.push(xxh3_64_with_seed(block, self.last));
                bytes = rest;
                continue;
            }
            let (now, rest) = bytes.split_at(bytes.len().min(BLOCK_BYTES - self.filled));
            self.block[self.filled..self.filled + now.len()].copy_from_slice(now);
            self.filled += now.len();
            if self.filled < BLOCK_BYTES {
                return true;
            }
            self.filled = 0;
            self.push(xxh3_64_with_seed(&self.block, self.last));
            bytes = rest;
        }
        false
    }

    fn push(&mut self, hash: u64) {
        self.hashes[self.count] = hash;
        self.count += 1;
        self.last = hash;
    }
}

impl Take for Chain {
    #[inline]
    fn take(&mut self, bytes: &[u8]) -> bool {
        // escapes, marks and numbers come in pieces that a call to copy them would cost more than they do
        let end = self.filled + bytes.len();
        if bytes.len() <= SHORT && end < BLOCK_BYTES {
            for (room, byte) in self.block[self.filled..end].iter_mut().zip(bytes) {
                *room = *byte;
            }
            self.filled = end;
            return true;
        }
        self.take_long(bytes)
    }
}
