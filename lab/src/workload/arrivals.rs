//! When requests come: evenly, at random, in bursts, or as a trace has it. Seconds since the start.

use serde::{Deserialize, Serialize};

use super::chance::Chance;
use super::trace::Row;

/// The law of arrivals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum ArrivalsSpec {
    /// At random (gaps gamma distributed; CV 1 = Poisson).
    Random {
        /// Requests per second.
        #[serde(default)]
        per_s: Option<f64>,
        /// The load that they offer, 1 = what the fleet can do; instead of `per_s`. Loads of models are not in it.
        #[serde(default)]
        rho: Option<f64>,
        /// Coefficient of variation of the gaps.
        #[serde(default = "poisson")]
        cv: f64,
    },
    /// One every so many seconds.
    Every(f64),
    /// The gaps of the trace, in its order from a random place on, scaled to the load.
    Gaps {
        /// The load that they offer.
        rho: f64,
    },
    /// The trace's own times.
    Trace {
        /// Each time is moved evenly within this span, seconds: for traces with coarse clocks.
        #[serde(default)]
        jitter_s: f64,
        /// Requests per second of the trace, times this.
        #[serde(default = "poisson")]
        rate: f64,
    },
}

fn poisson() -> f64 {
    1.0
}

impl ArrivalsSpec {
    /// True if the trace is replayed in its order.
    pub fn replays(&self) -> bool {
        matches!(self, ArrivalsSpec::Trace { .. })
    }

    /// Sets the load of a law that has one.
    pub fn set_rho(&mut self, load: f64) -> Result<(), String> {
        match self {
            ArrivalsSpec::Random { per_s, rho, .. } => (*per_s, *rho) = (None, Some(load)),
            ArrivalsSpec::Gaps { rho } => *rho = load,
            _ => return Err("these arrivals have no rho".into()),
        }
        Ok(())
    }

    /// The load, where it is given as such.
    pub fn rho(&self) -> Option<f64> {
        match self {
            ArrivalsSpec::Random { rho, .. } => *rho,
            ArrivalsSpec::Gaps { rho } => Some(*rho),
            _ => None,
        }
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        let good = |value: f64| value.is_finite() && value > 0.0;
        let fine = match self {
            ArrivalsSpec::Random { per_s, rho, cv } => {
                per_s.is_some() != rho.is_some() && per_s.or(*rho).is_some_and(good) && good(*cv)
            }
            ArrivalsSpec::Every(gap) => good(*gap),
            ArrivalsSpec::Gaps { rho } => good(*rho),
            ArrivalsSpec::Trace { jitter_s, rate } => *jitter_s >= 0.0 && good(*rate),
        };
        if fine { Ok(()) } else { Err(format!("arrivals: {self:?} (per_s or rho, above 0)")) }
    }
}

/// The arrival times of these rows.
pub(super) fn times(
    spec: &ArrivalsSpec,
    rows: &[Row],
    rate_of: impl Fn(f64) -> f64,
    chance: &mut Chance,
) -> Result<Vec<f64>, String> {
    let mut at = 0.0;
    Ok(match spec {
        ArrivalsSpec::Random { per_s, rho, cv } => {
            let rate = per_s.or(rho.map(&rate_of)).unwrap_or(1.0);
            let gap = |chance: &mut Chance| if *cv == 1.0 { chance.exponential() } else { chance.gamma(*cv) };
            let mut next = || {
                at += gap(chance) / rate;
                at
            };
            rows.iter().map(|_| next()).collect()
        }
        ArrivalsSpec::Every(gap) => (0..rows.len()).map(|index| index as f64 * gap).collect(),
        ArrivalsSpec::Gaps { rho } => {
            let gaps: Vec<f64> = rows.iter().map(|row| row.gap_s).collect();
            let mean = gaps.iter().sum::<f64>() / gaps.len().max(1) as f64;
            if mean <= 0.0 {
                return Err("arrivals: the trace has no gaps".into());
            }
            let (offset, scale) = (chance.place(gaps.len()), 1.0 / (mean * rate_of(*rho)));
            let mut next = |gap: &f64| {
                at += gap * scale;
                at
            };
            gaps.iter().cycle().skip(offset).take(rows.len()).map(&mut next).collect()
        }
        ArrivalsSpec::Trace { jitter_s, rate } => {
            rows.iter().map(|row| (row.at_s + jitter_s * chance.share()) / rate).collect()
        }
    })
}
