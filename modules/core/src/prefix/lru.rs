//! One endpoint's blocks in the order of their last use. Everything takes constant time; no limit of its own.

use std::collections::HashMap;

use super::spread::Spread;
use crate::time::Time;

/// No node.
const NONE: u32 = u32::MAX;
/// Unused nodes that are not worth the work.
const SLACK: usize = 64;

#[derive(Clone, Copy, Debug)]
struct Node {
    block: u64,
    newer: u32,
    older: u32,
    /// Its last use.
    used: Time,
}

/// Blocks, doubly linked from the newest to the oldest.
#[derive(Debug)]
pub(super) struct Lru {
    nodes: Vec<Node>,
    places: HashMap<u64, u32, Spread>,
    newest: u32,
    oldest: u32,
    /// Nodes to use again, linked by `older`.
    free: u32,
}

impl Default for Lru {
    fn default() -> Self {
        Lru { nodes: Vec::new(), places: HashMap::default(), newest: NONE, oldest: NONE, free: NONE }
    }
}

impl Lru {
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// When a block was used last; `None` if it is not there.
    pub(super) fn used(&self, block: u64) -> Option<Time> {
        self.places.get(&block).map(|place| self.nodes[*place as usize].used)
    }

    /// Makes a block the newest. False if it is not there.
    pub(super) fn touch(&mut self, block: u64, now: Time) -> bool {
        let Some(place) = self.places.get(&block).copied() else { return false };
        self.nodes[place as usize].used = now;
        if place != self.newest {
            self.unlink(place);
            self.link(place);
        }
        true
    }

    /// Adds a block that is not there as the newest.
    pub(super) fn add(&mut self, block: u64, now: Time) {
        let node = Node { block, newer: NONE, older: NONE, used: now };
        let place = match self.free {
            NONE => {
                self.nodes.push(node);
                (self.nodes.len() - 1) as u32
            }
            place => {
                self.free = self.nodes[place as usize].older;
                self.nodes[place as usize] = node;
                place
            }
        };
        self.places.insert(block, place);
        self.link(place);
    }

    /// Forgets the longest unused block.
    pub(super) fn pop_oldest(&mut self) -> Option<u64> {
        let place = self.oldest;
        let block = self.nodes.get(place as usize)?.block;
        self.unlink(place);
        self.nodes[place as usize].older = self.free;
        self.free = place;
        self.places.remove(&block);
        Some(block)
    }

    /// Gives back room that is not used, once it is most of it.
    pub(super) fn compact(&mut self) {
        if self.nodes.capacity() <= 2 * self.len() + SLACK {
            return;
        }
        let mut compact = Lru {
            nodes: Vec::with_capacity(self.len()),
            places: HashMap::with_capacity_and_hasher(self.len(), Spread::default()),
            ..Lru::default()
        };
        let mut place = self.oldest;
        while let Some(node) = self.nodes.get(place as usize) {
            compact.add(node.block, node.used);
            place = node.newer;
        }
        *self = compact;
    }

    /// Bytes of its tables.
    pub(super) fn bytes(&self) -> usize {
        self.nodes.capacity() * size_of::<Node>() + map_bytes(self.places.capacity())
    }

    fn link(&mut self, place: u32) {
        let before = self.newest;
        (self.nodes[place as usize].newer, self.nodes[place as usize].older) = (NONE, before);
        match before {
            NONE => self.oldest = place,
            before => self.nodes[before as usize].newer = place,
        }
        self.newest = place;
    }

    fn unlink(&mut self, place: u32) {
        let Node { newer, older, .. } = self.nodes[place as usize];
        match newer {
            NONE => self.newest = older,
            newer => self.nodes[newer as usize].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.nodes[older as usize].newer = newer,
        }
    }
}

/// Bytes of a map from blocks to places with room for so many: an eighth of its buckets stays empty, each has a byte of
/// its own.
pub(super) fn map_bytes(room: usize) -> usize {
    (room + room / 7) * (size_of::<(u64, u32)>() + 1)
}
