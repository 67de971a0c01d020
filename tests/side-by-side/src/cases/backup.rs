//! Backups serve when no normal endpoint can: the first one, or all; and hand back. Downs and ups are seen by active
//! checks in both; the driver waits until the proxy says that it has seen them.

use std::sync::Arc;

use crate::cases::ratio;
use crate::report::Finding;
use crate::setup::Setup;
use crate::stage::Stage;
use crate::wire::Ask;
use crate::world::World;

const ASKS: usize = 20;

/// All backups, then one.
pub async fn run(world: &World) -> anyhow::Result<Vec<Finding>> {
    let base = || {
        let setup = Setup::of(4).balance("roundrobin", "round-robin").checked();
        setup.engine(2, "backup", "backup: true").engine(3, "backup", "backup: true")
    };
    let due = |backups: [usize; 2]| {
        [vec![10, 10, 0, 0], vec![0, 20, 0, 0], [vec![0, 0], backups.to_vec()].concat(), vec![10, 10, 0, 0]]
    };
    let all = phases(world, "backup, all", base().haproxy("option allbackups"), due([10, 10])).await?;
    let one = match phases(world, "backup, the first", base().pool("backup: one"), due([20, 0])).await {
        Ok(one) => one,
        Err(error) => Finding::failed("backup, the first", &error),
    };
    Ok(vec![all, one])
}

async fn phases(world: &World, case: &str, setup: Setup, due: [Vec<usize>; 4]) -> anyhow::Result<Finding> {
    let shares = world.both(&setup, async |stage| walk(stage).await).await?;
    let told = |side: usize| shares[side].iter().map(|share| ratio(share)).collect::<Vec<_>>().join(", ");
    let bound = format!(
        "shares with all up, e0 down, e0 and e1 down, all back: {}; no error",
        due.iter().map(|share| ratio(share)).collect::<Vec<_>>().join(", ")
    );
    let holds = shares.each_ref().map(|shares| *shares == due);
    Ok(Finding::of(case, setup.words(), &bound).seen(told(0), told(1)).holds(holds))
}

async fn walk(stage: &mut Stage) -> anyhow::Result<[Vec<usize>; 4]> {
    for engine in 0..4 {
        stage.health(engine, true).await?;
    }
    let asks = Arc::new(vec![Ask::chat(); ASKS]);
    let share = async |stage: &Stage| Ok::<_, anyhow::Error>(crate::cases::tally(&stage.owners(&asks, 1).await?, 4));
    let normal = share(stage).await?;
    stage.engines.close(0).await?;
    stage.health(0, false).await?;
    let half = share(stage).await?;
    stage.engines.close(1).await?;
    stage.health(1, false).await?;
    let none = share(stage).await?;
    for engine in [0, 1] {
        stage.engines.open(engine)?;
        stage.health(engine, true).await?;
    }
    Ok([normal, half, none, share(stage).await?])
}
