//! `leastconn`: the fewest requests in flight for its weight, idle ones first. A seeded script of arrivals and releases;
//! an engine is picked to release by its rank, so that ties that went another way do not lead the script astray.
//!
//! Every pick must have the least `(n + 1) / weight` (0 if idle) of the state before it. With equal weights the sorted
//! counts must be the same on both sides after every step. With weights 7:11:13 no two busy engines tie at these
//! counts and never more than one is idle, so the counts themselves must be.

use std::collections::VecDeque;

use crate::cases::ratio;
use crate::engine::Way;
use crate::report::Finding;
use crate::setup::Setup;
use crate::stage::Stage;
use crate::wire::Ask;
use crate::world::World;

const STEPS: usize = 150;
const MOST: usize = 14;

/// Equal and unequal weights.
pub async fn run(world: &World) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for weights in [[1, 1, 1], [7, 11, 13]] {
        findings.push(script(world, &weights).await?);
    }
    Ok(findings)
}

struct Seen {
    /// Counts after each step.
    counts: Vec<Vec<u32>>,
    /// Picks that were not of a least loaded engine.
    wrong: usize,
    picks: usize,
}

async fn script(world: &World, weights: &[u32; 3]) -> anyhow::Result<Finding> {
    let setup = Setup::of(3).balance("leastconn", "least-connection").weights(weights);
    let [theirs, ours] = world.both(&setup, async |stage| walk(stage, weights, world.random(2)).await).await?;
    let equal = weights.iter().all(|weight| *weight == weights[0]);
    let form = |counts: &Vec<u32>| {
        let mut counts = counts.clone();
        if equal {
            counts.sort_unstable();
        }
        counts
    };
    // the first picks are among several idle ones, which are all equally good
    let settled = theirs.counts.iter().zip(&ours.counts).skip(weights.len());
    let (steps, alike) = (STEPS - weights.len(), settled.filter(|(one, other)| form(one) == form(other)).count());
    let told = |seen: &Seen| format!("{} of {} picks least loaded", seen.picks - seen.wrong, seen.picks);
    let what = if equal { "sorted counts" } else { "counts" };
    let bound = format!(
        "every pick least loaded; {what} equal after each of the {steps} steps after the first three: {alike} are"
    );
    Ok(Finding::of(&format!("leastconn, weights {}", ratio(weights)), setup.words(), &bound)
        .seen(told(&theirs), told(&ours))
        .holds([theirs.wrong == 0, ours.wrong == 0 && alike == steps]))
}

async fn walk(stage: &mut Stage, weights: &[u32; 3], mut random: fastrand::Rng) -> anyhow::Result<Seen> {
    stage.engines.meet_all(Way::Hold);
    let mut held: [VecDeque<u64>; 3] = Default::default();
    let mut seen = Seen { counts: Vec::new(), wrong: 0, picks: 0 };
    for step in 0..STEPS {
        let count = |held: &[VecDeque<u64>; 3]| held.each_ref().map(VecDeque::len);
        let (all, coin, rank) = (count(&held).iter().sum::<usize>(), random.f64(), random.usize(0..3));
        if step < 3 || all < 4 || all < MOST && coin < 0.55 {
            let before = count(&held);
            let (id, engine) = stage.place(Ask::chat()).await?;
            let least = (0..3).map(|one| key(before[one], weights[one])).fold(f64::INFINITY, f64::min);
            seen.picks += 1;
            seen.wrong += usize::from(key(before[engine], weights[engine]) > least);
            held[engine].push_back(id);
        } else {
            // who has that rank by count, of those whose leaving leaves at most one idle
            let counts = count(&held);
            let idle = counts.contains(&0);
            let mut ranked: Vec<usize> = (0..3).filter(|one| counts[*one] > usize::from(idle)).collect();
            ranked.sort_by_key(|one| counts[*one]);
            let engine = ranked[rank % ranked.len()];
            if let Some(id) = held[engine].pop_front() {
                stage.release(id).await?;
            }
        }
        stage.settled().await?;
        seen.counts.push(stage.engines.read(|state| state.in_flight.clone()));
    }
    Ok(seen)
}

fn key(count: usize, weight: u32) -> f64 {
    if count == 0 { 0.0 } else { (count + 1) as f64 / f64::from(weight) }
}
