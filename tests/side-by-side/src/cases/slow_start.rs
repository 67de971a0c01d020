//! Slow start: an endpoint that came back gets its share step by step. Time matters here: requests are sent every few
//! milliseconds, and shares are taken per second since the proxy says that the endpoint is up.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::engine::Way;
use crate::report::Finding;
use crate::setup::Setup;
use crate::stage::Stage;
use crate::wire::{Ask, Connection};
use crate::world::World;

const OVER: usize = 10;
const AFTER: usize = 2;
const PACE: Duration = Duration::from_millis(5);
/// HAProxy moves the weight once a second, ours with each pick; a busy machine moves both by a few points more.
const WITHIN: f64 = 0.08;

/// Requests in a second below which its share says nothing: the machine stood still.
const SAMPLE: u32 = 50;
/// Seconds that must say something.
const ENOUGH: usize = 9;

/// One of two equal endpoints goes and comes back.
pub async fn run(world: &World) -> anyhow::Result<Vec<Finding>> {
    let setup = Setup::of(2)
        .balance("roundrobin", "round-robin")
        .weights(&[100, 100])
        .checked()
        .engines("slowstart 10s", "slow_start: 10s");
    let shares = world.both(&setup, async |stage| ramp(stage).await).await?;
    // weight t/10 beside 1, at the middle of each second
    let due: Vec<f64> = (0..OVER + AFTER)
        .map(|second| {
            let weight = ((second as f64 + 0.5) / OVER as f64).min(1.0);
            weight / (1.0 + weight)
        })
        .collect();
    let off = shares.each_ref().map(|shares| {
        let known = shares.iter().zip(&due).filter_map(|(share, due)| Some((*share)? - due));
        known.map(f64::abs).fold(0.0, f64::max)
    });
    let told = |side: usize| {
        let word = |share: &Option<f64>| share.map_or("-".to_owned(), |share| format!("{:.0}", share * 100.0));
        let slices: Vec<String> = shares[side].iter().map(word).collect();
        format!("{} % (worst {:.0} points off)", slices.join(" "), off[side] * 100.0)
    };
    let holds = [0, 1].map(|side| {
        let known = shares[side].iter().flatten().count();
        known >= ENOUGH && off[side] <= WITHIN
    });
    let words: Vec<String> = due.iter().map(|share| format!("{:.0}", share * 100.0)).collect();
    let bound = format!(
        "share of the returned endpoint per second: {} %, each within {:.0} points",
        words.join(" "),
        WITHIN * 100.0
    );
    Ok(vec![Finding::of("slowstart 10s", setup.words(), &bound).seen(told(0), told(1)).holds(holds)])
}

async fn ramp(stage: &mut Stage) -> anyhow::Result<Vec<Option<f64>>> {
    stage.engines.meet_all(Way::Answer);
    for engine in [0, 1] {
        stage.health(engine, true).await?;
    }
    stage.engines.close(1).await?;
    stage.health(1, false).await?;
    stage.engines.open(1)?;
    stage.health(1, true).await?;
    let begin = Instant::now();
    let mut counts = [[0u32; 2]; OVER + AFTER];
    let mut connection = Connection::to(stage.proxy.address);
    let mut ticks = interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let second = usize::try_from(begin.elapsed().as_secs())?;
        if second >= OVER + AFTER {
            break;
        }
        if let Some(engine) = connection.ask(&Ask::chat(), None).await?.engine() {
            counts[second][engine] += 1;
        }
    }
    let share = |[old, new]: &[u32; 2]| (old + new >= SAMPLE).then(|| f64::from(*new) / f64::from(old + new));
    Ok(counts.iter().map(share).collect())
}
