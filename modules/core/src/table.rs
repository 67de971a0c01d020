//! The fleet's table: every endpoint by its id, oldest first. An id is never used again. Strategies look up every
//! candidate for every pick, so rows lie in one piece and, until one is removed, at the place that their id says.

use std::cell::RefCell;

use xxhash_rust::xxh3::xxh3_64;

use crate::endpoint::{Endpoint, EndpointId};

mod copies;
mod notes;

use copies::Copies;
pub(crate) use notes::Note;

/// All endpoints of the fleet, by id.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    /// The ids of `rows`, ascending.
    ids: Vec<EndpointId>,
    rows: Vec<Endpoint>,
    next: u32,
    copies: RefCell<Copies>,
    notes: Vec<Note>,
}

impl Endpoints {
    /// The endpoint, unless it is gone.
    pub fn get(&self, id: EndpointId) -> Option<&Endpoint> {
        self.rows.get(self.place(id)?)
    }

    /// The endpoint, to change: the fleet's and the tests' way.
    pub fn get_mut(&mut self, id: EndpointId) -> Option<&mut Endpoint> {
        let place = self.place(id)?;
        self.copies.get_mut().touched(place);
        self.notes[place].forget();
        self.rows.get_mut(place)
    }

    /// Adds an endpoint and gives it its id and its key.
    pub fn insert(&mut self, mut endpoint: Endpoint) -> EndpointId {
        let id = EndpointId(self.next);
        self.next += 1;
        endpoint.id = id;
        endpoint.key = xxh3_64(endpoint.spec.identity.as_bytes());
        self.ids.push(id);
        self.rows.push(endpoint);
        self.copies.get_mut().pushed();
        self.notes.push(Note::default());
        id
    }

    /// Forgets an endpoint.
    pub fn remove(&mut self, id: EndpointId) -> Option<Endpoint> {
        let place = self.place(id)?;
        self.ids.remove(place);
        self.copies.get_mut().removed(place);
        self.notes.remove(place);
        Some(self.rows.remove(place))
    }

    /// All endpoints, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Endpoint> {
        self.rows.iter()
    }

    /// How many endpoints hold a model, by the engines' own names.
    pub(crate) fn copies(&self, model: &str) -> u32 {
        self.copies.borrow_mut().of(model, &self.rows)
    }

    /// The endpoint and what prices found out about it.
    pub(crate) fn row(&self, id: EndpointId) -> Option<(&Endpoint, &Note)> {
        let place = self.place(id)?;
        Some((self.rows.get(place)?, self.notes.get(place)?))
    }

    /// All endpoints, to change; but for which models are resident.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Endpoint> {
        self.notes.iter_mut().for_each(Note::forget);
        self.rows.iter_mut()
    }

    fn place(&self, id: EndpointId) -> Option<usize> {
        let distance = id.0.checked_sub(self.ids.first()?.0)? as usize;
        match self.ids.get(distance) {
            Some(there) if *there == id => Some(distance),
            _ => self.ids.binary_search(&id).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_whatever_was_removed() {
        let mut table = Endpoints::default();
        let ids: Vec<EndpointId> = (0..50).map(|_| table.insert(Endpoint::default())).collect();
        let gone = |id: &EndpointId| id.0.is_multiple_of(3) || id.0 == 49;
        for id in ids.iter().filter(|id| gone(id)) {
            assert_eq!(table.remove(*id).map(|row| row.id), Some(*id));
            assert!(table.remove(*id).is_none(), "removed once");
        }
        for id in &ids {
            assert_eq!(table.get(*id).map(|row| row.id), Some(*id).filter(|id| !gone(id)));
        }
        let newest = table.insert(Endpoint::default());
        assert_eq!((newest, table.get(newest).map(|row| row.id)), (EndpointId(50), Some(newest)), "no id comes twice");
        assert!(table.iter().map(|row| row.id).is_sorted());
        assert!(table.get(EndpointId::default()).is_none() && Endpoints::default().get(newest).is_none());
    }
}
