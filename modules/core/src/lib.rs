//! The seam between the proxy and the balancing modules, and everything both sides must agree on.
//!
//! This crate knows no Pingora, no tokio and no clock: time and randomness are arguments. So the proxy, the
//! simulator and a dry run drive the very same code.
//!
//! | file | job |
//! |---|---|
//! | [`strategy`] | the seam: [`Strategy`], [`Context`], [`Pick`], [`Module`] |
//! | [`facts`] | what is known of one request |
//! | [`endpoint`] | what is known of one engine: counts, health, samples, models |
//! | [`event`] | what happens to a request and to an endpoint |
//! | [`fleet`] | the door: pools, slots, queue, health behind one `&mut` |
//! | [`spec`] | what the fleet is told and answers |
//! | [`prefix`] | which endpoints hold the beginning of a prompt |
//! | [`cost`] | price terms in milliseconds, shared by the smart modules |
//! | [`contract`] | what every module must keep, as one call for its tests |
//! | [`time`] | [`Time`], microseconds since the driver's start |

mod affinity;
mod apply;
mod candidates;
mod company;
pub mod contract;
pub mod cost;
pub mod dispatch;
mod drain_rate;
mod ejection;
pub mod endpoint;
pub mod event;
mod explanation;
pub mod facts;
pub mod fleet;
mod guarded;
pub mod health;
mod inventory;
mod key;
pub mod learn;
mod ledger;
mod limits;
mod memory;
mod operate;
mod pins;
mod pool;
pub mod prefix;
mod promises;
mod queue;
mod residency;
mod shadow;
pub mod spec;
mod standing;
pub mod strategy;
mod table;
pub mod time;
mod views;

pub use company::Company;
pub use endpoint::{EndpointId, EngineClass, Inventory, Sample, SlowStart, State};
pub use event::{Event, Outcome, Usage};
pub use explanation::{Compared, Explanation, Priced, Term};
pub use facts::{EndpointSet, PathClass, PathClasses, Pin, PinTo, RequestFacts, RequestId};
pub use fleet::Fleet;
pub use health::Verdicts;
pub use key::{KeySource, Keys};
pub use memory::{Learned, LearnedEndpoint, LearnedModel, LearnedOutput, OLDEST_MS};
pub use prefix::{BLOCK_BYTES, BLOCK_TOKENS};
pub use promises::Promises;
pub use spec::{
    AffinityLimits, AffinityRow, Applied, AppliedPool, Decision, Dry, EjectionLimits, Faults, Grant, HealthLimits,
    Operated, Operation, PoolId, PoolSpec, PoolView, QueueLimits, Resolution, RetryLimits, ShadowSpec, ShadowView,
    StrategyId, StrategySpec, StrategyView, Submit, Tally, Ticket, WaiterId,
};
pub use strategy::{Chosen, Context, Module, Needs, Pick, Reason, Strategy};
pub use time::Time;
