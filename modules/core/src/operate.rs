//! The operator's word on an endpoint: weight, cap, state. It beats the configuration, is kept over reloads as long as
//! the configuration names the endpoint, and is told apart from it, so that it can be taken back. For strategies a new
//! weight is an endpoint that left and joined, as in a reload.

use crate::endpoint::{Endpoint, EndpointId, Health, State};
use crate::event::Event;
use crate::fleet::Fleet;
use crate::ledger::{Ledger, Record};
use crate::spec::{Operated, Operation, Resolution};
use crate::time::Time;

/// The largest weight.
const HEAVIEST: u32 = 256;

impl Fleet {
    /// The operator says something of an endpoint, or several things that come into force at once: of two on the same
    /// matter the later. An endpoint that is not there, or that leaves, changes nothing.
    pub fn operate(&mut self, now: Time, endpoint: EndpointId, operations: &[Operation]) -> Vec<Resolution> {
        self.latest = now;
        let Ledger { table, records, .. } = &mut self.ledger;
        if let (Some(row), Some(record)) = (table.get_mut(endpoint), records.get_mut(&endpoint))
            && !record.removed
        {
            let (weight, state) = (row.spec.weight, row.state);
            for operation in operations {
                match *operation {
                    Operation::Weight(weight) => record.operated.weight = weight.map(|weight| weight.min(HEAVIEST)),
                    Operation::Cap(cap) => record.operated.cap = cap,
                    Operation::State(state) => record.operated.state = state,
                }
            }
            compose(row, record);
            if state == State::Maint && row.state != State::Maint {
                returns(row, record, now);
            }
            if row.spec.weight != weight {
                let changed = [endpoint];
                self.tell_owners(now, endpoint, || Event::Membership { joined: &changed, left: &changed });
            }
            self.review(now, endpoint, true);
        }
        self.take_settled()
    }

    /// What the operator's word on an endpoint is.
    pub fn operated(&self, endpoint: EndpointId) -> Operated {
        self.ledger.records.get(&endpoint).map(|record| record.operated).unwrap_or_default()
    }
}

/// Puts the operator's word over the configuration's.
pub(crate) fn compose(endpoint: &mut Endpoint, record: &Record) {
    let Operated { weight, cap, state } = record.operated;
    endpoint.spec.weight = weight.unwrap_or(record.configured_weight);
    (endpoint.cap_said, endpoint.state) = (cap, state);
}

/// Maintenance is over: nothing that was known of its health before holds, a first good check brings it
/// up, and a first bad one takes it down.
fn returns(endpoint: &mut Endpoint, record: &mut Record, now: Time) {
    if endpoint.health == Health::Down {
        endpoint.health = Health::Starting;
        endpoint.figures.health_since = now;
    }
    record.streaks.doubt();
    endpoint.ejected_until = endpoint.ejected_until.min(now); // the operator's word: it is tried now
    endpoint.begin_ramp(now);
}
