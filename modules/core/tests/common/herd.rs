//! A driver that does to a fleet what a proxy does, keeps its own books, and compares after every step.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arriero_core::{
    Applied, EndpointId, Fleet, Grant, Outcome, Pin, PinTo, QueueLimits, Reason, RequestFacts, Resolution, State,
    Submit, Ticket, Time, Usage, WaiterId,
};

mod books;
mod steps;

pub use steps::Step;

use super::Heard;

pub const MODELS: [&str; 3] = ["small", "large", "rare"];
const HOSTS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const QUEUE: QueueLimits = QueueLimits { max_requests: 40, max_bytes: 4000, timeout: Duration::from_secs(20) };

struct Waiting {
    pool: String,
    strategy: usize,
    facts: Arc<RequestFacts>,
    arrival: Time,
    deadline: Time,
}

struct Running {
    grant: Grant,
    pool: String,
    strategy: usize,
    facts: Arc<RequestFacts>,
    arrival: Time,
}

pub struct Herd {
    pub fleet: Fleet,
    pub now: Time,
    applied: Applied,
    waiting: BTreeMap<WaiterId, Waiting>,
    running: BTreeMap<Ticket, Running>,
    /// Listeners of every strategy ever handed over; those still shared are at work.
    heard: Vec<Arc<Mutex<Heard>>>,
    /// The pools panic.
    panic: bool,
    next_request: u64,
    pub submitted: u64,
    pub granted: u64,
    pub refused: u64,
    pub cancelled: u64,
    pub retried: u64,
    /// Grants of requests that were bound to their endpoint.
    pub pinned: u64,
    /// Who was granted what, in order.
    pub trace: Vec<(u64, Ticket, EndpointId)>,
}

impl Herd {
    pub fn new(seed: u64) -> Herd {
        let mut herd = Herd {
            fleet: Fleet::new(seed),
            now: Time::from_millis(1),
            applied: Applied::default(),
            waiting: BTreeMap::new(),
            running: BTreeMap::new(),
            heard: Vec::new(),
            panic: false,
            next_request: 0,
            submitted: 0,
            granted: 0,
            refused: 0,
            cancelled: 0,
            retried: 0,
            pinned: 0,
            trace: Vec::new(),
        };
        herd.apply(1, 0b111, 2, false, 0, false);
        herd
    }

    /// Does one thing and compares the books.
    pub fn step(&mut self, step: &Step) {
        self.act(step);
        self.check();
    }

    fn submit(&mut self, pool: String, strategy: usize, facts: Arc<RequestFacts>, arrival: Time) {
        let Some(applied) = self.applied.pools.get(pool.as_str()) else { return };
        let strategies = &applied.strategies;
        let strategy = strategy % strategies.len();
        match self.fleet.submit(self.now, applied.id, strategies[strategy], facts.clone(), arrival) {
            Submit::Granted(grant) => {
                let waiting = Waiting { pool, strategy, facts, arrival, deadline: self.now };
                self.check_order(&waiting, WaiterId(u64::MAX));
                self.run(waiting, grant);
            }
            Submit::Queued(id) => {
                let deadline = self.now + QUEUE.timeout;
                let waiting = Waiting { pool, strategy, facts, arrival, deadline };
                assert!(self.waiting.insert(id, waiting).is_none(), "a waiter's number came twice");
            }
            Submit::Rejected(_) => self.refused += 1,
        }
        self.catch_up();
    }

    fn finish(&mut self, ticket: Ticket, outcome: Outcome, retry: bool) {
        let Some(Running { grant, pool, strategy, facts, arrival }) = self.running.remove(&ticket) else { return };
        let again = retry && outcome.is_endpoint_failure() && self.fleet.may_retry(ticket, 2);
        let usage = Usage { prompt_tokens: Some(100), output_tokens: Some(50), ..Usage::default() };
        let settled = self.fleet.finish(self.now, ticket, outcome, &usage);
        self.settle(settled);
        assert!(self.fleet.finish(self.now, ticket, outcome, &usage).is_empty(), "a second finish changes nothing");
        if again {
            let mut facts = (*facts).clone();
            facts.attempt += 1;
            facts.tried.push(grant.endpoint);
            self.retried += 1;
            self.submit(pool, strategy, Arc::new(facts), arrival);
        }
    }

