//! The herd's books against the fleet's: after every step, and at the end.

use std::collections::BTreeMap;
use std::sync::Arc;

use arriero_core::{AffinityRow, EndpointId, Outcome};

use super::{Herd, QUEUE};

impl Herd {
    /// The fleet's books and ours agree.
    pub fn check(&self) {
        let mut on: BTreeMap<EndpointId, u32> = BTreeMap::new();
        for running in self.running.values() {
            *on.entry(running.grant.endpoint).or_default() += 1;
        }
        for endpoint in self.fleet.endpoints().iter() {
            assert_eq!(endpoint.in_flight(), on.remove(&endpoint.id).unwrap_or(0), "in-flight of {:?}", endpoint.id);
        }
        assert!(on.is_empty(), "an endpoint was forgotten while it held attempts");
        let views = self.fleet.pool_ids().map(|id| self.fleet.pool_view(id).unwrap());
        let (mut queued, mut bytes) = (0, 0);
        for view in views {
            assert!(view.queued <= QUEUE.max_requests && view.queued_bytes <= QUEUE.max_bytes, "the queue is too long");
            queued += view.queued;
            bytes += view.queued_bytes;
        }
        for applied in self.applied.pools.values() {
            let rows: Vec<AffinityRow> = self.fleet.affinity(applied.id).collect();
            assert!(rows.iter().filter(|row| row.is_id).count() <= 5, "too many ids");
            assert!(rows.iter().filter(|row| !row.is_id).count() <= 4, "too many keys");
            assert!(rows.iter().all(|row| applied.endpoints.contains(&row.endpoint)), "an endpoint that is gone");
        }
        assert_eq!(queued, self.waiting.len(), "waiters lost or made up");
        assert_eq!(bytes, self.waiting.values().map(|waiting| waiting.facts.body_bytes).sum::<u64>());
    }

    /// Ends everything and checks that nothing is left.
    pub fn wind_up(mut self) {
        while let Some(ticket) = self.running.keys().next().copied() {
            self.finish(ticket, Outcome::Complete, false);
            self.check();
        }
        while !self.waiting.is_empty() {
            self.advance(QUEUE.timeout);
            while let Some(ticket) = self.running.keys().next().copied() {
                self.finish(ticket, Outcome::Complete, false);
            }
        }
        self.check();
        for view in self.fleet.pool_ids().map(|id| self.fleet.pool_view(id).unwrap()) {
            assert_eq!((view.live, view.retries), (0, 0), "pool {} counts attempts that ended", view.name);
        }
        assert_eq!(self.fleet.next_deadline(), None, "an idle fleet asks for nothing");
        assert!(self.fleet.endpoints().iter().all(|endpoint| endpoint.jobs.is_empty()));
        for heard in self.heard.iter().filter(|heard| Arc::strong_count(heard) > 1) {
            let heard = heard.lock().unwrap();
            assert_eq!(heard.started, heard.ended, "every start has its end");
            assert_eq!(heard.mine_started, heard.mine_ended, "every own start has its end");
        }
    }
}
