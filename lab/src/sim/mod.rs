//! The virtual-time driver: the proxy's own fleet and strategies before simulated engines, as fast as they can think.
//!
//! [`Stage`] holds a scenario with its traces; [`Stage::run`] plays one strategy ([`Arm`]) on the requests of one seed
//! and gives a [`Run`]. The same scenario, arm and seed give the same run. What the proxy does is done here in the same
//! order: submit, first token, finish, samples at the engine's pace, health checks, retries, timers. Networks and the
//! proxy itself take no time.

mod arms;
mod batch;
mod check;
mod compress;
mod deployment;
mod engines;
mod exchange;
mod proxies;
mod render;
mod scenario;
mod served;
mod shipped;
mod slo;
mod stage;
mod watch;
mod world;

pub use arms::{Arm, BASELINE, Caps, Factory, Made, Modules, split_list};
pub use batch::{Cell, Play, Progress, cells, cells_by};
pub use compress::compress;
pub use deployment::{Asked, Declared, Deployment, Routed, Timers};
pub use render::{render, render_at};
pub use scenario::{
    Fault, FaultKind, Group, Judged, ModelEntry, OllamaProfile, Profile, Proxy, Reference, Scenario, Served,
    VllmProfile, WorkloadSpec,
};
pub use served::lab_specs;
pub use shipped::{names, shipped};
pub use slo::{Slo, max_load};
pub use stage::Stage;

pub use crate::stats::{Record, Run};
