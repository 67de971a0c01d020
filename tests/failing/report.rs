//! The result as a table, written where `FAILING_REPORT` says: one section per illness, in order.
//!
//! Latencies are of whole requests, in milliseconds. Attempts are counted by the endpoints themselves.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use parking_lot::Mutex;

use crate::sick::Illness;
use crate::stage::{Herd, Seen};

/// What came of one module.
pub struct Row {
    pub name: String,
    pub requests: usize,
    /// What clients got instead of an answer.
    pub wrong: Vec<String>,
    /// Of the sick endpoint, and of the three others.
    pub attempts: [u64; 2],
    /// Half of the requests took no longer; 99 of 100 took no longer.
    pub typical: [Duration; 2],
    pub longest: Duration,
}

impl Row {
    pub fn new(herd: &Herd, seen: Vec<Seen>) -> Row {
        let mut took: Vec<Duration> = seen.iter().map(|seen| seen.took).collect();
        took.sort();
        let at = |share: f64| took.get((took.len() as f64 * share) as usize).copied().unwrap_or_default();
        let first = seen.iter().map(|seen| seen.sent).min();
        let wrong = |seen: &Seen| {
            let when = first.map_or(Duration::ZERO, |first| seen.sent - first);
            Some(format!("{} (sent after {when:.1?})", seen.wrong.as_ref()?))
        };
        Row {
            name: herd.name.clone(),
            requests: seen.len(),
            wrong: seen.iter().filter_map(wrong).collect(),
            attempts: herd.attempts(),
            typical: [at(0.5), at(0.99)],
            longest: took.last().copied().unwrap_or_default(),
        }
    }

    /// The sick endpoint's part of all attempts.
    pub fn share(&self) -> f64 {
        let [sick, well] = self.attempts;
        sick as f64 / (sick + well).max(1) as f64
    }
}

/// What was run.
pub struct Run {
    pub illness: Illness,
    pub seconds: f64,
    pub rate: f64,
    pub seed: u64,
}

/// Sections of the runs that ended so far.
static SECTIONS: Mutex<BTreeMap<Illness, String>> = Mutex::new(BTreeMap::new());

fn table(run: &Run, rows: &[Row]) -> String {
    let mut text = format!("## One of four {}\n\nSeed {}.\n\n", run.illness.words(), run.seed);
    text += "| module | requests | errors | attempts at it | of all attempts | p50 ms | p99 ms | longest ms |\n";
    text += "|---|---|---|---|---|---|---|---|\n";
    for row in rows {
        let [p50, p99] = row.typical.map(|took| took.as_millis());
        let (errors, share, longest) = (row.wrong.len(), row.share() * 100.0, row.longest.as_millis());
        let _infallible = writeln!(
            text,
            "| {} | {} | {errors} | {} | {share:.1} % | {p50} | {p99} | {longest} |",
            row.name, row.requests, row.attempts[0],
        );
    }
    let (all, errors) = rows.iter().fold((0, 0), |(all, errors), row| (all + row.requests, errors + row.wrong.len()));
    let _infallible = writeln!(text, "\nErrors: {errors} of {all} requests.");
    text
}

/// The table of one run; the file is written anew with all that are there.
pub fn tell(run: &Run, rows: &[Row]) -> String {
    let section = table(run, rows);
    let mut sections = SECTIONS.lock();
    sections.insert(run.illness, section.clone());
    if let Ok(path) = std::env::var("FAILING_REPORT") {
        let text = head(run) + &sections.values().cloned().collect::<Vec<_>>().join("\n");
        std::fs::write(path, text).expect("the report's file can be written");
    }
    section
}

fn head(Run { seconds, rate, .. }: &Run) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
    let cpu = cpu.trim_start_matches(['\t', ' ', ':']);
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    format!(
        "# An endpoint that fails\n\n\
         Clients of a pool of four of which one is sick, under every balancing module with its default options \
         (`tests/failing`). The sick one is the first of the configuration and passes every health check. The load is open, \
         60 % of what the four could do if all were well: the three others are busy to 80 %.\n\n\
         ```\nFAILING_SECONDS={seconds} FAILING_RATE={rate} FAILING_REPORT=benches/results/failing.md \\\n    \
         cargo test --test failing -- --test-threads=1\n```\n\n\
         Machine: {cores} cores ({cpu}); proxy, clients and engines all on it; profile {profile}. Each row: {seconds} s at \
         {rate} requests a second, all rows of a table at once. `-swapping`: engines that load models (Ollama-like), else \
         OpenAI-like. `session`, `cookie`: turns, with keys kept softly; `hash-wait`: `hash` with `spill: wait`; 32 keys each, \
         all placed while the four were well.\n\n"
    )
}
