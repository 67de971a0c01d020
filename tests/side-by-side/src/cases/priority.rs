//! Priority classes: who waits goes by class, lower first, then by arrival.

use crate::cases::ratio;
use crate::engine::Way;
use crate::report::Finding;
use crate::setup::Setup;
use crate::stage::Stage;
use crate::wire::Ask;
use crate::world::World;

const WAITING: usize = 14;

/// Classes -100, 0 and 100, and the ends of the range, in a seeded mix behind one slot.
pub async fn run(world: &World) -> anyhow::Result<Vec<Finding>> {
    let setup = Setup::of(1)
        .balance("leastconn", "least-connection")
        .haproxy("http-request set-priority-class req.hdr(x-priority)")
        .route("priority: { header: x-priority }")
        .engine(0, "maxconn 1", "max_in_flight: 1");
    let mut random = world.random(10);
    let classes: Vec<i32> = (0..WAITING).map(|_| [-2047, -100, 0, 100, 2047][random.usize(..5)]).collect();
    let mut due: Vec<usize> = (0..WAITING).collect();
    due.sort_by_key(|nth| classes[*nth]);
    let orders = world.both(&setup, async |stage| drain(stage, &classes).await).await?;
    let bound = format!("{WAITING} waiting of classes {}: the order {}", ratio(&classes), ratio(&due));
    Ok(vec![
        Finding::of("set-priority-class", setup.words(), &bound)
            .seen(ratio(&orders[0]), ratio(&orders[1]))
            .holds(orders.each_ref().map(|order| *order == due)),
    ])
}

async fn drain(stage: &mut Stage, classes: &[i32]) -> anyhow::Result<Vec<usize>> {
    stage.engines.meet_all(Way::Hold);
    let (mut running, _) = stage.place(Ask::chat()).await?;
    for (waiting, class) in (1..).zip(classes) {
        stage.enqueue(Ask::chat().header("x-priority", class), waiting).await?;
    }
    let mut order = Vec::new();
    for nth in 1..=classes.len() {
        stage.release(running).await?;
        running =
            stage.engines.until("the next of the queue", |state| state.arrivals.get(nth).map(|one| one.id)).await?;
        order.push(usize::try_from(running)? - 1);
    }
    stage.release(running).await?;
    Ok(order)
}
