//! What the fleet is told and what it answers: pool specifications in, grants and resolutions out. Plain values,
//! no behaviour.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub use crate::limits::{AffinityLimits, EjectionLimits, HealthLimits, QueueLimits, RetryLimits};
pub use crate::shadow::{ShadowSpec, ShadowView, Tally};

use crate::endpoint::{EndpointId, EndpointSpec, State};
use crate::strategy::{Chosen, Explanation, Needs, Reason, Strategy};
use crate::time::Time;

/// A pool's number. Stable while a pool of that name lives, over reloads too; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolId(pub u32);

/// A strategy's number, unique in the fleet; kept over reloads while pool, module and options stay the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StrategyId(pub u32);

/// One attempt that holds a slot. Give it back with [`crate::Fleet::finish`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// One request that waits in a pool's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WaiterId(pub u64);

/// Something that the operator says of an endpoint. It beats the configuration until it is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Its weight, 0-256; `None` = as configured.
    Weight(Option<u32>),
    /// Its cap; `Some(None)` = none, `None` = as configured.
    Cap(Option<Option<u32>>),
    /// Whether it takes work.
    State(State),
}

/// What the operator's word on an endpoint is. The default: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Operated {
    /// The weight, if it was said.
    pub weight: Option<u32>,
    /// The cap, if it was said; `Some(None)` = no cap.
    pub cap: Option<Option<u32>>,
    /// Whether it takes work.
    pub state: State,
}

/// A strategy that a pool is to run. Two with the same module and options are one.
pub struct StrategySpec {
    /// The module's name.
    pub module: &'static str,
    /// A fresh instance; dropped if the pool already runs an equal one.
    pub strategy: Box<dyn Strategy>,
}

/// The configuration of a pool, as the core needs it.
#[derive(Default)]
pub struct PoolSpec {
    /// Identity.
    pub name: Arc<str>,
    /// Its endpoints, in configuration order.
    pub endpoints: Vec<EndpointSpec>,
    /// The bounds of its queue.
    pub queue: QueueLimits,
    /// `None` = `health: none`: every endpoint is always up.
    pub health: Option<HealthLimits>,
    /// `None` = `ejection: none`: failed requests take nobody out.
    pub ejection: Option<EjectionLimits>,
    /// Backups serve one at a time: the first that is usable. Else all of them.
    pub backup_one: bool,
    /// If nobody is up, requests go to those that are down or ejected all the same.
    pub panic: bool,
    /// How many retries it allows.
    pub retry: RetryLimits,
    /// The bounds of its memory of who served whom.
    pub affinity: AffinityLimits,
    /// The strategies of its routes.
    pub strategies: Vec<StrategySpec>,
    /// Strategies that run beside these and route nothing.
    pub shadows: Vec<ShadowSpec>,
}

/// What a new configuration made of the fleet.
#[derive(Debug, Default)]
pub struct Applied {
    /// The pools by name.
    pub pools: BTreeMap<Arc<str>, AppliedPool>,
    /// Waiters that this change granted or refused.
    pub resolutions: Vec<Resolution>,
    /// Endpoints that the fleet did not serve before: probe them from now on.
    pub joined: Vec<EndpointId>,
    /// Endpoints that the fleet serves no more: probe them no longer. They finish what they run.
    pub left: Vec<EndpointId>,
}

/// The numbers under which a pool's parts are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedPool {
    /// The pool.
    pub id: PoolId,
    /// Its endpoints, in the order of the specification.
    pub endpoints: Vec<EndpointId>,
    /// Its strategies, in the order of the specification; equal ones have one id.
    pub strategies: Vec<StrategyId>,
}

