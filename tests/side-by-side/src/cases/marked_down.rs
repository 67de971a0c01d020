//! A request that runs on an endpoint which checks find down: it may finish (the default of both), or is cut.

use crate::engine::Way;
use crate::proxy::Side;
use crate::report::Finding;
use crate::setup::Setup;
use crate::stage::Stage;
use crate::wire::Ask;
use crate::world::World;

/// Finish, then cut.
pub async fn run(world: &World) -> anyhow::Result<Vec<Finding>> {
    let base = || Setup::of(2).balance("roundrobin", "round-robin").checked();
    let setup = base();
    let finished = world.both(&setup, async |stage| under_way(stage, false).await).await?;
    let told = |status: u16| if status == 0 { "no answer".to_owned() } else { format!("status {status}") };
    let finish = Finding::of("marked down under a request", setup.words(), "the request ends well where it is")
        .seen(told(finished[0]), told(finished[1]))
        .holds(finished.map(|status| status == 200));
    let setup = base().engines("on-marked-down shutdown-sessions", "").pool("on_down: cut");
    let cut = world.both(&setup, async |stage| under_way(stage, true).await).await?;
    let cut = Finding::of(
        "on-marked-down shutdown-sessions",
        setup.words(),
        "cut before its first byte; ours: then answered by the other",
    )
    .seen(told(cut[0]), told(cut[1]))
    .holds([cut[0] != 200, cut[1] == 200])
    .differing("HAProxy ends it; ours tries it elsewhere while the client has seen nothing");
    Ok(vec![finish, cut])
}

/// The status that the client sees in the end; 0 if its connection is closed without one.
async fn under_way(stage: &mut Stage, cut: bool) -> anyhow::Result<u16> {
    for engine in [0, 1] {
        stage.health(engine, true).await?;
    }
    stage.engines.meet_all(Way::Hold);
    let (id, home) = stage.place(Ask::chat()).await?;
    stage.engines.sicken(home, true);
    stage.health(home, false).await?;
    if !cut {
        return Ok(stage.release(id).await?.status);
    }
    stage.engines.until("the end of the first attempt", |state| (state.in_flight[home] == 0).then_some(())).await?;
    if stage.side() == Side::HAProxy {
        return Ok(stage.answer(id).await.map_or(0, |answer| answer.status));
    }
    let elsewhere = |id| move |arrival: &crate::engine::Arrival| arrival.id == id && arrival.engine != home;
    stage.engines.until("the second attempt", |state| state.arrivals.iter().any(elsewhere(id)).then_some(())).await?;
    Ok(stage.release(id).await?.status)
}
