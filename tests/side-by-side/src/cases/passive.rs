//! Passive observation: an endpoint whose checks are fine and whose answers are errors is left alone after a few.

use crate::cases::ratio;
use crate::engine::Way;
use crate::report::Finding;
use crate::setup::Setup;
use crate::wire::Ask;
use crate::world::World;

const ASKS: usize = 60;
const LIMIT: usize = 3;

/// One of three answers 500 at once; checks are answered well, and so far apart that none comes in between.
pub async fn run(world: &World) -> anyhow::Result<Vec<Finding>> {
    let setup = Setup::of(3)
        .balance("leastconn", "least-connection")
        .haproxy("option httpchk GET /v1/models")
        .engines("check inter 30s observe layer7 error-limit 3 on-error mark-down", "")
        .pool("health: { every: 30s }")
        .pool("ejection: { failures: 3 }");
    let seen = world
        .both(&setup, async |stage| {
            for engine in 0..3 {
                stage.health(engine, true).await?;
            }
            stage.engines.meet(1, Way::Refuse(500));
            let answers = stage.ask_all(&vec![Ask::chat(); ASKS]).await?;
            let failed = answers.iter().filter(|answer| answer.status != 200).count();
            Ok((failed, stage.engines.read(|state| state.shares(0))))
        })
        .await?;
    let told = |side: usize| format!("{} errors, engines got {}", seen[side].0, ratio(&seen[side].1));
    let bound = format!("{ASKS} requests, one at a time: {LIMIT} errors, all others well, though its checks pass");
    Ok(vec![
        Finding::of("observe layer7, error-limit 3", setup.words(), &bound)
            .seen(told(0), told(1))
            .holds(seen.each_ref().map(|(failed, shares)| (*failed, shares[1]) == (LIMIT, LIMIT))),
    ])
}
