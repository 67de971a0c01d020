//! Who served whom: a bounded table from a key's hash to an endpoint. An entry lives `ttl` after its last use; beyond the
//! bound the longest unused goes. Every step is O(1): entries lie in one piece and are linked by use; only dropping an
//! endpoint's entries, after a reload, looks at all of them. About 60 bytes an entry.

use std::collections::HashMap;
use std::time::Duration;

use crate::endpoint::EndpointId;
use crate::time::Time;

/// No place.
const NOWHERE: u32 = u32::MAX;
/// Expired entries that one note clears away, at most.
const CLEARED_AT_ONCE: usize = 4;
/// Entries beyond the bound that one note takes out, at most: a bound that a reload made smaller is come to step by step.
const EVICTED_AT_ONCE: usize = 64;

/// One entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tie {
    pub(crate) key: u64,
    pub(crate) endpoint: EndpointId,
    /// An answer came from there: it may hold something of this key.
    pub(crate) proven: bool,
    pub(crate) used: Time,
    ttl: Duration,
    older: u32,
    newer: u32,
}

impl Tie {
    /// When it is forgotten, unless it is used before.
    pub(crate) fn until(&self) -> Time {
        self.used + self.ttl
    }
}

/// The table.
#[derive(Debug)]
pub(crate) struct Ties {
    places: HashMap<u64, u32>,
    ties: Vec<Tie>,
    oldest: u32,
    newest: u32,
}

impl Default for Ties {
    fn default() -> Self {
        Ties { places: HashMap::new(), ties: Vec::new(), oldest: NOWHERE, newest: NOWHERE }
    }
}

impl Ties {
    pub(crate) fn len(&self) -> usize {
        self.ties.len()
    }

    /// The entry of a key, unless it is too old.
    pub(crate) fn get(&self, key: u64, now: Time) -> Option<&Tie> {
        let tie = self.ties.get(*self.places.get(&key)? as usize)?;
        (tie.until() > now).then_some(tie)
    }

    /// Notes who serves a key; `most` entries stay. Another endpoint than before has proved nothing.
    pub(crate) fn note(&mut self, key: u64, endpoint: EndpointId, ttl: Duration, most: usize, now: Time) {
        if most == 0 {
            return;
        }
        match self.places.get(&key).copied() {
            Some(place) => {
                let tie = &mut self.ties[place as usize];
                let same = tie.endpoint == endpoint && tie.until() > now;
                *tie = Tie { endpoint, ttl, used: now, proven: tie.proven && same, ..*tie };
                self.unlink(place);
                self.link_newest(place);
            }
            None => self.add(key, endpoint, ttl, now),
        }
        for _ in 0..self.len().saturating_sub(most).min(EVICTED_AT_ONCE) {
            self.remove(self.oldest);
        }
        for _ in 0..CLEARED_AT_ONCE {
            match self.ties.get(self.oldest as usize) {
                Some(tie) if tie.until() <= now => self.remove(self.oldest),
                _ => break,
            }
        }
    }

    fn add(&mut self, key: u64, endpoint: EndpointId, ttl: Duration, now: Time) {
        let place = self.ties.len() as u32;
        let proven = false;
        self.ties.push(Tie { key, endpoint, proven, used: now, ttl, older: NOWHERE, newer: NOWHERE });
        self.places.insert(key, place);
        self.link_newest(place);
    }

    /// The endpoint answered a request of this key.
    pub(crate) fn prove(&mut self, key: u64, endpoint: EndpointId) {
        let tie = self.places.get(&key).and_then(|place| self.ties.get_mut(*place as usize));
        if let Some(tie) = tie.filter(|tie| tie.endpoint == endpoint) {
            tie.proven = true;
        }
    }

    /// Forgets a key. True if it was known.
    pub(crate) fn forget(&mut self, key: u64) -> bool {
        let place = self.places.get(&key).copied();
        place.map(|place| self.remove(place)).is_some()
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) -> usize {
        std::mem::take(self).len()
    }

    /// Forgets the entries of endpoints that are not to stay.
    pub(crate) fn retain(&mut self, stays: impl Fn(EndpointId) -> bool) {
        let gone: Vec<u64> = self.ties.iter().filter(|tie| !stays(tie.endpoint)).map(|tie| tie.key).collect();
        for key in gone {
            self.forget(key);
        }
    }

    /// The entries that are not too old, in no order.
    pub(crate) fn iter(&self, now: Time) -> impl Iterator<Item = &Tie> {
        self.ties.iter().filter(move |tie| tie.until() > now)
    }

    /// Takes an entry out; the last one moves into its place.
    fn remove(&mut self, place: u32) {
        self.unlink(place);
        let gone = self.ties.swap_remove(place as usize);
        self.places.remove(&gone.key);
        let Some(moved) = self.ties.get(place as usize).copied() else { return };
        self.places.insert(moved.key, place);
        match self.ties.get_mut(moved.older as usize) {
            Some(older) => older.newer = place,
            None => self.oldest = place,
        }
        match self.ties.get_mut(moved.newer as usize) {
            Some(newer) => newer.older = place,
            None => self.newest = place,
        }
    }

    fn unlink(&mut self, place: u32) {
        let Tie { older, newer, .. } = self.ties[place as usize];
        match self.ties.get_mut(older as usize) {
            Some(tie) => tie.newer = newer,
            None => self.oldest = newer,
        }
        match self.ties.get_mut(newer as usize) {
            Some(tie) => tie.older = older,
            None => self.newest = older,
        }
    }

    fn link_newest(&mut self, place: u32) {
        let before = std::mem::replace(&mut self.newest, place);
        match self.ties.get_mut(before as usize) {
            Some(tie) => tie.newer = place,
            None => self.oldest = place,
        }
        (self.ties[place as usize].older, self.ties[place as usize].newer) = (before, NOWHERE);
    }
}

#[cfg(test)]
mod tests;
