//! Failed attempts are repeated elsewhere before the client sees anything: refused connections, resets, statuses.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use crate::cases::ratio;
use crate::engine::{PATIENCE, Way};
use crate::proxy::Side;
use crate::report::Finding;
use crate::setup::Setup;
use crate::stage::Stage;
use crate::wire::{Ask, Connection};
use crate::world::World;

const BAD: usize = 1;
const ASKS: usize = 60;

/// One of three endpoints refuses connections, or resets them.
pub async fn run(world: &World) -> anyhow::Result<Vec<Finding>> {
    let base = || Setup::of(3).balance("roundrobin", "round-robin").haproxy("retries 3").pool("retries: 3");
    let patient = base().haproxy("option redispatch");
    let quick = base().haproxy("option redispatch 1");
    let reset = base().haproxy("option redispatch 1").haproxy("retry-on conn-failure empty-response");
    Ok(vec![
        tried(world, "one refuses, option redispatch", &patient, None).await?,
        tried(world, "one refuses, option redispatch 1", &quick, None).await?,
        tried(world, "one resets, retry-on empty-response", &reset, Some(Way::Reset)).await?,
    ])
}

/// One of three answers 503 each time.
pub async fn statuses(world: &World) -> anyhow::Result<Vec<Finding>> {
    let setup = Setup::of(3)
        .balance("roundrobin", "round-robin")
        .haproxy("retries 3")
        .haproxy("option redispatch 1")
        .haproxy("retry-on 503 conn-failure empty-response")
        .pool("retries: 3");
    Ok(vec![tried(world, "one answers 503, retry-on 503", &setup, Some(Way::Refuse(503))).await?])
}

struct Seen {
    failed: usize,
    shares: Vec<usize>,
    /// HAProxy's `wretr` and `wredis` (a retry by `retry-on` counts in both), our `arriero_retries_total`.
    repeated: Vec<u64>,
    longest: Duration,
}

async fn tried(world: &World, case: &str, setup: &Setup, way: Option<Way>) -> anyhow::Result<Finding> {
    let seen = world.both(setup, async |stage| walk(stage, way).await).await?;
    let told = |side: usize| {
        let Seen { failed, shares, repeated, longest } = &seen[side];
        let longest = longest.as_secs_f64();
        let (shares, names) = (ratio(shares), ["wretr:wredis", "retries"][side]);
        let repeated = ratio(repeated);
        format!("{failed} errors; {names} {repeated}; engines got {shares}; longest {longest:.2} s")
    };
    let again = seen.each_ref().map(|seen| seen.repeated.iter().copied().max().unwrap_or(0));
    let holds = [0, 1].map(|side| seen[side].failed == 0 && again[side] > 0 && seen[side].longest < PATIENCE);
    let bound = format!("{ASKS} requests, 3 at a time: no client sees an error; something was repeated");
    let finding = Finding::of(case, setup.words(), &bound).seen(told(0), told(1)).holds(holds);
    Ok(match way {
        _ if again[1] * 2 > again[0] => finding,
        Some(Way::Refuse(_)) => {
            finding.differing("ours takes 503 for `busy` and asks that endpoint again after a pause, which doubles")
        }
        _ => finding.differing(
            "without active checks HAProxy comes back to a failing server in every turn; ours leaves it alone after a \
             few failures in a row, for a time that doubles (`ejection`)",
        ),
    })
}

/// Three at a time: so many retries are always within Arriero's budget.
async fn walk(stage: &mut Stage, way: Option<Way>) -> anyhow::Result<Seen> {
    match way {
        Some(way) => stage.engines.meet(BAD, way),
        None => stage.engines.close(BAD).await?,
    }
    let left = Arc::new(std::sync::atomic::AtomicUsize::new(ASKS));
    let asking = (0..3).map(|_| {
        let (left, to) = (left.clone(), stage.proxy.address);
        tokio::spawn(async move {
            use std::sync::atomic::Ordering::SeqCst;
            let mut connection = Connection::to(to);
            let mut answers = Vec::new();
            while left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
                let answer = connection.ask(&Ask::chat(), None).await.context("no answer")?;
                answers.push((answer.status, answer.took));
            }
            anyhow::Ok(answers)
        })
    });
    let mut answers = Vec::new();
    for part in futures::future::join_all(asking).await {
        answers.extend(part??);
    }
    let repeated = match stage.side() {
        Side::HAProxy => vec![stage.proxy.sum("wretr").await?, stage.proxy.sum("wredis").await?],
        Side::Arriero => vec![stage.proxy.metric("arriero_retries_total").await?],
    };
    Ok(Seen {
        failed: answers.iter().filter(|(status, _)| *status != 200).count(),
        shares: stage.engines.read(|state| state.shares(0)),
        repeated,
        longest: answers.iter().map(|(_, took)| *took).max().unwrap_or_default(),
    })
}
