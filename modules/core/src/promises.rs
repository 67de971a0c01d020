//! Work promised to endpoints by earlier waiters of one scan of the queue. One row per endpoint, in order of ids, so that
//! pricing a fleet costs a short search per endpoint, however many wait. Milliseconds at batch 1.

use crate::cost::Reserved;
use crate::endpoint::EndpointId;

/// What was promised, by endpoint.
#[derive(Clone, Debug, Default)]
pub struct Promises {
    rows: Vec<(EndpointId, Reserved)>,
}

impl Promises {
    /// Nothing.
    pub const NONE: &'static Promises = &Promises { rows: Vec::new() };

    /// One more request waits for the endpoint, with this much work in milliseconds.
    pub fn add(&mut self, endpoint: EndpointId, ms: f64) {
        match self.place(endpoint) {
            Ok(place) => {
                let row = &mut self.rows[place].1;
                (row.count, row.ms) = (row.count + 1, row.ms + ms);
            }
            Err(place) => self.rows.insert(place, (endpoint, Reserved { count: 1, ms })),
        }
    }

    /// What was promised to the endpoint.
    pub fn of(&self, endpoint: EndpointId) -> Reserved {
        if self.rows.is_empty() {
            return Reserved::default();
        }
        self.place(endpoint).map_or(Reserved::default(), |place| self.rows[place].1)
    }

    /// True if nothing was promised to anybody.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Forgets all of it, and keeps the room.
    pub fn clear(&mut self) {
        self.rows.clear();
    }

    fn place(&self, endpoint: EndpointId) -> Result<usize, usize> {
        self.rows.binary_search_by_key(&endpoint, |(id, _)| *id)
    }
}

impl FromIterator<(EndpointId, f64)> for Promises {
    fn from_iter<I: IntoIterator<Item = (EndpointId, f64)>>(all: I) -> Promises {
        let mut promises = Promises::default();
        all.into_iter().for_each(|(endpoint, ms)| promises.add(endpoint, ms));
        promises
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_add_up_by_endpoint() {
        let (one, two, three) = (EndpointId(1), EndpointId(2), EndpointId(3));
        let mut promises: Promises = [(two, 5.0), (one, 1.0), (two, 7.0)].into_iter().collect();
        assert_eq!(promises.of(two), Reserved { count: 2, ms: 12.0 });
        assert_eq!(promises.of(one), Reserved { count: 1, ms: 1.0 });
        assert_eq!(promises.of(three), Reserved::default());
        promises.clear();
        assert_eq!((promises.of(two), Promises::NONE.of(one)), (Reserved::default(), Reserved::default()));
    }
}
