//! `roundrobin` and `static-rr`: in every cycle of as many requests as the weights sum up to, each its weight. One
//! client, one request at a time.

use std::sync::Arc;

use crate::cases::{ratio, tally};
use crate::report::Finding;
use crate::setup::Setup;
use crate::wire::Ask;
use crate::world::World;

const CYCLES: usize = 12;

/// Equal and unequal weights, the dynamic and the static form.
pub async fn run(world: &World) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (haproxy, weights) in
        [("roundrobin", [1, 1, 1]), ("roundrobin", [1, 2, 5]), ("static-rr", [1, 2, 5]), ("roundrobin", [0, 100, 256])]
    {
        findings.push(cycles(world, haproxy, weights).await?);
    }
    Ok(findings)
}

async fn cycles(world: &World, haproxy: &str, weights: [u32; 3]) -> anyhow::Result<Finding> {
    let setup = Setup::of(3).balance(haproxy, "round-robin").weights(&weights);
    // weights with a common divisor repeat sooner
    let divisor = (1..=256).rev().find(|by| weights.iter().all(|weight| weight % by == 0)).unwrap_or(1);
    let cycle: Vec<usize> = weights.iter().map(|weight| (*weight / divisor) as usize).collect();
    let length: usize = cycle.iter().sum();
    let owners =
        world.both(&setup, async |stage| stage.owners(&Arc::new(vec![Ask::chat(); CYCLES * length]), 1).await).await?;
    let wrong = owners.each_ref().map(|owners| owners.chunks(length).filter(|part| tally(part, 3) != cycle).count());
    let runs = owners.each_ref().map(|owners| longest_run(owners));
    let told = |side: usize| {
        let counts = ratio(&tally(&owners[side], 3));
        let exact =
            if wrong[side] == 0 { "every cycle exact".to_owned() } else { format!("{} cycles off", wrong[side]) };
        format!("{counts}, {exact}, at most {} in a row", runs[side])
    };
    let case = format!("{haproxy}, weights {}", ratio(&weights));
    let bound = format!("{} in each cycle of {length}, {CYCLES} cycles", ratio(&cycle));
    Ok(Finding::of(&case, setup.words(), &bound).seen(told(0), told(1)).holds(wrong.map(|wrong| wrong == 0)))
}

fn longest_run(owners: &[usize]) -> usize {
    owners.chunk_by(|one, other| one == other).map(<[usize]>::len).max().unwrap_or(0)
}
