//! The soak: random requests against the real binary for minutes, with leaving clients, engine faults, kills, reloads and
//! everything that an operator may do; at the end nothing is held, nothing was lost, no cap was passed, and memory did
//! not grow.
//!
//! `SOAK_MINUTES` = how long (default 1; the long form is 30), `SOAK_SEED` = which requests and changes (default: a new
//! seed, printed), `SOAK_REPORT` = a file for the result in Markdown, with a plot beside it. What the binary cannot do is
//! left out, and said.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]
#![allow(clippy::print_stdout, reason = "the seed and the result are for whoever runs it")]

mod accounts;
mod ask;
mod book;
#[path = "../common/mod.rs"]
mod common;
mod fleet;
mod framing;
mod front;
mod hand;
mod judge;
mod line;
mod plot;
mod proof;
mod report;
mod reuse;
mod run;
mod traits;
mod watch;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::{Proxy, eventually, reqwest_client};
use fleet::Variant;
use run::{Mood, Sample, Soak};
use serde_json::Value;
use traits::Traits;

/// Minutes of the short form.
const MINUTES: f64 = 1.0;
/// From here on a run is long enough for everything to have happened.
const LONG_ENOUGH: f64 = 1.0;
/// What resident memory may grow by from the second fifth of the storm to its last fifth: in runs of [`LONG`] minutes, where
/// it has settled by then, and in shorter ones.
const GROWTH_KIB: [u64; 2] = [8 * 1024, 24 * 1024];
const LONG: f64 = 30.0;

fn from_environment(name: &str, otherwise: f64) -> f64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} is {text}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_and_nothing_stays() {
    let minutes = from_environment("SOAK_MINUTES", MINUTES);
    let seed = from_environment("SOAK_SEED", f64::from(fastrand::u32(..))) as u64;
    println!("SOAK_SEED={seed} SOAK_MINUTES={minutes}");
    let traits = Traits::of_schema();
    let members = fleet::start().await;
    let proxy = Proxy::start(&Variant::FIRST.yaml(&members, traits)).await;
    let traits = traits.ask(&proxy).await;
    let soak = Soak::new(proxy, members, traits, seed);
    let before: u64 = soak.ended_by("end").await.values().sum();
    let start = Instant::now();

    let part = |share: f64| Duration::from_secs_f64(minutes * 60.0 * share);
    soak.phase(Mood::Calm, part(0.08).min(Duration::from_secs(60))).await;
    for member in &soak.members {
        let (most, cap) = (member.book.counts().most, member.caps[0] as usize);
        assert!(most <= cap, "{} saw {most} requests at once, its cap is {cap}", member.name);
    }
    soak.phase(Mood::Reloads, part(0.08).min(Duration::from_secs(60))).await;
    let storm = soak.tally.lock().samples.len();
    soak.phase(Mood::Storm, part(1.0).saturating_sub(start.elapsed() + part(0.04))).await;
    let samples = soak.tally.lock().samples[storm..].to_vec();
    soak.recover().await;
    soak.phase(Mood::Calm, part(0.02).min(Duration::from_secs(10))).await;

    let unheard = close_accounts(&soak).await;
    let ends = soak.ended_by("end").await;
    judge_ends(&soak, &ends, before, unheard, minutes);
    if minutes >= LONG_ENOUGH {
        everything_was_done(&soak);
    }
    bounded_affinity(&soak).await;
    let resident = [middle(&samples, 1), middle(&samples, 4)];
    let numbers = report::Numbers { minutes, ends, unheard, took: start.elapsed(), resident };
    let text = report::render(&soak, &numbers);
    println!("{text}");
    if let Ok(path) = std::env::var("SOAK_REPORT") {
        std::fs::write(&path, &text).expect("the report's file can be written");
        let plot = plot::draw(&soak.tally.lock().samples);
        std::fs::write(std::path::Path::new(&path).with_extension("svg"), plot).expect("the plot can be written");
    }
    let stderr = soak.proxy.stderr();
    let tally = soak.tally.lock();
    let (lost, mistakes) = (tally.lost, tally.mistakes);
    assert!(mistakes == 0, "SOAK_SEED={seed}: {lost} lost, {mistakes} complaints:\n{}", tally.wrong.join("\n"));
    assert!(!stderr.contains("panicked"), "SOAK_SEED={seed}: a panic:\n{stderr}");
    let grown = resident[1].saturating_sub(resident[0]);
    assert!(grown <= GROWTH_KIB[usize::from(minutes < LONG)], "SOAK_SEED={seed}: resident memory grew by {grown} KiB");
}

