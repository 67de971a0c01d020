//! `balance` on every source of a key: the same key to the same endpoint, whichever connection it comes on and whatever
//! came between; and all endpoints have keys.

use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::cases::{ratio, tally};
use crate::report::Finding;
use crate::setup::Setup;
use crate::wire::Ask;
use crate::world::World;

const ROUNDS: usize = 3;
const ENGINES: usize = 4;

struct Source {
    name: &'static str,
    haproxy: &'static str,
    /// More lines of HAProxy's.
    more: &'static [&'static str],
    arriero: &'static str,
    ask: fn(u32) -> Ask,
}

const SOURCES: &[Source] = &[
    Source { name: "source", haproxy: "source", more: &[], arriero: "source", ask: by_source },
    Source { name: "uri", haproxy: "uri path-only", more: &[], arriero: "path", ask: by_path },
    Source { name: "uri depth 2", haproxy: "uri depth 2", more: &[], arriero: "{ path: { depth: 2 } }", ask: by_depth },
    Source { name: "url_param", haproxy: "url_param user", more: &[], arriero: "{ query: user }", ask: by_query },
    Source { name: "hdr", haproxy: "hdr(x-user)", more: &[], arriero: "{ header: x-user }", ask: by_header },
    Source { name: "cookie", haproxy: "hash req.cook(sid)", more: &[], arriero: "{ cookie: sid }", ask: by_cookie },
    Source {
        name: "body field",
        haproxy: "hash req.body,json_query('$.user')",
        more: &["option http-buffer-request"],
        arriero: "{ body: user }",
        ask: by_body,
    },
];

/// One finding for each source.
pub async fn run(world: &World) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for source in SOURCES {
        findings.push(repeat(world, source).await?);
    }
    findings.push(keyless(world).await?);
    Ok(findings)
}

async fn repeat(world: &World, source: &Source) -> anyhow::Result<Finding> {
    let ours = format!("{{ hash: {{ key: {}, bounded-load: 0 }} }}", source.arriero);
    let setup = Setup::of(ENGINES).balance(source.haproxy, &ours).haproxy("hash-type consistent");
    let setup = source.more.iter().fold(setup, |setup, line| setup.haproxy(line)).route("allow: [other]");
    let keys: u32 = if world.short { 100 } else { 300 };
    let mut order: Vec<u32> = (0..ROUNDS).flat_map(|_| 0..keys).collect();
    world.random(5).shuffle(&mut order);
    let asks = Arc::new(order.iter().map(|key| (source.ask)(*key)).collect::<Vec<Ask>>());
    let owners = world.both(&setup, async |stage| stage.owners(&asks, 5).await).await?;
    let judged = owners.each_ref().map(|owners| {
        let mut homes = vec![None; keys as usize];
        let mut strays = 0;
        for (key, owner) in order.iter().zip(owners) {
            let home = homes[*key as usize].get_or_insert(*owner);
            strays += usize::from(home != owner);
        }
        (strays, tally(&homes.into_iter().flatten().collect::<Vec<_>>(), ENGINES))
    });
    let told = |side: usize| format!("{} strays, keys {}", judged[side].0, ratio(&judged[side].1));
    let holds = judged.each_ref().map(|(strays, counts)| *strays == 0 && !counts.contains(&0));
    let bound =
        format!("{keys} keys, {ROUNDS} times each on 5 connections: no key has two homes, every engine has keys");
    Ok(Finding::of(&format!("hash on {}", source.name), setup.words(), &bound).seen(told(0), told(1)).holds(holds))
}

/// Requests that have no key.
async fn keyless(world: &World) -> anyhow::Result<Finding> {
    const ASKS: usize = 120;
    const LEAST: usize = 15;
    let setup = Setup::of(3)
        .balance("hdr(x-user)", "{ hash: { key: { header: x-user }, bounded-load: 0 } }")
        .haproxy("hash-type consistent");
    let asks = Arc::new(vec![Ask::chat(); ASKS]);
    let owners = world.both(&setup, async |stage| stage.owners(&asks, 1).await).await?;
    let counts = owners.each_ref().map(|owners| tally(owners, 3));
    let bound = format!("{ASKS} requests without a key: every engine gets at least {LEAST}");
    Ok(Finding::of("hash, no key", setup.words(), &bound)
        .seen(ratio(&counts[0]), ratio(&counts[1]))
        .holds(counts.each_ref().map(|counts| counts.iter().all(|count| *count >= LEAST)))
        .differing(
            "HAProxy goes on around its ring; ours goes to the least loaded, one of equals by chance (`without-key`)",
        ))
}

fn by_source(key: u32) -> Ask {
    let [.., high, low] = (key + 2).to_be_bytes();
    Ask { from: Some(Ipv4Addr::new(127, 7, high, low)), ..Ask::chat() }
}

fn by_path(key: u32) -> Ask {
    Ask { target: format!("/ask/{key}?at={}", fastrand::u32(..)), ..Ask::chat() }
}

fn by_depth(key: u32) -> Ask {
    Ask { target: format!("/ask/{key}/{}", fastrand::u32(..)), ..Ask::chat() }
}

fn by_query(key: u32) -> Ask {
    Ask { target: format!("/v1/chat/completions?at={}&user=u{key}", fastrand::u32(..)), ..Ask::chat() }
}

fn by_header(key: u32) -> Ask {
    Ask::chat().header("x-user", key)
}

fn by_cookie(key: u32) -> Ask {
    Ask::chat().header("cookie", format!("theme=dark; sid=s{key}"))
}

fn by_body(key: u32) -> Ask {
    let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}],"user":"u{key}"}}"#);
    Ask { body, ..Ask::chat() }
}
