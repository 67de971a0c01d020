//! Caps and the queue: never more than the cap at an engine, who came first goes first, who waits too long or finds the
//! queue full is refused.

use std::collections::VecDeque;
use std::time::Duration;

use crate::cases::ratio;
use crate::engine::Way;
use crate::report::Finding;
use crate::setup::Setup;
use crate::stage::Stage;
use crate::wire::Ask;
use crate::world::World;

const ASKS: usize = 12;
const BURST: usize = 60;
const SHORT_QUEUE: Duration = Duration::from_millis(400);

fn capped(caps: &[u32]) -> Setup {
    let setup = Setup::of(caps.len()).balance("leastconn", "least-connection");
    caps.iter().enumerate().fold(setup, |setup, (engine, cap)| {
        setup.engine(engine, &format!("maxconn {cap}"), &format!("max_in_flight: {cap}"))
    })
}

/// One engine with caps 1 to 4, then two engines that share the queue.
pub async fn caps(world: &World) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for caps in [&[1][..], &[2], &[3], &[4], &[1, 3]] {
        let setup = capped(caps);
        let seen = world.both(&setup, async |stage| in_turn(stage, caps, world.random(9)).await).await?;
        let told = |side: usize| {
            let Seen { most, late, failed, burst } = &seen[side];
            format!("most {}, {late} overtaken, {failed} failed; burst: most {}", ratio(most), ratio(burst))
        };
        let holds = seen.each_ref().map(|seen| {
            seen.most == caps
                && seen.burst.iter().zip(caps).all(|(most, cap)| most <= cap)
                && seen.late + seen.failed == 0
        });
        let case = format!("maxconn {}, queue", ratio(caps));
        let bound = format!(
            "{ASKS} in order, then {BURST} at once: at most {} at the engine, first come first served",
            ratio(caps)
        );
        findings.push(Finding::of(&case, setup.words(), &bound).seen(told(0), told(1)).holds(holds));
    }
    Ok(findings)
}

struct Seen {
    most: Vec<u32>,
    /// Requests that did not arrive in the order in which they were sent.
    late: usize,
    failed: usize,
    burst: Vec<u32>,
}

async fn in_turn(stage: &mut Stage, caps: &[u32], mut random: fastrand::Rng) -> anyhow::Result<Seen> {
    stage.engines.meet_all(Way::Hold);
    let room: usize = caps.iter().map(|cap| *cap as usize).sum();
    let mut held = VecDeque::new();
    for _ in 0..room {
        held.push_back(stage.place(Ask::chat()).await?.0);
        stage.settled().await?;
    }
    for waiting in 1..=(ASKS - room) as u32 {
        stage.enqueue(Ask::chat(), waiting).await?;
    }
    let mut seen = Seen { most: Vec::new(), late: 0, failed: 0, burst: Vec::new() };
    for next in room..ASKS {
        let id = held.remove(random.usize(..held.len())).unwrap_or_default();
        seen.failed += usize::from(stage.release(id).await?.status != 200);
        let so_far = next + 1;
        let newest =
            stage.engines.until("the next of the queue", |state| state.arrivals.get(so_far - 1).copied()).await?;
        seen.late += usize::from(newest.id != next as u64);
        held.push_back(newest.id);
    }
    for id in held {
        seen.failed += usize::from(stage.release(id).await?.status != 200);
    }
    seen.most = stage.engines.read(|state| state.most.clone());
    let sent: Vec<u64> = (0..BURST).map(|_| stage.send(Ask::chat())).collect();
    for nth in 0..BURST {
        let next = stage.engines.until("one of the burst", |state| state.arrivals.get(ASKS + nth).copied()).await?;
        stage.engines.release(next.id);
    }
    for id in sent {
        seen.failed += usize::from(stage.answer(id).await?.status != 200);
    }
    seen.burst = stage.engines.read(|state| state.most.clone());
    Ok(seen)
}

/// Who waits longer than the limit gets 503; who holds the slot is not touched.
pub async fn patience(world: &World) -> anyhow::Result<Vec<Finding>> {
    let setup = capped(&[1]).haproxy("timeout queue 400ms").pool("queue: { timeout: 400ms }");
    let seen = world
        .both(&setup, async |stage| {
            stage.engines.meet_all(Way::Hold);
            let (first, _) = stage.place(Ask::chat()).await?;
            let second = stage.enqueue(Ask::chat(), 1).await?;
            let refused = stage.answer(second).await?;
            let arrivals = stage.engines.read(|state| state.arrivals.len());
            Ok((refused, arrivals, stage.release(first).await?.status))
        })
        .await?;
    let told = |side: usize| {
        let (refused, arrivals, first) = &seen[side];
        let hint = refused.header("retry-after").map_or("no", |_| "with");
        let elapsed = refused.took.as_millis();
        format!(
            "{} after {elapsed} ms, {hint} Retry-After; {arrivals} at the engine; the first {first}",
            refused.status
        )
    };
    let holds = seen.each_ref().map(|(refused, arrivals, first)| {
        refused.status == 503
            && (SHORT_QUEUE..SHORT_QUEUE * 10).contains(&refused.took)
            && (*arrivals, *first) == (1, 200)
    });
    Ok(vec![
        Finding::of("timeout queue 400ms", setup.words(), "503 after 400 ms to 4 s, never at the engine")
            .seen(told(0), told(1))
            .holds(holds),
    ])
}

/// Places in the queue that are taken: one more is refused at once.
pub async fn full(world: &World) -> anyhow::Result<Vec<Finding>> {
    // HAProxy bounds a server's own queue, which only requests bound to it (here by a hash) wait in.
    let setup = Setup::of(1)
        .balance("hdr(x-user)", "{ hash: { key: { header: x-user }, bounded-load: 0, spill: wait } }")
        .engine(0, "maxconn 1 maxqueue 2", "max_in_flight: 1")
        .pool("queue: { max_requests: 2 }");
    let seen = world
        .both(&setup, async |stage| {
            stage.engines.meet_all(Way::Hold);
            let ask = || Ask::chat().header("x-user", "ana");
            let (first, _) = stage.place(ask()).await?;
            let waiting = [stage.enqueue(ask(), 1).await?, stage.enqueue(ask(), 2).await?];
            let third = stage.send(ask());
            let refused = stage.answer(third).await?;
            let mut served = vec![stage.release(first).await?.status];
            for id in waiting {
                stage.arrived(id).await?;
                served.push(stage.release(id).await?.status);
            }
            Ok((refused, served))
        })
        .await?;
    let told = |side: usize| {
        let (refused, served) = &seen[side];
        let hint = refused.header("retry-after").map_or("no", |_| "with");
        format!("{}, {hint} Retry-After; the others {}", refused.status, ratio(served))
    };
    let served = seen.each_ref().map(|(_, served)| served.iter().all(|status| *status == 200));
    let statuses = seen.each_ref().map(|(refused, _)| refused.status);
    let hinted = seen[1].0.header("retry-after").is_some();
    Ok(vec![
        Finding::of(
            "maxqueue 2",
            setup.words(),
            "the fourth is refused at once (HAProxy 503, Arriero 429), three are served",
        )
        .seen(told(0), told(1))
        .holds([statuses[0] == 503 && served[0], statuses[1] == 429 && hinted && served[1]])
        .differing(
            "429 with Retry-After says that asking again later helps, and clients of LLM APIs do so; HAProxy's \
                 bound is per server and for requests bound to it, ours per pool",
        ),
    ])
}
