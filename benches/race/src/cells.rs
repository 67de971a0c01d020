//! What is raced: each cell is one kind of load, and what is read off a contestant while it runs.
//!
//! Processor time is the contestant's own, kernel included, per request or per event (microseconds). Quantiles are
//! microseconds, too; what the machine and the origin take is in them, so they are compared with the same cell run
//! straight at the origin (`direct`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::load;
use crate::machine::cpu_ns;
use crate::stats::quantile;
use crate::wire::{self, Ask};

/// The metric of how late the open loop's client was, microseconds.
pub const LAG: &str = "lag_p99_us";

/// Kept connections of the closed loop.
const CONNECTIONS: usize = 32;

/// One kind of load.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    /// Its name in tables and on the command line.
    pub name: &'static str,
    load: Load,
}

#[derive(Clone, Copy, Debug)]
enum Load {
    Closed { size: usize, count: usize },
    Paced { rate: f64, count: usize },
    Streams { streams: usize, ask: Ask, spread: Duration },
}

/// All cells; `share` of the full counts (1 = full).
pub fn all(share: f64) -> Vec<Cell> {
    let count = |full: f64| (full * share).ceil() as usize;
    let closed = |name, size, full| Cell { name, load: Load::Closed { size, count: count(full) } };
    let streams = |name, streams: usize, events: f64, pace_us, spread: f64| {
        let ask = Ask { events: count(events) as u64, pace_us };
        Cell { name, load: Load::Streams { streams, ask, spread: Duration::from_secs_f64(spread) } }
    };
    vec![
        closed("2k", 2 << 10, 40_000.0),
        closed("64k", 64 << 10, 10_000.0),
        closed("1m", 1 << 20, 1_000.0),
        streams("100-streams", 100, 250.0, 11_111, 0.5),
        Cell { name: "paced", load: Load::Paced { rate: 300.0, count: count(450.0) } },
        // One after the other.
        streams("1-stream", count(20.0), 10.0, 11_111, 2.4 * share),
        streams("1000-streams", 1000, 30.0, 100_000, 1.0),
    ]
}

impl Cell {
    /// Only the contestants' processor time counts here; there is nothing to run straight at the origin.
    pub fn is_closed(&self) -> bool {
        matches!(self.load, Load::Closed { .. })
    }

    /// Runs it against `to`; `pid` is whose processor time is read. Returns metrics with their names.
    pub async fn run(&self, to: SocketAddr, pid: Option<u32>) -> anyhow::Result<Vec<(&'static str, f64)>> {
        let clock = || pid.map(cpu_ns).transpose();
        match self.load {
            Load::Closed { size, count } => {
                let request = Arc::new(wire::request(size, None));
                load::closed(to, request.clone(), CONNECTIONS, count.div_ceil(20)).await?;
                let (before, begin) = (clock()?, Instant::now());
                load::closed(to, request, CONNECTIONS, count).await?;
                let (after, seconds) = (clock()?, begin.elapsed().as_secs_f64());
                let mut metrics = vec![("per_second", count as f64 / seconds)];
                if let (Some(before), Some(after)) = (before, after) {
                    let used = (after - before) as f64;
                    metrics.extend([("cpu_us", used / 1e3 / count as f64), ("busy", used / 1e9 / seconds)]);
                }
                Ok(metrics)
            }
            Load::Paced { rate, count } => {
                let seen = load::paced(to, Arc::new(wire::request(2 << 10, None)), rate, count).await?;
                let latency = |q| quantile(&seen.latency, q);
                Ok(vec![("p50_us", latency(0.5)), ("p99_us", latency(0.99)), (LAG, quantile(&seen.lag, 0.99))])
            }
            Load::Streams { streams, ask, spread } => {
                let before = clock()?;
                let seen = load::streams(to, ask, streams, spread).await?;
                let mut metrics = vec![
                    ("first_p50_us", quantile(&seen.first, 0.5)),
                    ("first_p99_us", quantile(&seen.first, 0.99)),
                    ("delay_p50_us", quantile(&seen.delay, 0.5)),
                    ("delay_p99_us", quantile(&seen.delay, 0.99)),
                    ("gap_p99_us", quantile(&seen.gap_error, 0.99)),
                ];
                if let (Some(before), Some(after)) = (before, clock()?) {
                    metrics.push(("cpu_us", (after - before) as f64 / 1e3 / seen.events as f64));
                }
                Ok(metrics)
            }
        }
    }
}
