//! Bounded load: no endpoint holds more than `ceil(factor x share of all)`, whatever the keys; and what a key does whose
//! endpoint is full.

use crate::cases::ratio;
use crate::engine::Way;
use crate::report::Finding;
use crate::setup::Setup;
use crate::stage::Stage;
use crate::wire::Ask;
use crate::world::World;

const ENGINES: usize = 4;
const FACTOR: f64 = 1.5;
const HELD: usize = 48;

/// One hot key, then keys of a Zipf-like draw with requests that leave in between.
pub async fn run(world: &World) -> anyhow::Result<Vec<Finding>> {
    let setup = Setup::of(ENGINES)
        .balance("hdr(x-user)", &format!("{{ hash: {{ key: {{ header: x-user }}, bounded-load: {FACTOR} }} }}"))
        .haproxy("hash-type consistent")
        .haproxy(&format!("hash-balance-factor {:.0}", FACTOR * 100.0));
    let mut findings = Vec::new();
    for hot in [true, false] {
        let seen = world.both(&setup, async |stage| walk(stage, hot, world.random(8)).await).await?;
        let told = |side: usize| {
            let Seen { over, counts, homes } = &seen[side];
            format!("{over} picks over; {} at the end; {homes} where their key's first went", ratio(counts))
        };
        let case = if hot { "bounded load, one hot key" } else { "bounded load, skewed keys" };
        let bound = format!("{HELD} held: no pick makes an engine's count exceed ceil({FACTOR} x average)");
        findings.push(
            Finding::of(case, setup.words(), &bound)
                .seen(told(0), told(1))
                .holds(seen.each_ref().map(|seen| seen.over == 0)),
        );
    }
    Ok(findings)
}

struct Seen {
    over: usize,
    counts: Vec<u32>,
    /// Requests that went where the key's first one went.
    homes: usize,
}

async fn walk(stage: &mut Stage, hot: bool, mut random: fastrand::Rng) -> anyhow::Result<Seen> {
    stage.engines.meet_all(Way::Hold);
    let mut homes = std::collections::BTreeMap::new();
    let mut held = Vec::new();
    let mut seen = Seen { over: 0, counts: Vec::new(), homes: 0 };
    for _ in 0..HELD {
        // 1/2 of the requests have key 1, 1/4 key 2, ...
        let key = if hot { 1 } else { random.u32(..).trailing_zeros() + 1 };
        let leaves = !hot && held.len() > 8 && random.f64() < 0.3;
        if leaves {
            let id = held.swap_remove(random.usize(..held.len()));
            stage.release(id).await?;
            stage.settled().await?;
        }
        let (id, engine) = stage.place(Ask::chat().header("x-user", format!("key-{key}"))).await?;
        held.push(id);
        seen.homes += usize::from(*homes.entry(key).or_insert(engine) == engine);
        stage.settled().await?;
        let counts = stage.engines.read(|state| state.in_flight.clone());
        let most = (FACTOR * f64::from(counts.iter().sum::<u32>()) / ENGINES as f64).ceil();
        seen.over += usize::from(f64::from(counts[engine]) > most);
        seen.counts = counts;
    }
    Ok(seen)
}

/// A second request of a key whose endpoint has its one slot taken.
pub async fn full(world: &World) -> anyhow::Result<Vec<Finding>> {
    let setup = |ours: &str| {
        Setup::of(3)
            .balance("hdr(x-user)", &format!("{{ hash: {{ key: {{ header: x-user }}, {ours} }} }}"))
            .haproxy("hash-type consistent")
            .engines("maxconn 1", "max_in_flight: 1")
    };
    let ask = || Ask::chat().header("x-user", "ana");
    let waiting = setup("spill: wait, bounded-load: 0");
    let stays = world
        .both(&waiting, async |stage| {
            stage.engines.meet_all(Way::Hold);
            let (first, home) = stage.place(ask()).await?;
            let second = stage.enqueue(ask(), 1).await?;
            stage.release(first).await?;
            Ok(stage.arrived(second).await? == home)
        })
        .await?;
    let told = |stays: bool| if stays { "waited for its own" } else { "went elsewhere" };
    let wait = Finding::of("hash, own endpoint full, wait", waiting.words(), "the second request waits, others idle")
        .seen(told(stays[0]), told(stays[1]))
        .holds(stays);

    let spilling = setup("spill: next, bounded-load: 0");
    let elsewhere = world
        .one(crate::proxy::Side::Arriero, &spilling, async |stage| {
            stage.engines.meet_all(Way::Hold);
            let (_, home) = stage.place(ask()).await?;
            Ok(stage.place(ask()).await?.1 != home)
        })
        .await?;
    let next = Finding::of(
        "hash, own endpoint full, default",
        spilling.words(),
        "ours: the key's next takes it at once",
    )
    .seen(told(stays[0]), told(!elsewhere))
    .holds([true, elsewhere])
    .differing(
        "HAProxy waits for the key's own server (3.2 has `hash-preserve-affinity` to choose); ours spills by default",
    );
    Ok(vec![wait, next])
}
