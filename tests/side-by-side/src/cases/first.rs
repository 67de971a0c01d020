//! `first`: the first endpoint of the file below its cap. The engines' sequence must be the very same.

use std::collections::VecDeque;

use crate::cases::ratio;
use crate::engine::Way;
use crate::report::Finding;
use crate::setup::Setup;
use crate::stage::Stage;
use crate::wire::Ask;
use crate::world::World;

const STEPS: usize = 120;
const CAPS: [usize; 3] = [2, 3, 4];

/// Caps 2, 3 and 4.
pub async fn run(world: &World) -> anyhow::Result<Vec<Finding>> {
    let mut setup = Setup::of(3).balance("first", "first");
    for (engine, cap) in CAPS.iter().enumerate() {
        setup = setup.engine(engine, &format!("maxconn {cap}"), &format!("max_in_flight: {cap}"));
    }
    let picks = world.both(&setup, async |stage| walk(stage, world.random(3)).await).await?;
    let counts = picks.each_ref().map(|picks| {
        let mut counts = [0; 3];
        picks.iter().for_each(|(engine, _)| counts[*engine] += 1);
        ratio(&counts)
    });
    let wrong = picks.each_ref().map(|picks| picks.iter().filter(|(engine, due)| engine != due).count());
    let told = |side: usize| format!("{}, {} picks not the first free", counts[side], wrong[side]);
    let alike = picks[0] == picks[1];
    let bound =
        format!("each pick the first free one of caps {}; the same sequence of {} picks", ratio(&CAPS), picks[0].len());
    Ok(vec![
        Finding::of("first, maxconn 2:3:4", setup.words(), &bound)
            .seen(told(0), told(1))
            .holds([wrong[0] == 0, wrong[1] == 0 && alike]),
    ])
}

/// Each pick, and which engine was due.
async fn walk(stage: &mut Stage, mut random: fastrand::Rng) -> anyhow::Result<Vec<(usize, usize)>> {
    stage.engines.meet_all(Way::Hold);
    let mut held: [VecDeque<u64>; 3] = Default::default();
    let mut picks = Vec::new();
    for _ in 0..STEPS {
        let counts = held.each_ref().map(VecDeque::len);
        let due = (0..3).find(|one| counts[*one] < CAPS[*one]);
        let (coin, rank) = (random.f64(), random.usize(0..3));
        match due {
            Some(due) if coin < 0.6 || counts == [0; 3] => {
                let (id, engine) = stage.place(Ask::chat()).await?;
                held[engine].push_back(id);
                picks.push((engine, due));
            }
            _ => {
                let busy: Vec<usize> = (0..3).filter(|one| counts[*one] > 0).collect();
                if let Some(id) = held[busy[rank % busy.len()]].pop_front() {
                    stage.release(id).await?;
                }
            }
        }
        stage.settled().await?;
    }
    Ok(picks)
}
