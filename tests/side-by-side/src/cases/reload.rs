//! A cap across a reload: one request runs, the configuration is read again, another request comes. How many run at the
//! engine at once?

use crate::engine::Way;
use crate::proxy::Side;
use crate::report::Finding;
use crate::setup::Setup;
use crate::stage::Stage;
use crate::wire::Ask;
use crate::world::World;

/// One engine with a cap of one; three reloads.
pub async fn run(world: &World) -> anyhow::Result<Vec<Finding>> {
    const RELOADS: usize = 3;
    let setup = Setup::of(1).balance("leastconn", "least-connection").engine(0, "maxconn 1", "max_in_flight: 1");
    let seen = world.both(&setup, async |stage| walk(stage, &setup, RELOADS).await).await?;
    let told = |side: usize| format!("{} at once, {} of {} answered", seen[side].0, seen[side].1, RELOADS + 1);
    let bound = format!("{RELOADS} reloads with a request each: all answered; ours: never more than 1 at the engine");
    Ok(vec![
        Finding::of("maxconn 1 across reloads", setup.words(), &bound)
            .seen(told(0), told(1))
            .holds([seen[0].1 == RELOADS + 1, seen[1] == (1, RELOADS + 1)])
            .differing(
                "HAProxy's new process counts from nothing while the old one's requests run; ours keeps one count",
            ),
    ])
}

/// The most at once, and the requests that were answered well.
async fn walk(stage: &mut Stage, setup: &Setup, reloads: usize) -> anyhow::Result<(u32, usize)> {
    stage.engines.meet_all(Way::Hold);
    let (first, _) = stage.place(Ask::chat()).await?;
    let mut sent = vec![first];
    for nth in 1..=reloads {
        stage.reload(setup).await?;
        let id = stage.send(Ask::chat());
        match stage.side() {
            Side::HAProxy => drop(stage.arrived(id).await?),
            Side::Arriero => stage.queued(u32::try_from(nth)?).await?,
        }
        sent.push(id);
    }
    let most = stage.engines.read(|state| state.most[0]);
    let mut answered = 0;
    for id in sent {
        stage.arrived(id).await?;
        answered += usize::from(stage.release(id).await?.status == 200);
    }
    Ok((most.max(stage.engines.read(|state| state.most[0])), answered))
}