/// The median of resident memory in one fifth of the samples, KiB.
fn middle(samples: &[Sample], fifth: usize) -> u64 {
    let part = samples.len() / 5;
    let mut resident: Vec<u64> =
        samples[part * fifth..part * (fifth + 1)].iter().map(|sample| sample.resident_kib).collect();
    resident.sort_unstable();
    resident.get(resident.len() / 2).copied().unwrap_or(0)
}

/// Waits for the last lines of the access log. How many clients left before they were heard.
async fn close_accounts(soak: &Soak) -> u64 {
    eventually(|| async {
        soak.settle_once();
        soak.accounts.lock().complete()
    })
    .await;
    // The last lines of those that left are written within the log's 20 ms.
    let before = soak.accounts.lock().seen;
    eventually(|| async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        soak.settle_once();
        soak.accounts.lock().seen >= before
    })
    .await;
    let (wrong, unheard) = soak.accounts.lock().close();
    let mut tally = soak.tally.lock();
    wrong.into_iter().for_each(|words| tally.lose(words));
    unheard
}

/// Requests in the metrics, lines in the log and requests of the clients are the same ones; none ended by our own
/// mistake; what is to be tried was tried.
fn judge_ends(soak: &Soak, ends: &BTreeMap<String, u64>, before: u64, unheard: u64, minutes: f64) {
    let (lines, retries) = {
        let accounts = soak.accounts.lock();
        (accounts.seen, accounts.retries)
    };
    let mut tally = soak.tally.lock();
    let of = |end: &str| ends.get(end).copied().unwrap_or(0);
    let (sent, ended) = (tally.endings.values().sum::<u64>(), ends.values().sum::<u64>() - before);
    if ended != lines || lines + unheard != sent {
        tally.wrong(format!(
            "{sent} requests were sent, {unheard} of them left unheard, {ended} are in the metrics, {lines} in the access log"
        ));
    }
    if of("I-") > 0 {
        tally.wrong(format!("{} requests ended as our own mistake (`I-`)", of("I-")));
    }
    let tried = ["CQ", "CD", "SD", "PR", "PQ", "L-"];
    if minutes >= LONG_ENOUGH && (retries == 0 || tried.iter().any(|end| of(end) == 0)) {
        tally.wrong(format!("the storm was too calm: {retries} retries, not all of {tried:?} in {ends:?}"));
    }
}

/// Each kind of operation and of fault at least once, as far as the binary has it.
fn everything_was_done(soak: &Soak) {
    let mut tally = soak.tally.lock();
    let operations = hand::DUE.iter().filter(|what| soak.traits.api || **what == "kill");
    let mut missing: Vec<&str> = operations.copied().filter(|what| !tally.operations.contains_key(what)).collect();
    missing.extend(fleet::FAULTS.iter().map(|(kind, _)| *kind).filter(|kind| !tally.faults.contains_key(*kind)));
    let (applied, refused) = tally.reloads;
    if !missing.is_empty() || applied == 0 || refused == 0 {
        let reloads = format!("{applied} reloads applied, {refused} refused");
        tally.wrong(format!("not everything was done: no {}; {reloads}", missing.join(", ")));
    }
}

/// More names of sessions were used than the table may hold.
async fn bounded_affinity(soak: &Soak) {
    if !soak.traits.api || !soak.traits.affinity {
        return;
    }
    let answer = reqwest_client().get(soak.proxy.admin("api/affinity?pool=herd")).send().await.expect("an answer");
    let table: Value = answer.json().await.expect("JSON");
    let rows = table["rows"].as_array().map_or(0, Vec::len) as u64;
    if rows == 0 || rows > fleet::ENTRIES {
        soak.tally
            .lock()
            .wrong(format!("{rows} affinity entries, at least 1 and at most {} should be", fleet::ENTRIES));
    }
}
