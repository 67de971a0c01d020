//! The waiting requests of one pool. Order: class (lower first), then original arrival, then number. Grouped by
//! (class, strategy, path class, model, subset, caps or not, the endpoint that they are bound to), so that a burst of one
//! model hides no other: one scan takes at most [`SCAN_PER_GROUP`] of a group and [`SCAN`] in all, plus the first of
//! groups left out. Bytes are bytes of body held in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::endpoint::EndpointId;
use crate::facts::{EndpointSet, RequestFacts};
use crate::spec::{StrategyId, WaiterId};
use crate::time::Time;

/// Waiters that one scan looks at.
pub(crate) const SCAN: usize = 64;
/// Waiters of one group that one scan looks at.
pub(crate) const SCAN_PER_GROUP: usize = 16;

/// Waiters that are alike to a scan.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    class: i16,
    strategy: StrategyId,
    path: u16,
    model: Option<Arc<str>>,
    among: Option<EndpointSet>,
    uncapped: bool,
    bound_to: Option<EndpointId>,
}

/// A waiter's place in the pool's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    class: i16,
    arrival: Time,
    pub(crate) id: WaiterId,
    /// Its group's number in this scan.
    pub(crate) group: usize,
}

/// One waiting request.
#[derive(Clone, Debug)]
pub(crate) struct Waiter {
    pub(crate) strategy: StrategyId,
    pub(crate) facts: Arc<RequestFacts>,
    /// When the request came, over all its attempts.
    pub(crate) arrival: Time,
    /// When this attempt began to wait.
    pub(crate) since: Time,
    /// When it gives up.
    pub(crate) deadline: Time,
    /// The endpoint that it was bound to as it joined.
    pub(crate) bound_to: Option<EndpointId>,
}

impl Waiter {
    /// True if what is found of it holds for its whole group: it can go wherever one of its group can.
    pub(crate) fn speaks_for_its_group(&self) -> bool {
        self.facts.tried.is_empty() && self.facts.pin.is_none()
    }

