//! A set of block hashes that forgets the least recently used one when full.

use std::collections::BTreeMap;

/// Keys with the order in which they were last touched.
#[derive(Debug, Default)]
pub(super) struct Lru {
    capacity: usize,
    clock: u64,
    touched: BTreeMap<u64, u64>,
    order: BTreeMap<u64, u64>,
}

impl Lru {
    /// Holds at most `capacity` keys; 0 holds none.
    pub(super) fn new(capacity: usize) -> Lru {
        Lru { capacity, ..Lru::default() }
    }

    pub(super) fn contains(&self, key: u64) -> bool {
        self.touched.contains_key(&key)
    }

    /// Makes `key` the most recent one, adding it if need be.
    pub(super) fn touch(&mut self, key: u64) {
        if self.capacity == 0 {
            return;
        }
        self.clock += 1;
        if let Some(before) = self.touched.insert(key, self.clock) {
            self.order.remove(&before);
        }
        self.order.insert(self.clock, key);
        if self.touched.len() > self.capacity
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.touched.remove(&oldest);
        }
    }
}
