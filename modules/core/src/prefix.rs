//! Which endpoints hold the beginning of a prompt in their cache, as far as we sent it there.
//!
//! A prompt is a chain of block hashes ([`crate::RequestFacts::prompt_blocks`]: [`BLOCK_BYTES`] of text each, every hash covers
//! all text before it; salts come with them). Each endpoint keeps its own blocks in the order of their last use, and
//! forgets the longest unused beyond its capacity. A prompt is noted from its end to its beginning, so a block is never
//! older than those behind it: what an endpoint holds of a prompt is always a leading run, and sets of holders only
//! shrink along the prompt. The search uses that: it looks only where the set changes, and makes no list of endpoints.
//!
//! Memory: a block of one endpoint takes at most [`block_bytes`], growth of the tables included. The limit is shared evenly,
//! so an endpoint gets the smaller of its capacity and its share. Noting and forgetting a block take constant time.
//! Endpoints that are not known hold nothing. [`Caches`] feeds such an index with events and knows when a cache is lost.

use std::collections::HashMap;

use crate::endpoint::EndpointId;
use crate::time::Time;

mod caches;
mod lru;
mod spread;
#[cfg(test)]
mod tests;

pub use caches::{Caches, Held, INDEX_BYTES, UNKNOWN_TOKENS};
use lru::Lru;
use spread::Spread;

/// Text of one block, in bytes.
pub const BLOCK_BYTES: usize = 1024;
/// Tokens of one block, at four bytes each.
pub const BLOCK_TOKENS: u32 = 256;

/// Levels that a search tells apart; of more, the shallowest are dropped.
const LEVELS: usize = 16;
/// Endpoints per word of a set.
const WORD: usize = 64;

/// The most bytes that one block of one endpoint takes in an index of so many endpoints.
pub const fn block_bytes(endpoints: usize) -> usize {
    192 + 16 * words(endpoints)
}

const fn words(endpoints: usize) -> usize {
    if endpoints == 0 { 1 } else { endpoints.div_ceil(WORD) }
}

/// One endpoint's part.
#[derive(Debug)]
struct Place {
    id: EndpointId,
    blocks: Lru,
    capacity: usize,
}

/// Blocks and who holds them.
#[derive(Debug)]
pub struct PrefixIndex {
    most_bytes: usize,
    /// Endpoints by their bit; `None` = free for the next.
    places: Vec<Option<Place>>,
    bits: HashMap<u32, usize, Spread>,
    /// Where in `sets` a block's set of holders begins.
    blocks: HashMap<u64, u32, Spread>,
    sets: Vec<u64>,
    free_sets: Vec<u32>,
    /// Words per set.
    words: usize,
}

impl PrefixIndex {
    /// An empty index that never takes more than `most_bytes`.
    pub fn new(most_bytes: usize) -> PrefixIndex {
        PrefixIndex {
            most_bytes,
            places: Vec::new(),
            bits: HashMap::default(),
            blocks: HashMap::default(),
            sets: Vec::new(),
            free_sets: Vec::new(),
            words: 1,
        }
    }

    /// Makes room for an endpoint that holds at most `capacity` blocks; one that is known gets the new capacity.
    pub fn set_capacity(&mut self, endpoint: EndpointId, capacity: usize) {
        let bit = match self.bits.get(&endpoint.0) {
            Some(bit) => *bit,
            None => self.add(endpoint),
        };
        if let Some(place) = &mut self.places[bit] {
            place.capacity = capacity;
        }
        self.shrink(bit);
    }

    fn add(&mut self, endpoint: EndpointId) -> usize {
        let bit = self.places.iter().position(Option::is_none).unwrap_or(self.places.len());
        let place = Some(Place { id: endpoint, blocks: Lru::default(), capacity: 0 });
        if bit == self.places.len() {
            self.places.push(place);
            self.widen();
        } else {
            self.places[bit] = place;
        }
        self.bits.insert(endpoint.0, bit);
        (0..self.places.len()).for_each(|bit| self.shrink(bit));
        bit
    }

    /// One more endpoint may need sets of one more word.
    fn widen(&mut self) {
        let words = words(self.places.len());
        if words == self.words {
            return;
        }
        let room = vec![0; words - self.words];
        let old = std::mem::take(&mut self.sets);
        self.sets = old.chunks(self.words).flat_map(|set| set.iter().chain(&room)).copied().collect();
        self.words = words;
    }

    /// Blocks that each endpoint may hold at most, whatever its capacity.
    fn share(&self) -> usize {
        let endpoints = self.bits.len().max(1);
        self.most_bytes / block_bytes(self.places.len()) / endpoints
    }

    /// Forgets an endpoint and what it holds.
    pub fn remove(&mut self, endpoint: EndpointId) {
        if let Some(bit) = self.bits.remove(&endpoint.0) {
            self.empty(bit, 0);
            self.places[bit] = None;
        }
    }

    /// The endpoint's cache is empty (it was restarted).
    pub fn clear(&mut self, endpoint: EndpointId) {
        if let Some(bit) = self.bits.get(&endpoint.0).copied() {
            self.empty(bit, 0);
            if let Some(place) = &mut self.places[bit] {
                place.blocks = Lru::default();
            }
        }
    }

