//! Hashing for keys that are hashes or numbers already: one multiplication and a fold, the same in every process.

use std::hash::{BuildHasherDefault, Hasher};

/// For maps keyed by whole numbers.
pub(super) type Spread = BuildHasherDefault<Multiply>;

/// Takes one number.
#[derive(Debug, Default)]
pub(super) struct Multiply(u64);

/// Odd, with bits all over.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for Multiply {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        let product = (self.0 ^ number).wrapping_mul(FACTOR);
        self.0 = product ^ product >> 32;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
