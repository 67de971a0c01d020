//! Does virtual time agree with real HTTP? The same requests once in the simulator, once through a started Arriero to lab
//! engines behind real ports.
//!
//! Both play the same compressed scenario ([`arriero_lab::sim::compress`]): engines, arrivals and the proxy's timers
//! `scale` times as fast. Latencies are told in the scenario's own seconds. [`cells`] says what is played, [`trial`]
//! plays one run over HTTP, [`simulated`] the same in virtual time, [`report`] compares.

pub mod cells;
mod load;
mod proxy;
pub mod report;
pub mod simulated;
pub mod trial;
mod wire;

use arriero_lab::stats::{Metric, Run, Summary};

/// What is compared, in the order of tables.
pub const MEASURES: [Metric; 4] = [Metric::Mean, Metric::P95, Metric::TtftMean, Metric::TtftP95];

/// How many of [`MEASURES`], from the first on, must agree.
pub const JUDGED: usize = 2;

/// How far a judged ratio may be from 1.
pub const WITHIN: f64 = 0.10;

/// The measures of a run in seconds of the scenario; `scale`: those of the run are so many times shorter.
fn measures(run: &Run, scale: f64) -> [f64; 4] {
    let summary = Summary::of(run);
    MEASURES.map(|metric| summary.latency(metric).unwrap_or(f64::NAN) * scale)
}