    /// Lets time pass as a driver would: it stops at every deadline.
    fn advance(&mut self, span: Duration) {
        let until = self.now + span;
        let mut stops = 0;
        while let Some(due) = self.fleet.next_deadline().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.catch_up();
            stops += 1;
            assert!(stops < 10_000, "deadlines that do not move");
        }
        self.now = until;
        self.catch_up();
        assert!(self.waiting.values().all(|waiting| waiting.deadline > until), "a waiter waits beyond its timeout");
    }

    fn catch_up(&mut self) {
        let settled = self.fleet.tick(self.now);
        self.settle(settled);
    }

    fn settle(&mut self, settled: Vec<Resolution>) {
        let mut granted = Vec::new();
        for Resolution { waiter, verdict } in settled {
            let waiting = self.waiting.remove(&waiter).expect("resolved twice, or after a cancel");
            match verdict {
                Ok(grant) => granted.push((waiter, waiting, grant)),
                Err(Reason::QueueTimeout { .. }) => {
                    assert!(waiting.deadline <= self.now, "timed out too early");
                    self.refused += 1;
                }
                Err(_) => self.refused += 1,
            }
        }
        for (id, waiting, grant) in granted {
            self.check_order(&waiting, id);
            self.run(waiting, grant);
        }
    }

    /// The least-connection rule asks for nothing but a free slot: so nobody alike may have waited longer.
    fn check_order(&self, first: &Waiting, id: WaiterId) {
        let changeable = matches!(first.facts.pin, Some(Pin { to: PinTo::Key { .. } | PinTo::Id(_), .. }));
        if first.strategy != 0 || !first.facts.tried.is_empty() || changeable {
            return;
        }
        let alike = self.waiting.iter().filter(|(_, other)| {
            (&other.pool, other.strategy, other.facts.class) == (&first.pool, first.strategy, first.facts.class)
                && (&other.facts.model, other.facts.pin) == (&first.facts.model, first.facts.pin)
                && (&other.facts.among, other.facts.uncapped) == (&first.facts.among, first.facts.uncapped)
                && other.facts.tried.is_empty()
        });
        for (other, waiting) in alike {
            assert!((waiting.arrival, *other) > (first.arrival, id), "{id:?} overtook {other:?} of its group");
        }
    }

    fn run(&mut self, waiting: Waiting, grant: Grant) {
        let endpoint = self.fleet.endpoints().get(grant.endpoint).expect("a grant names a living endpoint");
        let capped = endpoint.jobs.iter().filter(|job| !job.request.uncapped).count() as u32;
        let within = waiting.facts.uncapped || endpoint.cap(self.now).is_none_or(|cap| capped <= cap);
        assert!(within, "granted beyond the cap");
        assert!(waiting.facts.admits(grant.endpoint), "granted to an endpoint outside the route's subset");
        let pinned = grant.module == "affinity";
        assert!(!endpoint.leaving && endpoint.state != State::Maint, "granted to an endpoint in maintenance");
        assert!(pinned || endpoint.takes_work(), "granted to an endpoint that drains");
        assert!(!waiting.facts.tried.contains(&grant.endpoint), "granted to an endpoint that failed the request");
        let desperate = !endpoint.works(self.now) && !endpoint.knows_models();
        let serves = endpoint.can_serve(waiting.facts.model.as_deref()) || desperate;
        assert!(serves, "granted to an endpoint without the model");
        assert!(
            !pinned || endpoint.works(self.now) || endpoint.is_out(self.now) || self.panic,
            "bound to an endpoint that does not work"
        );
        self.granted += 1;
        self.pinned += u64::from(pinned);
        self.trace.push((waiting.facts.id.0, grant.ticket, grant.endpoint));
        let Waiting { pool, strategy, facts, arrival, .. } = waiting;
        let ticket = grant.ticket;
        let running = Running { grant, pool, strategy, facts, arrival };
        assert!(self.running.insert(ticket, running).is_none(), "a ticket came twice");
    }

    fn endpoint(&self, index: usize) -> Option<EndpointId> {
        let ids: BTreeSet<EndpointId> = self.fleet.endpoints().iter().map(|endpoint| endpoint.id).collect();
        nth(ids.iter(), index)
    }
}

fn nth<'a, T: Clone + 'a>(mut all: impl ExactSizeIterator<Item = &'a T>, index: usize) -> Option<T> {
    if all.len() == 0 {
        return None;
    }
    let place = index % all.len();
    all.nth(place).cloned()
}
