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
/// Turns already had may show in the first cycle after a change.
const WITHIN: usize = 2;

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
        let holds = shares.each_ref().map(|shares| near(&shares[step], weights));
        let bound =
            format!("{ASKS} requests by weights {}, each within {WITHIN}, none where the weight is 0", ratio(weights));
        findings.push(
            Finding::of(&format!("at run time: {name}"), setup.words(), &bound)
                .seen(ratio(&shares[0][step]), ratio(&shares[1][step]))
                .holds(holds),
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
        if *weight == 0 { *count == 0 } else { (*count as f64 - due).abs() <= WITHIN as f64 }
    })
}

async fn walk(stage: &mut Stage) -> anyhow::Result<Vec<Vec<usize>>> {
    let asks = Arc::new(vec![Ask::chat(); ASKS]);
    let mut shares = Vec::new();
    for (_, changes, _) in STEPS {
        for (engine, change) in changes {
            stage.proxy.change(*engine, *change).await?;
        }
        shares.push(tally(&stage.owners(&asks, 1).await?, 3));
    }
    Ok(shares)
}

async fn finish(stage: &mut Stage) -> anyhow::Result<u16> {
    stage.engines.meet_all(Way::Hold);
    let (id, engine) = stage.place(Ask::chat()).await?;
    stage.proxy.change(engine, Change::State("drain")).await?;
    stage.engines.meet_all(Way::Answer);
    stage.ask_all(&vec![Ask::chat(); 3]).await?;
    Ok(stage.release(id).await?.status)
}
