//! The same in virtual time, and how far small delays alone can lead a run: queues are chaotic, so a request that comes a
//! millisecond later can send a dozen after it elsewhere.

use std::sync::Arc;

use arriero_core::Time;
use arriero_lab::sim::compress;
use arriero_lab::workload::Request;

use super::cells::Cell;
use super::measures;

/// Runs with other small delays.
const SHAKEN: u64 = 12;
/// The longest of these delays, microseconds of real time.
const DELAY_US: u64 = 2000;

/// One arm on the requests of one seed. Seconds of the scenario, one figure per [`super::MEASURES`].
#[derive(Clone, Debug)]
pub struct Simulated {
    /// Of the compressed scenario.
    pub fast: [f64; 4],
    /// Of the scenario as it is.
    pub slow: [f64; 4],
    /// Standard deviations over runs whose requests come up to 2 ms of real time later, as parts of their mean.
    pub chance: [f64; 4],
    /// Loads per 1 000 requests, of the compressed scenario.
    pub loads: f64,
}

/// Plays an arm.
pub fn simulate(cell: &Cell, arm: usize, seed: u64) -> Result<Simulated, String> {
    let arm = &cell.arms[arm];
    let scale = cell.effort.scale;
    let slow_requests = cell.stage.requests(seed)?;
    let requests = compress(&slow_requests, scale);
    let fast = cell.fast.run_on(arm, seed, &requests);
    let shaken = |dice: u64| measures(&cell.fast.run_on(arm, seed, &shake(&requests, dice)), scale);
    Ok(Simulated {
        fast: measures(&fast, scale),
        slow: measures(&cell.stage.run_on(arm, seed, &slow_requests), 1.0),
        chance: spread(&(0..SHAKEN).map(shaken).collect::<Vec<_>>()),
        loads: fast.loads_per_1k(),
    })
}

fn shake(requests: &[Request], dice: u64) -> Arc<[Request]> {
    let mut dice = fastrand::Rng::with_seed(dice);
    let later = |request: &Request| Request { at: Time(request.at.0 + dice.u64(..=DELAY_US)), ..request.clone() };
    let mut shaken: Vec<Request> = requests.iter().map(later).collect();
    shaken.sort_by_key(|request| request.at);
    shaken.into()
}

fn spread(rows: &[[f64; 4]]) -> [f64; 4] {
    std::array::from_fn(|place| {
        let mean = rows.iter().map(|row| row[place]).sum::<f64>() / rows.len() as f64;
        let square: f64 = rows.iter().map(|row| (row[place] / mean - 1.0).powi(2)).sum();
        (square / (rows.len() as f64 - 1.0)).sqrt()
    })
}
