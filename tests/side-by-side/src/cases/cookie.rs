//! Persistence by an inserted cookie: who shows it stays at its endpoint, while that drains too; when it is in
//! maintenance the client is moved and told so by a new cookie.

use crate::cases::ratio;
use crate::counts::Change;
use crate::report::Finding;
use crate::setup::Setup;
use crate::stage::Stage;
use crate::wire::{Answer, Ask, Connection};
use crate::world::World;

const CLIENTS: usize = 12;
const REPEATS: usize = 4;
const AWAY: usize = 1;

/// Twelve clients on three endpoints.
pub async fn run(world: &World) -> anyhow::Result<Vec<Finding>> {
    let mut setup = Setup::of(3)
        .balance("roundrobin", "round-robin")
        .haproxy("cookie srv insert indirect nocache")
        .haproxy("option redispatch")
        .route("affinity: { insert_cookie: srv }");
    for engine in 0..3 {
        setup = setup.engine(engine, &format!("cookie e{engine}"), "");
    }
    let seen = world.both(&setup, async |stage| walk(stage).await).await?;
    let told = |side: usize| {
        let Seen { homes, strays, drained, moved } = &seen[side];
        format!(
            "clients {}, {strays} strays; drain: {} stay; maint: {} moved with a new cookie",
            ratio(homes),
            drained,
            moved
        )
    };
    let holds = seen.each_ref().map(|seen| {
        let away = seen.homes[AWAY];
        seen.homes == [4, 4, 4] && seen.strays == 0 && seen.drained == away && seen.moved == away
    });
    let bound = format!(
        "{CLIENTS} clients: 4:4:4, no stray in {REPEATS} repeats; e{AWAY}'s four stay while it drains, move when it is in maint"
    );
    Ok(vec![Finding::of("cookie insert", setup.words(), &bound).seen(told(0), told(1)).holds(holds)])
}

struct Seen {
    homes: Vec<usize>,
    strays: usize,
    /// Clients of the drained endpoint that stayed there.
    drained: usize,
    /// Clients that were moved when it went into maintenance, and given a new cookie.
    moved: usize,
}

/// `name=value` of the cookie that an answer sets.
fn cookie(answer: &Answer) -> Option<String> {
    let set = answer.header("set-cookie")?.split(';').next()?.trim();
    set.starts_with("srv=").then(|| set.to_owned())
}

async fn walk(stage: &mut Stage) -> anyhow::Result<Seen> {
    let to = stage.proxy.address;
    let ask = async |cookie: &str| {
        let ask = Ask::chat();
        let ask = if cookie.is_empty() { ask } else { ask.header("cookie", cookie) };
        Connection::to(to).ask(&ask, None).await
    };
    let mut seen = Seen { homes: vec![0; 3], strays: 0, drained: 0, moved: 0 };
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let answer = ask("").await?;
        let (home, cookie) = (answer.engine().unwrap_or_default(), cookie(&answer).unwrap_or_default());
        seen.homes[home] += 1;
        seen.strays += usize::from(cookie.is_empty());
        clients.push((home, cookie));
    }
    for _ in 0..REPEATS {
        for (home, cookie) in &clients {
            seen.strays += usize::from(ask(cookie).await?.engine() != Some(*home));
        }
    }
    stage.proxy.change(AWAY, Change::State("drain")).await?;
    let theirs = || clients.iter().filter(|(home, _)| *home == AWAY);
    for (_, cookie) in theirs() {
        seen.drained += usize::from(ask(cookie).await?.engine() == Some(AWAY));
    }
    stage.proxy.change(AWAY, Change::State("maint")).await?;
    for (_, old) in theirs() {
        let answer = ask(old).await?;
        let elsewhere = answer.engine().is_some_and(|engine| engine != AWAY);
        let told = cookie(&answer).is_some_and(|new| new != *old);
        seen.moved += usize::from(elsewhere && told);
    }
    Ok(seen)
}
