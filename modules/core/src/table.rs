//! The fleet's table: every endpoint by its id, oldest first. An id is never used again.

use std::collections::BTreeMap;

use crate::endpoint::{Endpoint, EndpointId};

/// All endpoints of the fleet, by id.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    rows: BTreeMap<EndpointId, Endpoint>,
    next: u32,
}

impl Endpoints {
    /// The endpoint, unless it is gone.
    pub fn get(&self, id: EndpointId) -> Option<&Endpoint> {
        self.rows.get(&id)
    }

    /// The endpoint, to change: the fleet's and the tests' way.
    pub fn get_mut(&mut self, id: EndpointId) -> Option<&mut Endpoint> {
        self.rows.get_mut(&id)
    }

    /// Adds an endpoint and gives it its id.
    pub fn insert(&mut self, mut endpoint: Endpoint) -> EndpointId {
        let id = EndpointId(self.next);
        self.next += 1;
        endpoint.id = id;
        self.rows.insert(id, endpoint);
        id
    }

    /// Forgets an endpoint.
    pub fn remove(&mut self, id: EndpointId) -> Option<Endpoint> {
        self.rows.remove(&id)
    }

    /// All endpoints, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Endpoint> {
        self.rows.values()
    }
}
