//! The soak: many random requests against the real binary, with leaving clients, engine faults and reloads; at the
//! end nothing is held, nothing was lost, and memory did not grow.
//!
//! `SOAK_REQUESTS` = how many (default 20 000; the long form is 100 000), `SOAK_SEED` = which ones (default: a new seed,
//! printed), `SOAK_REPORT` = a file for the result in Markdown.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]
#![allow(clippy::print_stdout, reason = "the seed and the result are for whoever runs it")]

mod ask;
#[path = "../common/mod.rs"]
mod common;
mod fleet;
mod judge;
mod line;
mod report;
mod reuse;
mod run;

use std::collections::BTreeMap;
use std::time::Instant;

use common::Proxy;
use fleet::Variant;
use run::{Mood, Soak};

/// The short form.
const REQUESTS: u64 = 20_000;
/// Requests after the last storm: everything must have come back.
const AFTER: u64 = 100;
/// What resident memory may grow by in the second half: 1 KiB lost with each of 50 000 requests is more.
const GROWTH_KIB: u64 = 40 * 1024;

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.replace('_', "").parse().unwrap_or_else(|_| panic!("{name} is {text}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_and_nothing_stays() {
    let requests = from_environment("SOAK_REQUESTS").unwrap_or(REQUESTS);
    let seed = from_environment("SOAK_SEED").unwrap_or_else(|| fastrand::u64(..1 << 32));
    println!("SOAK_SEED={seed} SOAK_REQUESTS={requests}");
    let members = fleet::start().await;
    let proxy = Proxy::start(&Variant::FIRST.yaml(&members)).await;
    let soak = Soak::new(proxy, members, seed);
    let before: u64 = soak.ended_by("end").await.values().sum();
    let start = Instant::now();

    let (calm, reloads, half) = (requests / 10, requests / 5, requests * 6 / 10);
    soak.phase(0..calm, Mood::Calm).await;
    for member in &soak.members {
        let (seen, cap) = (member.lab.stats().max_in_flight, member.caps[0] as usize);
        assert!(seen <= cap, "{} saw {seen} requests at once, its cap is {cap}", member.name);
    }
    soak.phase(calm..reloads, Mood::Reloads).await;
    soak.phase(reloads..half, Mood::Storm).await;
    let first = soak.resident_kib();
    soak.phase(half..requests, Mood::Storm).await;
    let resident = [first, soak.resident_kib()];
    soak.recover().await;
    soak.phase(requests..requests + AFTER, Mood::Calm).await;

    let ends = soak.ended_by("end").await;
    judge_ends(&soak, &ends, before, requests);
    let retries = soak.proxy.lines().iter().filter_map(|line| line["retries"].as_u64()).sum();
    if requests >= REQUESTS && retries == 0 {
        soak.tally.lock().wrong("nothing was ever tried again".to_owned());
    }
    let numbers = report::Numbers { requests, retries, ends, took: start.elapsed(), resident };
    let text = report::render(&soak, &numbers);
    println!("{text}");
    if let Ok(path) = std::env::var("SOAK_REPORT") {
        std::fs::write(path, &text).expect("the report's file can be written");
    }
    let stderr = soak.proxy.stderr();
    let tally = soak.tally.lock();
    assert!(tally.wrong.is_empty(), "SOAK_SEED={seed}: {} lost:\n{}", tally.lost, tally.wrong.join("\n"));
    assert!(!stderr.contains("panicked"), "SOAK_SEED={seed}: a panic:\n{stderr}");
    let grown = resident[1].saturating_sub(first);
    assert!(grown <= GROWTH_KIB, "SOAK_SEED={seed}: {grown} KiB more resident memory after the second half");
}

/// Every request has one end in the metrics, none is our own mistake, and what is to be tried was tried.
fn judge_ends(soak: &Soak, ends: &BTreeMap<String, u64>, before: u64, requests: u64) {
    let mut tally = soak.tally.lock();
    let of = |end: &str| ends.get(end).copied().unwrap_or(0);
    let (sent, ended) = (requests + AFTER, ends.values().sum::<u64>() - before);
    // A client that leaves at once may not have been heard at all.
    let left = tally.endings.get("client left").copied().unwrap_or(0);
    if ended > sent || ended + left < sent {
        tally.wrong(format!("{ended} requests ended, {sent} were sent, of which {left} clients left"));
    }
    if of("I-") > 0 {
        tally.wrong(format!("{} requests ended as our own mistake (`I-`)", of("I-")));
    }
    let tried = ["CQ", "CD", "SD", "PR", "PQ", "L-"];
    if requests >= REQUESTS && tried.iter().any(|end| of(end) == 0) {
        tally.wrong(format!("the storm was too calm, one of {tried:?} never happened: {ends:?}"));
    }
}
