//! The race's tables, bars and files: `race.md` to read, `race.csv` with every figure of every round, `race.json` with
//! both.
//!
//! A ratio is Arriero's figure by the other's in the same round; shown are the median over rounds and its interval
//! (`stats`). A bar is met when the interval's upper end is at most the bar. A figure that is not there shows as `-`.

use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::contestant::Contestant;
use crate::machine::{first_line, processor};
use crate::race::{DIRECT, MEMORY, Outcome};
use crate::stats::{Estimate, added, estimate, paired};

const OURS: &str = "arriero";

/// The cells whose figure is processor time, with the head of their column.
const CPU: [(&str, &str); 4] =
    [("2k", "POST 2 KiB"), ("64k", "POST 64 KiB"), ("1m", "POST 1 MiB"), ("100-streams", "streamed chunk")];

/// Latencies: cell, metric, head of the column.
const LATENCY: [(&str, &str, &str); 11] = [
    ("paced", "p50_us", "POST 2 KiB p50"),
    ("paced", "p99_us", "p99"),
    ("1-stream", "first_p50_us", "1 stream: TTFT p50"),
    ("1-stream", "gap_p99_us", "gap p99"),
    ("100-streams", "first_p50_us", "100: TTFT p50"),
    ("100-streams", "delay_p50_us", "chunk p50"),
    ("100-streams", "delay_p99_us", "chunk p99"),
    ("1000-streams", "first_p50_us", "1 000: TTFT p50"),
    ("1000-streams", "first_p99_us", "TTFT p99"),
    ("1000-streams", "delay_p50_us", "chunk p50"),
    ("1000-streams", "delay_p99_us", "chunk p99"),
];

/// The bars of the race: what, cell, against whom, at most, hoped for.
const BARS: [(&str, &str, &str, f64, f64); 6] = [
    ("CPU, POST 2 KiB", "2k", "bare pingora", 1.10, 1.10),
    ("CPU, POST 2 KiB", "2k", "haproxy httplog", 1.8, 1.4),
    ("CPU, POST 1 MiB", "1m", "haproxy httplog", 1.3, 1.0),
    ("CPU, streamed chunk", "100-streams", "haproxy httplog", 1.9, 1.5),
    ("CPU, POST 2 KiB", "2k", ROUTERS, 0.6, 0.6),
    ("RSS per stream at 1 000, KiB", MEMORY, "", 64.0, 64.0),
];

const ROUTERS: &str = "best LLM router";

const CPU_WORDS: &str = "## Processor time

Microseconds of the contestant, kernel included, for each request or chunk: median; then Arriero's by this one's,
round by round: median and interval.

";

const BUSY_WORDS: &str = "
Share of its processor that each had in the closed loops (below 1 the client or the origin was the bottleneck, and
the contestant could batch less):

";

const LATENCY_WORDS: &str = "## Added latency

Microseconds; `direct` is client to origin without a proxy, the others what comes on top of it in the same round
(median). `chunk` is from the origin's sending to the client's reading; `gap` by how much a gap between two chunks was
stretched.

";

const MEMORY_WORDS: &str = "## Memory

KiB of resident memory for each of 1 000 active streams (HTTP/1.1, no TLS, 2 KiB bodies) above the idle process.

";

/// Everything that is told of a race.
#[derive(Serialize)]
pub struct Report {
    commit: String,
    kernel: String,
    processor: String,
    rounds: usize,
    versions: Vec<(&'static str, &'static str, String)>,
    missing: Vec<&'static str>,
    outcome: Outcome,
    #[serde(skip)]
    routers: Vec<&'static str>,
}

impl Report {
    /// Gathers what the tables need beside the figures.
    pub fn new(contestants: &[Contestant], missing: Vec<&'static str>, rounds: usize, outcome: Outcome) -> Report {
        Report {
            commit: first_line("git", &["describe", "--always", "--dirty", "--abbrev=12"]),
            kernel: first_line("uname", &["-sr"]),
            processor: processor(),
            rounds,
            versions: contestants.iter().map(|one| (one.name, one.does, one.version())).collect(),
            missing,
            outcome,
            routers: contestants.iter().filter(|one| one.is_router).map(|one| one.name).collect(),
        }
    }

    fn values(&self, who: &str, cell: &str, metric: &str) -> Vec<f64> {
        let mine = self.outcome.figures.iter().filter(|f| f.contestant == who && f.cell == cell && f.metric == metric);
        mine.map(|figure| figure.value).collect()
    }

    /// Everything as Markdown.
    pub fn text(&self) -> String {
        [self.preface(), self.cpu(), self.latency(), self.memory(), self.bars()].join("\n")
    }

    fn preface(&self) -> String {
        let mut text = format!(
            "# Data-plane race\n\nOne command: `benches/race/run.sh`. Commit {}, {}, {} processors ({}), profile race,\n\
             {} rounds in turn. One processor for the contestant, the rest for client and origin; each contestant has\n\
             one thread and kept connections to the origin. {} rows were void and run again.\n\n\
             | contestant | does | version |\n|---|---|---|\n",
            self.commit,
            self.kernel,
            fs::read_to_string("/proc/cpuinfo").unwrap_or_default().matches("processor\t").count(),
            self.processor,
            self.rounds,
            self.outcome.void_rows,
        );
        for (name, does, version) in &self.versions {
            text += &format!("| {name} | {does} | {version} |\n");
        }
        for name in &self.missing {
            text += &format!("\nNot installed, left out: {name}.\n");
        }
        for (name, why) in &self.outcome.dropped {
            text += &format!("\nOut of the race: {name}: {why}.\n");
        }
        text
    }

