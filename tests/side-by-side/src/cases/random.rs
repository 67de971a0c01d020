//! `random(2)`: shares by weight while nothing is held, and how even the counts are while everything is.
//!
//! HAProxy draws on its ring of 16 points per weight, so its shares are the ring's. It breaks ties of idle endpoints by
//! the rate of the last second, ours by who was drawn first. The held part has a statistical bound: of 160 requests on
//! 4 engines one draw leaves a largest count about 8 above the average, two draws about 1 to 2.

use std::sync::Arc;

use crate::cases::{percent, ratio, tally, worst_share};
use crate::engine::Way;
use crate::report::Finding;
use crate::setup::Setup;
use crate::wire::Ask;
use crate::world::World;

const HELD: usize = 160;
const ABOVE: u32 = 4;

/// Shares, then evenness.
pub async fn run(world: &World) -> anyhow::Result<Vec<Finding>> {
    let asks = 4000;
    let weights = [100, 100, 100, 100];
    let setup = Setup::of(4).balance("random(2)", "random").weights(&weights);
    let owners = world.both(&setup, async |stage| stage.owners(&Arc::new(vec![Ask::chat(); asks]), 4).await).await?;
    let counts = owners.each_ref().map(|owners| tally(owners, 4));
    let off = counts.each_ref().map(|counts| worst_share(counts, &weights));
    let told = |side: usize| format!("{}, worst {} off", ratio(&counts[side]), percent(off[side]));
    let shares = Finding::of("random(2), nothing held", setup.words(), "each share within 15 % of its weight's")
        .seen(told(0), told(1))
        .holds(off.map(|off| off <= 0.15));

    let setup = Setup::of(4).balance("random(2)", "random");
    let counts = world
        .both(&setup, async |stage| {
            stage.engines.meet_all(Way::Hold);
            for _ in 0..HELD {
                stage.place(Ask::chat()).await?;
            }
            Ok(stage.engines.read(|state| state.in_flight.clone()))
        })
        .await?;
    let most = HELD as u32 / 4 + ABOVE;
    let holds = counts.each_ref().map(|counts| counts.iter().all(|count| *count <= most));
    let even = Finding::of("random(2), all held", setup.words(), &format!("{HELD} held: nobody has more than {most}"))
        .seen(ratio(&counts[0]), ratio(&counts[1]))
        .holds(holds);
    Ok(vec![shares, even])
}
