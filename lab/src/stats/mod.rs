//! Statistics of runs: what was recorded, and how arms are compared seed by seed.
//!
//! [`Run`] is what a driver hands over; [`Comparison::new`] makes ratios with intervals of it, which `crate::report`
//! prints. Times are seconds.

mod blocks;
mod compare;
mod estimate;
mod record;
mod summary;

#[cfg(test)]
mod tests;

pub use compare::{Arm, Comparison, Question, paired};
pub use estimate::{COVERAGE, Estimate, jain, mean, over_seeds, quantile};
pub use record::{Record, Run};
pub use summary::{Metric, Summary};
