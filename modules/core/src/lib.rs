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
//! | [`cost`] | price terms in milliseconds, shared by the smart modules |
//! | [`contract`] | what every module must keep, as one call for its tests |
//! | [`time`] | [`Time`], microseconds since the driver's start |

pub mod contract;
pub mod cost;
pub mod endpoint;
pub mod event;
pub mod facts;
pub mod strategy;
pub mod time;

pub use endpoint::{EndpointId, EngineClass, Inventory, Sample};
pub use event::{Event, Outcome, Usage};
pub use facts::{PathClass, PathClasses, RequestFacts, RequestId};
pub use strategy::{Context, Explanation, Module, Needs, Pick, Reason, Strategy, Term};
pub use time::Time;
