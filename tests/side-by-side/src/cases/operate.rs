//! The operator's word at run time: weight, drain, maint, ready. HAProxy is told over its control socket, Arriero by its
//! admin API.

use std::sync::Arc;

use crate::cases::{ratio, tally};
use crate::counts::Change;
use crate::engine::Way;
use crate::report::Finding;
use crate::setup::Setup;
use crate::stage::Stage;
use crate::wire::Ask;
use crate::world::World;

const ASKS: usize = 60;
/// Turns already had count for a while after a change: ours lets who is behind catch up two of them, and the requests
/// need not be whole cycles.
const WITHIN: f64 = 3.0;

/// A name, what is said, and the weights that then hold.
type Step = (&'static str, &'static [(usize, Change)], [u32; 3]);

const STEPS: [Step; 7] = [
    ("as configured", &[], [10, 10, 10]),
    ("e0 weight 30", &[(0, Change::Weight(30))], [30, 10, 10]),
    ("e1 drain", &[(1, Change::State("drain"))], [30, 0, 10]),
    ("e1 ready, e2 maint", &[(1, Change::State("ready")), (2, Change::State("maint"))], [30, 10, 0]),
    ("e2 ready, e0 weight 0", &[(2, Change::State("ready")), (0, Change::Weight(0))], [0, 10, 10]),
    ("e0 weight 10", &[(0, Change::Weight(10))], [10, 10, 10]),
    ("e2 weight 256", &[(2, Change::Weight(256))], [10, 10, 256]),
];

/// Shares after each word; then what a drained endpoint does with the request it has.
pub async fn run(world: &World) -> anyhow::Result<Vec<Finding>> {
    let setup = Setup::of(3).balance("roundrobin", "round-robin").weights(&[10, 10, 10]);
    let shares = world.both(&setup, async |stage| walk(stage).await).await?;
    let mut findings = Vec::new();
    for (step, (name, _, weights)) in STEPS.iter().enumerate() {
        let holds = shares.each_ref().map(|shares| shares[step].iter().all(|share| near(share, weights)));
        let told = |side: usize| format!("{}, then {}", ratio(&shares[side][step][0]), ratio(&shares[side][step][1]));
        let bound = format!(
            "two times {ASKS} requests by weights {}, each within {WITHIN}, none where it is 0",
            ratio(weights)
        );
        findings.push(
            Finding::of(&format!("at run time: {name}"), setup.words(), &bound).seen(told(0), told(1)).holds(holds),
        );
    }
    let ends = world.both(&setup, async |stage| finish(stage).await).await?;
    let told = |status: u16| format!("status {status}");
    findings.push(
        Finding::of("at run time: drain under a request", setup.words(), "the request that runs there ends well")
            .seen(told(ends[0]), told(ends[1]))
            .holds(ends.map(|status| status == 200)),
    );
    Ok(findings)
}

fn near(counts: &[usize], weights: &[u32; 3]) -> bool {
    let sum: u32 = weights.iter().sum();
    counts.iter().zip(weights).all(|(count, weight)| {
        let due = ASKS as f64 * f64::from(*weight) / f64::from(sum);
        if *weight == 0 { *count == 0 } else { (*count as f64 - due).abs() <= WITHIN }
    })
}

async fn walk(stage: &mut Stage) -> anyhow::Result<Vec<[Vec<usize>; 2]>> {
    let asks = Arc::new(vec![Ask::chat(); ASKS]);
    let mut shares = Vec::new();
    for (_, changes, _) in STEPS {
        for (engine, change) in changes {
            stage.proxy.change(*engine, *change).await?;
        }
        let first = stage.owners(&asks, 1).await?;
        shares.push([tally(&first, 3), tally(&stage.owners(&asks, 1).await?, 3)]);
    }
    Ok(shares)
}

/// Arrivals at one engine after its cap of 1 became 3, then 2, with six requests sent.
pub async fn caps(world: &World) -> anyhow::Result<Vec<Finding>> {
    let setup = Setup::of(1).balance("leastconn", "least-connection").engine(0, "maxconn 1", "max_in_flight: 1");
    let seen = world.both(&setup, async |stage| resize(stage).await).await?;
    let due = vec![1, 3, 2, 2];
    Ok(vec![
        Finding::of(
            "at run time: cap 1, 3, 2",
            setup.words(),
            "six sent; at the engine 1, then 3; cap 2: after one left 2, after another one left and one came 2",
        )
        .seen(ratio(&seen[0]), ratio(&seen[1]))
        .holds(seen.each_ref().map(|counts| *counts == due)),
    ])
}

async fn resize(stage: &mut Stage) -> anyhow::Result<Vec<u32>> {
    stage.engines.meet_all(Way::Hold);
    let (first, _) = stage.place(Ask::chat()).await?;
    for waiting in 1..=5 {
        stage.enqueue(Ask::chat(), waiting).await?;
    }
    let now = |stage: &Stage| stage.engines.read(|state| state.in_flight[0]);
    let mut counts = vec![now(stage)];
    stage.proxy.change(0, Change::Cap(3)).await?;
    stage.queued(3).await?;
    stage.engines.until("two more", |state| (state.arrivals.len() == 3).then_some(())).await?;
    counts.push(now(stage));
    // two leave and only one may follow: none after the first, one after the second
    stage.proxy.change(0, Change::Cap(2)).await?;
    stage.release(first).await?;
    stage.settled().await?;
    counts.push(now(stage));
    stage.release(first + 1).await?;
    stage.engines.until("one more", |state| (state.arrivals.len() == 4).then_some(())).await?;
    counts.push(now(stage));
    Ok(counts)
}

async fn finish(stage: &mut Stage) -> anyhow::Result<u16> {
    stage.engines.meet_all(Way::Hold);
    let (id, engine) = stage.place(Ask::chat()).await?;
    stage.proxy.change(engine, Change::State("drain")).await?;
    stage.engines.meet_all(Way::Answer);
    stage.ask_all(&vec![Ask::chat(); 3]).await?;
    Ok(stage.release(id).await?.status)
}