/// A slot, taken for one attempt.
#[derive(Clone, Debug)]
pub struct Grant {
    /// What to give back.
    pub ticket: Ticket,
    /// Where to send the request.
    pub endpoint: EndpointId,
    /// The module that chose; for a strategy that chooses among modules, the one that it went by.
    pub module: &'static str,
    /// The endpoint's own name of the model, where it differs from the request's.
    pub local_model: Option<Arc<str>>,
    /// The endpoint's inventory or configuration lists the model; false for a name that only the client knows.
    pub model_is_listed: bool,
    /// True if the model is not resident there: allow for its load.
    pub cold: bool,
    /// When to give up waiting for the first byte of a stream and try elsewhere, by what was learned of the endpoint, loads
    /// included. Beside the configured limit: the earlier one counts. `None` = not enough is known.
    pub first_byte_within: Option<Duration>,
    /// Time spent in the queue by this attempt.
    pub waited: Duration,
    /// The priced decision, if the request asked for it.
    pub explanation: Option<Explanation>,
}

/// The answer to a request that asks for a slot.
#[derive(Debug)]
pub enum Submit {
    /// Go.
    Granted(Grant),
    /// Wait: a [`Resolution`] with this number follows, exactly one, unless the waiter is cancelled.
    Queued(WaiterId),
    /// Refused.
    Rejected(Reason),
}

/// The end of a waiter's wait.
#[derive(Debug)]
pub struct Resolution {
    /// Who.
    pub waiter: WaiterId,
    /// A slot, or why not.
    pub verdict: Result<Grant, Reason>,
}

/// A pool as others see it.
#[derive(Clone, Debug)]
pub struct PoolView<'a> {
    /// Its name.
    pub name: &'a Arc<str>,
    /// Its endpoints, in configuration order.
    pub endpoints: &'a [EndpointId],
    /// Requests that wait.
    pub queued: usize,
    /// Bytes of body that they hold.
    pub queued_bytes: u64,
    /// When the one that waits longest began to.
    pub oldest_since: Option<Time>,
    /// Requests answered per second, as measured; `None` while nothing was.
    pub drains_per_s: Option<f64>,
    /// Requests that hold a slot.
    pub live: usize,
    /// The most requests that ever waited at once.
    pub most_queued: usize,
    /// The most that ever held a slot at once.
    pub most_live: usize,
    /// Retries that count against the budget now: those that wait, and those of which nothing came yet.
    pub retries: usize,
    /// Attempts that took a slot.
    pub picks: u64,
}

/// One remembered pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AffinityRow {
    /// True for a stateful id, false for a key.
    pub is_id: bool,
    /// Its hash.
    pub key: u64,
    /// Who serves it.
    pub endpoint: EndpointId,
    /// When it was used the last time.
    pub used: Time,
    /// When it is forgotten, unless it is used before.
    pub until: Time,
}

/// What would be decided for a request, as a dry run tells.
#[derive(Clone, Debug)]
pub struct Dry {
    /// The decision.
    pub verdict: Decision,
    /// The strategy's reasons.
    pub explanation: Explanation,
    /// The other endpoints of the pool that could not take the request now, and why not, in a few words.
    pub others: Vec<(EndpointId, String)>,
}

/// What would happen to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It would go there at once; the module that chooses so.
    Start {
        /// Where.
        endpoint: EndpointId,
        /// Who says so.
        module: &'static str,
    },
    /// It would wait for this endpoint.
    WaitFor(EndpointId),
    /// It would wait.
    Wait,
    /// It would be refused.
    Reject(Reason),
}

/// A running strategy as others see it.
#[derive(Clone, Debug)]
pub struct StrategyView<'a> {
    /// Its number.
    pub id: StrategyId,
    /// Its module, as configured.
    pub module: &'static str,
    /// Its options, defaults filled.
    pub options: &'a serde_json::Value,
    /// What it wants to know of a request.
    pub needs: &'a Needs,
    /// The module that it goes by now, if it chooses among modules.
    pub chosen: Option<Chosen>,
    /// The strategies that run beside it and route nothing.
    pub shadows: Vec<ShadowView<'a>>,
}

/// What a strategy did wrong, counted since it was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    /// The pool.
    pub pool: Arc<str>,
    /// The module.
    pub module: &'static str,
    /// Panics caught: each pick was answered by the built-in least-connection rule.
    pub panics: u64,
    /// Picks of an endpoint that was full or no candidate: each was taken for a wait.
    pub refused_picks: u64,
}