    fn group(&self) -> Group {
        Group {
            class: self.facts.class,
            strategy: self.strategy,
            path: self.facts.path_class as u16,
            model: self.facts.model.clone(),
            among: self.facts.among.clone(),
            uncapped: self.facts.uncapped,
            bound_to: self.bound_to,
        }
    }
}

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiters: HashMap<WaiterId, Waiter>,
    groups: BTreeMap<Group, Members>,
    deadlines: BTreeSet<(Time, WaiterId)>,
    bytes: u64,
    retries: usize,
    uncapped: usize,
    bound: usize,
    /// By the endpoint that they are bound to: how many wait, and the most that ever did.
    waits: BTreeMap<EndpointId, (usize, usize)>,
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.waiters.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// By the endpoint that requests are bound to: how many wait, and the most that ever did.
    pub(crate) fn bound_to(&self) -> impl Iterator<Item = (EndpointId, (usize, usize))> + '_ {
        self.waits.iter().map(|(endpoint, waits)| (*endpoint, *waits))
    }

    /// Forgets how many waited for endpoints that left.
    pub(crate) fn keep(&mut self, endpoints: &[EndpointId]) {
        self.waits.retain(|endpoint, (now, _)| *now > 0 || endpoints.contains(endpoint));
    }

    /// Waiters that are not on their first attempt.
    pub(crate) fn retries(&self) -> usize {
        self.retries
    }

    /// True if somebody waits who needs no slot, only an endpoint.
    pub(crate) fn has_uncapped(&self) -> bool {
        self.uncapped > 0
    }

    /// True if somebody waits for one endpoint that it is bound to.
    pub(crate) fn has_bound(&self) -> bool {
        self.bound > 0
    }

    pub(crate) fn get(&self, id: WaiterId) -> Option<&Waiter> {
        self.waiters.get(&id)
    }

    pub(crate) fn insert(&mut self, id: WaiterId, waiter: Waiter) {
        self.bytes += waiter.facts.body_bytes;
        self.retries += usize::from(waiter.facts.attempt > 0);
        self.uncapped += usize::from(waiter.facts.uncapped);
        self.bound += usize::from(waiter.facts.pin.is_some());
        if let Some(endpoint) = waiter.bound_to {
            let (now, most) = self.waits.entry(endpoint).or_default();
            *now += 1;
            *most = (*most).max(*now);
        }
        self.deadlines.insert((waiter.deadline, id));
        self.groups.entry(waiter.group()).or_default().insert((waiter.arrival, id));
        self.waiters.insert(id, waiter);
    }

    pub(crate) fn remove(&mut self, id: WaiterId) -> Option<Waiter> {
        let waiter = self.waiters.remove(&id)?;
        self.bytes -= waiter.facts.body_bytes;
        self.retries -= usize::from(waiter.facts.attempt > 0);
        self.uncapped -= usize::from(waiter.facts.uncapped);
        self.bound -= usize::from(waiter.facts.pin.is_some());
        if let Some((now, _)) = waiter.bound_to.and_then(|endpoint| self.waits.get_mut(&endpoint)) {
            *now -= 1;
        }
        self.deadlines.remove(&(waiter.deadline, id));
        let group = waiter.group();
        if let Some(members) = self.groups.get_mut(&group) {
            members.remove(&(waiter.arrival, id));
            if members.is_empty() {
                self.groups.remove(&group);
            }
        }
        Some(waiter)
    }

    /// When the one that gives up first began to wait.
    pub(crate) fn oldest_since(&self) -> Option<Time> {
        self.deadlines.first().and_then(|(_, id)| self.waiters.get(id)).map(|waiter| waiter.since)
    }

    /// The earliest moment at which a waiter gives up.
    pub(crate) fn first_deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// The waiters whose time is over, earliest first.
    pub(crate) fn expired(&self, now: Time) -> Vec<WaiterId> {
        self.deadlines.iter().take_while(|(deadline, _)| *deadline <= now).map(|(_, id)| *id).collect()
    }

    /// Every waiter, in the pool's order.
    pub(crate) fn all(&self) -> Vec<Place> {
        let mut all: Vec<Place> = self.numbered().flat_map(|(number, group)| places(number, group)).collect();
        all.sort_unstable();
        all
    }

    /// How many groups there are: their numbers are below.
    pub(crate) fn groups(&self) -> usize {
        self.groups.len()
    }

    fn numbered(&self) -> impl Iterator<Item = (usize, (&Group, &Members))> {
        self.groups.iter().enumerate()
    }

    /// Writes the waiters that a scan looks at, in the pool's order. True if some are left out.
    pub(crate) fn scan_into(&self, out: &mut Vec<Place>) -> bool {
        out.clear();
        let mut class = i16::MIN;
        for (number, group) in self.numbered() {
            if group.0.class != class && out.len() >= SCAN {
                break;
            }
            class = group.0.class;
            out.extend(places(number, group).take(SCAN_PER_GROUP));
        }
        out.sort_unstable();
        out.truncate(SCAN);
        self.add_group_heads(out);
        out.len() < self.len()
    }

    /// The first waiter of every group that the scan left out: a slot that only they can use must not stay idle behind
    /// others. All of those that are bound to an endpoint, because no strategy is asked for them; of the others
    /// [`SCAN`] at most.
    fn add_group_heads(&self, out: &mut Vec<Place>) {
        if out.len() < SCAN {
            return;
        }
        let last = out[out.len() - 1];
        let heads = |bound: bool| {
            let groups = self.numbered().filter(move |(_, group)| group.0.bound_to.is_some() == bound);
            groups.filter_map(|(number, group)| places(number, group).next()).filter(move |head| *head > last)
        };
        out.extend(heads(true).chain(heads(false).take(SCAN)));
        out[SCAN..].sort_unstable();
    }
}

/// The waiters of a group, in the order of their arrival.
type Members = BTreeSet<(Time, WaiterId)>;

fn places<'a>(number: usize, (group, members): (&'a Group, &'a Members)) -> impl Iterator<Item = Place> + 'a {
    members.iter().map(move |(arrival, id)| Place { class: group.class, arrival: *arrival, id: *id, group: number })
}
