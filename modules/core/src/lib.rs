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
//! | [`cost`] | price terms in milliseconds, shared by the smart modules |
//! | [`contract`] | what every module must keep, as one call for its tests |
//! | [`time`] | [`Time`], microseconds since the driver's start |

mod affinity;
mod apply;
mod candidates;
pub mod contract;
pub mod cost;
pub mod dispatch;
mod drain_rate;
mod ejection;
pub mod endpoint;
pub mod event;
pub mod facts;
pub mod fleet;
mod guarded;
pub mod health;
mod inventory;
mod key;
pub mod learn;
mod ledger;
mod limits;
mod operate;
mod pins;
mod pool;
mod queue;
mod residency;
pub mod spec;
mod standing;
pub mod strategy;
mod table;
pub mod time;
mod views;

pub use endpoint::{EndpointId, EngineClass, Inventory, Sample, SlowStart, State};
pub use event::{Event, Outcome, Usage};
pub use facts::{EndpointSet, PathClass, PathClasses, Pin, PinTo, RequestFacts, RequestId};
pub use fleet::Fleet;
pub use health::Verdicts;
pub use key::{KeySource, Keys};
pub use spec::{
    AffinityLimits, AffinityRow, Applied, AppliedPool, Decision, Dry, EjectionLimits, Faults, Grant, HealthLimits,
    Operated, Operation, PoolId, PoolSpec, PoolView, QueueLimits, Resolution, RetryLimits, StrategyId, StrategySpec,
    StrategyView, Submit, Ticket, WaiterId,
};
pub use strategy::{Chosen, Context, Explanation, Module, Needs, Pick, Reason, Strategy, Term};
pub use time::Time;
