//! Many runs at once: every seed and arm is a cell, taken by a few threads in turn. The order of the results does not
//! depend on who was faster.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::{Arm, Run, Stage};
use crate::workload::Request;

/// What one thread takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Which arm, by its place.
    pub arm: usize,
    /// Which seed.
    pub seed: u64,
}

/// Called after each cell: cells done, cells in all. From any thread.
pub type Progress<'p> = &'p (dyn Fn(usize, usize) + Sync);

/// Plays one arm on the requests of a seed.
pub type Play<'p> = &'p (dyn Fn(&Arm, u64, &Arc<[Request]>) -> Run + Sync);

/// Runs every arm on every seed, with the scenario's own set-up of the proxy: `runs[arm][seed]`.
pub fn cells(
    stage: &Stage,
    arms: &[Arm],
    seeds: std::ops::Range<u64>,
    threads: usize,
    progress: Progress<'_>,
) -> Result<Vec<Vec<Run>>, String> {
    let play = |arm: &Arm, seed: u64, requests: &Arc<[Request]>| stage.run_on(arm, seed, requests);
    cells_by(stage, arms, seeds, threads, progress, &play)
}

/// The same, each cell played by `play`.
pub fn cells_by(
    stage: &Stage,
    arms: &[Arm],
    seeds: std::ops::Range<u64>,
    threads: usize,
    progress: Progress<'_>,
    play: Play<'_>,
) -> Result<Vec<Vec<Run>>, String> {
    let workloads: Vec<Arc<[Request]>> = seeds.clone().map(|seed| stage.requests(seed)).collect::<Result<_, _>>()?;
    let todo: Vec<Cell> = seeds.clone().flat_map(|seed| (0..arms.len()).map(move |arm| Cell { arm, seed })).collect();
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let results: Mutex<Vec<Option<Run>>> = Mutex::new(todo.iter().map(|_| None).collect());
    let work = || {
        while let Some((place, cell)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|place| todo.get(place).map(|cell| (place, cell)))
        {
            let requests = &workloads[(cell.seed - seeds.start) as usize];
            let run = play(&arms[cell.arm], cell.seed, requests);
            results.lock()[place] = Some(run);
            progress(done.fetch_add(1, Ordering::Relaxed) + 1, todo.len());
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, todo.len().max(1)) {
            scope.spawn(work);
        }
    });
    let mut by_arm: Vec<Vec<Run>> = arms.iter().map(|_| Vec::new()).collect();
    for (cell, run) in todo.iter().zip(results.into_inner()) {
        by_arm[cell.arm].push(run.ok_or("a run is missing")?);
    }
    Ok(by_arm)
}