    /// Notes that an endpoint computes a prompt now: its blocks are the latest used. Unknown endpoints note nothing.
    pub fn note(&mut self, endpoint: EndpointId, prompt: &[u64], now: Time) {
        let Some(bit) = self.bits.get(&endpoint.0).copied() else { return };
        let share = self.share();
        for block in prompt.iter().rev() {
            let Some(place) = &mut self.places[bit] else { return };
            let most = place.capacity.min(share);
            if place.blocks.touch(*block, now) || most == 0 {
                continue;
            }
            if place.blocks.len() >= most
                && let Some(gone) = place.blocks.pop_oldest()
            {
                self.leave(bit, gone);
            }
            if let Some(place) = &mut self.places[bit] {
                place.blocks.add(*block, now);
            }
            self.join(bit, *block);
        }
    }

    fn shrink(&mut self, bit: usize) {
        let most = self.places[bit].as_ref().map_or(0, |place| place.capacity.min(self.share()));
        self.empty(bit, most);
        if let Some(place) = &mut self.places[bit] {
            place.blocks.compact();
        }
    }

    /// Forgets an endpoint's oldest blocks until so many are left.
    fn empty(&mut self, bit: usize, left: usize) {
        while let Some(place) = &mut self.places[bit]
            && place.blocks.len() > left
            && let Some(gone) = place.blocks.pop_oldest()
        {
            self.leave(bit, gone);
        }
    }

    fn join(&mut self, bit: usize, block: u64) {
        let (sets, free_sets, words) = (&mut self.sets, &mut self.free_sets, self.words);
        let set = *self.blocks.entry(block).or_insert_with(|| {
            free_sets.pop().unwrap_or_else(|| {
                let next = sets.len() / words;
                sets.resize(sets.len() + words, 0);
                next as u32
            })
        });
        self.sets[set as usize * self.words + bit / WORD] |= 1 << (bit % WORD);
    }

    fn leave(&mut self, bit: usize, block: u64) {
        let Some(set) = self.blocks.get(&block).copied() else { return };
        let start = set as usize * self.words;
        self.sets[start + bit / WORD] &= !(1 << (bit % WORD));
        if self.sets[start..start + self.words].iter().all(|word| *word == 0) {
            self.blocks.remove(&block);
            self.free_sets.push(set);
        }
    }

    fn holders(&self, block: u64) -> Option<&[u64]> {
        let start = *self.blocks.get(&block)? as usize * self.words;
        self.sets.get(start..start + self.words)
    }

    /// Who holds how much of a prompt.
    pub fn find(&self, prompt: &[u64]) -> Matches<'_> {
        let mut matches = Matches { index: self, levels: [(0, &[]); LEVELS], used: 0 };
        let mut from = 0;
        while let Some(set) = prompt.get(from).and_then(|block| self.holders(*block)) {
            let same = |place: usize| self.holders(prompt[place]).is_some_and(|other| other == set);
            let (mut inside, mut step) = (from, 1);
            while inside + step < prompt.len() && same(inside + step) {
                inside += step;
                step *= 2;
            }
            let mut outside = (inside + step).min(prompt.len());
            while outside - inside > 1 {
                let middle = inside.midpoint(outside);
                if same(middle) { inside = middle } else { outside = middle }
            }
            matches.push(outside as u32, set);
            from = outside;
        }
        matches
    }

    /// Leading blocks of what an endpoint holds of a prompt that were used at `since` or later. A block is never used later
    /// than those before it.
    pub fn used_since(&self, endpoint: EndpointId, held: &[u64], since: Time) -> u32 {
        let place = self.bits.get(&endpoint.0).and_then(|bit| self.places[*bit].as_ref());
        let is_late = |block: &u64| place.and_then(|place| place.blocks.used(*block)).is_some_and(|used| used >= since);
        match held.last() {
            Some(last) if is_late(last) => held.len() as u32,
            _ => held.partition_point(is_late) as u32,
        }
    }

    /// Blocks that an endpoint holds.
    pub fn held(&self, endpoint: EndpointId) -> usize {
        let bit = self.bits.get(&endpoint.0);
        bit.and_then(|bit| self.places[*bit].as_ref()).map_or(0, |place| place.blocks.len())
    }

    /// The endpoints that it knows.
    pub fn endpoints(&self) -> impl Iterator<Item = EndpointId> + '_ {
        self.places.iter().flatten().map(|place| place.id)
    }

    /// Bytes that its tables take, empty room included.
    pub fn bytes(&self) -> usize {
        let places: usize = self.places.iter().flatten().map(|place| place.blocks.bytes()).sum();
        places + lru::map_bytes(self.blocks.capacity()) + 8 * self.sets.capacity() + 4 * self.free_sets.capacity()
    }
}

/// What a search found: sets of holders, each smaller than the one before.
#[derive(Clone, Copy, Debug)]
pub struct Matches<'a> {
    index: &'a PrefixIndex,
    /// Blocks, and who holds at least so many.
    levels: [(u32, &'a [u64]); LEVELS],
    used: usize,
}

impl<'a> Matches<'a> {
    fn push(&mut self, blocks: u32, set: &'a [u64]) {
        if self.used == LEVELS {
            self.levels.rotate_left(1);
            self.used -= 1;
        }
        self.levels[self.used] = (blocks, set);
        self.used += 1;
    }

    /// True if nobody holds anything of it.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Leading blocks that the endpoint holds.
    pub fn blocks(&self, endpoint: EndpointId) -> u32 {
        if self.used == 0 {
            return 0;
        }
        let Some(bit) = self.index.bits.get(&endpoint.0) else { return 0 };
        let holds = |set: &[u64]| set.get(bit / WORD).is_some_and(|word| word >> (bit % WORD) & 1 == 1);
        let deepest = self.levels[..self.used].iter().rev().find(|(_, set)| holds(set));
        deepest.map_or(0, |(blocks, _)| *blocks)
    }
}