    fn cpu(&self) -> String {
        let mut text = CPU_WORDS.to_owned();
        text += &row("contestant", CPU.iter().map(|(_, head)| (*head).to_owned()));
        text += &rule(CPU.len());
        for (name, ..) in &self.versions {
            text += &row(
                name,
                CPU.iter().map(|(cell, _)| {
                    let theirs = self.values(name, cell, "cpu_us");
                    let ratio = paired(&self.values(OURS, cell, "cpu_us"), &theirs);
                    let us = number(estimate(&theirs).median);
                    if *name == OURS { us } else { format!("{us}; {}", interval(ratio)) }
                }),
            );
        }
        text + BUSY_WORDS
            + &row("contestant", CPU.iter().take(3).map(|(_, head)| (*head).to_owned()))
            + &rule(3)
            + &self
                .versions
                .iter()
                .map(|(name, ..)| {
                    row(
                        name,
                        CPU.iter().take(3).map(|(cell, _)| number(estimate(&self.values(name, cell, "busy")).median)),
                    )
                })
                .collect::<String>()
    }

    fn latency(&self) -> String {
        let mut text = LATENCY_WORDS.to_owned();
        text += &row("contestant", LATENCY.iter().map(|(.., head)| (*head).to_owned()));
        text += &rule(LATENCY.len());
        let names = std::iter::once(DIRECT).chain(self.versions.iter().map(|(name, ..)| *name));
        for name in names {
            text += &row(
                name,
                LATENCY.iter().map(|(cell, metric, _)| {
                    let (mine, direct) = (self.values(name, cell, metric), self.values(DIRECT, cell, metric));
                    if name == DIRECT { number(estimate(&mine).median) } else { number(added(&mine, &direct).median) }
                }),
            );
        }
        text
    }

    fn memory(&self) -> String {
        let mut text = MEMORY_WORDS.to_owned();
        text += &row("contestant", ["RSS per stream".to_owned()].into_iter());
        text += &rule(1);
        for (name, ..) in &self.versions {
            text += &row(name, [number(estimate(&self.values(name, MEMORY, "rss_kib_per_stream")).median)].into_iter());
        }
        text
    }

    fn bars(&self) -> String {
        let mut text = String::from("## Bars\n\n");
        text += &row("what", ["against", "bar", "hoped for", "Arriero", "met"].map(str::to_owned).into_iter());
        text += &rule(5);
        for (what, cell, against, bar, hope) in BARS {
            let met = if cell == MEMORY {
                estimate(&self.values(OURS, MEMORY, "rss_kib_per_stream"))
            } else {
                let against = if against == ROUTERS { self.best_router(cell) } else { Some(against) };
                let theirs = against.map(|name| self.values(name, cell, "cpu_us")).unwrap_or_default();
                paired(&self.values(OURS, cell, "cpu_us"), &theirs)
            };
            let verdict = if met.high.is_nan() {
                "-"
            } else if met.high <= bar {
                "yes"
            } else {
                "no"
            };
            let cells = [against.to_owned(), bar.to_string(), hope.to_string(), interval(met), verdict.to_owned()];
            text += &row(what, cells.into_iter());
        }
        text
    }

    fn best_router(&self, cell: &str) -> Option<&'static str> {
        let cost = |name: &&'static str| estimate(&self.values(name, cell, "cpu_us")).median;
        let ran = self.routers.iter().copied().filter(|name| !cost(name).is_nan());
        ran.min_by(|one, other| cost(one).total_cmp(&cost(other)))
    }

    /// Writes the three files.
    pub fn write(&self, folder: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("race.md"), self.text())?;
        fs::write(folder.join("race.json"), serde_json::to_string_pretty(self)? + "\n")?;
        let mut csv = String::from("round,cell,contestant,metric,value\n");
        for f in &self.outcome.figures {
            csv += &format!("{},{},{},{},{:.3}\n", f.round, f.cell, f.contestant, f.metric, f.value);
        }
        Ok(fs::write(folder.join("race.csv"), csv)?)
    }
}

fn row(name: &str, cells: impl Iterator<Item = String>) -> String {
    format!("| {name} | {} |\n", cells.collect::<Vec<_>>().join(" | "))
}

fn rule(columns: usize) -> String {
    format!("|---{}|\n", "|---".repeat(columns))
}

fn interval(ratio: Estimate) -> String {
    if ratio.median.is_nan() {
        "-".into()
    } else {
        format!("{:.2} [{:.2}, {:.2}]", ratio.median, ratio.low, ratio.high)
    }
}

/// Three digits that matter.
fn number(value: f64) -> String {
    match value.abs() {
        _ if value.is_nan() => "-".into(),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
