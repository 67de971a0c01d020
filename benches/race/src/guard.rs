//! Guards the hot path: instructions per request of Arriero by those of bare Pingora, against a committed baseline.
//!
//! Counted by callgrind, so the figures hardly depend on the machine or on what else it does; and because both
//! binaries come of one build, their ratio hardly depends on the compiler's mood either. Each count is the difference
//! of two runs with few and with many requests, by their number: starting and stopping cancel out. System calls count
//! only as far as they are made by the program. A ratio more than 5 % above the baseline is an error; one that much
//! below asks for a new baseline.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::contestant::{self, Contestant, Programs};
use crate::wire::Ask;
use crate::{load, origin, wire};

/// Share of the baseline that passes as noise.
const TOLERANCE: f64 = 0.05;

/// One kind of request: its name, body bytes, events of a stream (0 = none), and how many. Events go
/// in lockstep with the client, so that each one is carried alone.
struct Case {
    name: &'static str,
    size: usize,
    events: u64,
    count: usize,
}

const FEW: usize = 5;

const REPEATS: usize = 2;

const CASES: [Case; 3] = [
    Case { name: "post-2k", size: 2 << 10, events: 0, count: 600 },
    Case { name: "post-64k", size: 64 << 10, events: 0, count: 120 },
    Case { name: "stream-of-100", size: 2 << 10, events: 100, count: 20 },
];

/// Counts, compares, and says what it found; an error if the hot path became dearer.
pub async fn run(programs: &Programs, folder: &Path, baseline: &Path, update: bool) -> anyhow::Result<String> {
    let (contestants, _) = contestant::all(programs);
    let named =
        |name: &str| contestants.iter().find(|one| one.name == name).with_context(|| format!("no {name} to run"));
    let (ours, bare) = (named("arriero")?, named("bare pingora")?);
    let origin = origin::start(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let (ours, bare) = (count(ours, folder, origin).await?, count(bare, folder, origin).await?);
    let ratios: BTreeMap<&str, f64> =
        CASES.iter().zip(ours.iter().zip(&bare)).map(|(case, (ours, bare))| (case.name, ours / bare)).collect();
    if update {
        let lines: String = ratios.iter().map(|(name, ratio)| format!("{name} {ratio:.3}\n")).collect();
        fs::write(baseline, lines)?;
    }
    let known = read(&fs::read_to_string(baseline).with_context(|| baseline.display().to_string())?)?;
    let mut text = format!("{:14} {:>10} {:>10} {:>7} {:>9}\n", "instructions", "arriero", "bare", "ratio", "baseline");
    let mut dearer = false;
    for (case, (ours, bare)) in CASES.iter().zip(ours.iter().zip(&bare)) {
        let (ratio, known) = (ratios[case.name], known.get(case.name).copied().unwrap_or(f64::NAN));
        let verdict = judge(ratio, known);
        dearer |= verdict == Verdict::Dearer;
        text += &format!("{:14} {ours:>10.0} {bare:>10.0} {ratio:>7.3} {known:>9.3} {verdict:?}\n", case.name);
    }
    ensure!(!dearer, "the hot path became dearer than {} allows:\n{text}", baseline.display());
    Ok(text)
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Same,
    /// Write a new baseline, so that it stays won.
    Cheaper,
    Dearer,
}

/// No baseline counts as dearer: a new case needs one.
fn judge(ratio: f64, known: f64) -> Verdict {
    if known.is_nan() || ratio > known * (1.0 + TOLERANCE) {
        Verdict::Dearer
    } else if ratio < known * (1.0 - TOLERANCE) {
        Verdict::Cheaper
    } else {
        Verdict::Same
    }
}

fn read(text: &str) -> anyhow::Result<BTreeMap<String, f64>> {
    let parse = |line: &str| Some((line.split_once(' ')?.0.to_owned(), line.split_once(' ')?.1.trim().parse().ok()?));
    text.lines().map(|line| parse(line).with_context(|| format!("baseline: `{line}`"))).collect()
}

/// Instructions per request of each case: the least of the repeats, as nothing but disturbance makes a run longer.
async fn count(contestant: &Contestant, folder: &Path, origin: SocketAddr) -> anyhow::Result<Vec<f64>> {
    let mut least = [f64::INFINITY; CASES.len()];
    for _ in 0..REPEATS {
        let without = total(contestant, folder, origin, None).await?;
        for (case, least) in CASES.iter().zip(&mut least) {
            let with = total(contestant, folder, origin, Some(case)).await?;
            *least = least.min((with - without) / case.count as f64);
        }
    }
    Ok(least.to_vec())
}

/// Instructions of one whole run: a few requests of every case, then the many of `case`.
async fn total(contestant: &Contestant, folder: &Path, origin: SocketAddr, case: Option<&Case>) -> anyhow::Result<f64> {
    let file = folder.join(format!(
        "callgrind.{}.{}",
        contestant.name.replace(' ', "-"),
        case.map_or("few", |case| case.name)
    ));
    let prefix =
        ["valgrind", "--tool=callgrind", &format!("--callgrind-out-file={}", file.display())].map(str::to_owned);
    let running = contestant.start(folder, origin, &prefix).await?;
    for case in &CASES {
        send(case, FEW, running.address).await?;
    }
    if let Some(case) = case {
        send(case, case.count, running.address).await?;
    }
    running.end().await?;
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let totals =
        text.lines().rev().find_map(|line| line.strip_prefix("totals:")).context("callgrind wrote no totals")?;
    Ok(totals.trim().parse()?)
}

async fn send(case: &Case, count: usize, to: SocketAddr) -> anyhow::Result<()> {
    if case.events == 0 {
        return load::closed(to, Arc::new(wire::request(case.size, None)), 1, count).await;
    }
    for _ in 0..count {
        load::streams(to, Ask { events: case.events, pace_us: wire::LOCKSTEP }, 1, Duration::ZERO).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_more_than_the_tolerance_counts() {
        assert_eq!(
            [1.04, 1.06, 0.96, 0.94].map(|ratio| judge(ratio, 1.0)),
            [Verdict::Same, Verdict::Dearer, Verdict::Same, Verdict::Cheaper]
        );
        assert_eq!(judge(1.0, f64::NAN), Verdict::Dearer);
        assert_eq!(read("a 1.5\nb 2\n").expect("two lines"), BTreeMap::from([("a".into(), 1.5), ("b".into(), 2.0)]));
        assert!(read("a\n").is_err());
    }
}
