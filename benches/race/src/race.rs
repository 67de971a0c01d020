//! The race itself: everybody is started once, then each round runs each cell over all contestants, one after another.
//!
//! The order turns by one with each round. While a cell is run over all, the rest of the machine is watched: if it
//! used more than the limit (a share of one processor), or the client was late, that row is void and run again, ten
//! times at most. Memory per stream is measured afterwards on fresh processes: resident memory in the middle of 1 000
//! streams less that of the idle process, by 1 000.
#![expect(clippy::print_stderr, reason = "progress of a command-line tool")]

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::cells::{Cell, LAG};
use crate::contestant::{Contestant, Running};
use crate::load;
use crate::machine::{Account, rss_kib};
use crate::wire::Ask;

/// What the origin without a proxy is called.
pub const DIRECT: &str = "direct";

/// The name of the memory cell.
pub const MEMORY: &str = "memory";

const TRIES: usize = 10;

/// Before a void row is tried again.
const PAUSE: Duration = Duration::from_secs(10);

/// The client's lag in an open loop, p99 in microseconds, above which a row is void.
const LAG_LIMIT: f64 = 5_000.0;

const MEMORY_STREAMS: usize = 1000;
const MEMORY_REPEATS: usize = 3;

/// One figure of one contestant in one round.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// From 0.
    pub round: usize,
    /// The cell.
    pub cell: &'static str,
    /// Who.
    pub contestant: &'static str,
    /// What, with its unit.
    pub metric: &'static str,
    /// How much.
    pub value: f64,
}

/// How the race is run.
pub struct Rules<'a> {
    /// Rounds that count.
    pub rounds: usize,
    /// What is run in each.
    pub cells: &'a [Cell],
    /// Most that others may use meanwhile, in processors; above 1 nothing is void, for a look on a busy machine.
    pub others_limit: f64,
    /// What starts contestants, if they are not started directly.
    pub prefix: &'a [String],
    /// Files of this run.
    pub folder: &'a Path,
}

/// What came of it.
#[derive(Default, Serialize)]
pub struct Outcome {
    /// All figures.
    pub figures: Vec<Figure>,
    /// Rows that were run again.
    pub void_rows: usize,
    /// Contestants that dropped out, and why.
    pub dropped: Vec<(&'static str, String)>,
}

struct Runner {
    name: &'static str,
    running: Option<Running>,
    address: SocketAddr,
}

impl Runner {
    fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(Running::pid)
    }
}

/// Runs all rounds.
pub async fn run(rules: &Rules<'_>, contestants: &[Contestant], origin: SocketAddr) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut runners = vec![Runner { name: DIRECT, running: None, address: origin }];
    for contestant in contestants {
        match contestant.start(rules.folder, origin, rules.prefix).await {
            Ok(running) => {
                runners.push(Runner { name: contestant.name, address: running.address, running: Some(running) });
            }
            Err(error) => outcome.drop_out(contestant.name, &error),
        }
    }
    for round in 0..rules.rounds {
        for cell in rules.cells {
            rounds_row(rules, &mut runners, round, cell, &mut outcome).await?;
        }
        eprintln!("round {} of {} done", round + 1, rules.rounds);
    }
    drop(runners);
    for contestant in contestants.iter().filter(|one| outcome.dropped.iter().all(|(name, _)| *name != one.name)) {
        for round in 0..MEMORY_REPEATS.min(rules.rounds) {
            let value = memory(rules, contestant, origin).await.with_context(|| contestant.name)?;
            let metric = "rss_kib_per_stream";
            outcome.figures.push(Figure { round, cell: MEMORY, contestant: contestant.name, metric, value });
        }
    }
    Ok(outcome)
}

impl Outcome {
    fn drop_out(&mut self, name: &'static str, error: &anyhow::Error) {
        eprintln!("{name} is out: {error:#}");
        self.dropped.push((name, format!("{error:#}")));
        self.figures.retain(|figure| figure.contestant != name);
    }
}

/// One cell over all contestants, again while others disturb it. Who fails in it is out of the race.
async fn rounds_row(
    rules: &Rules<'_>,
    runners: &mut Vec<Runner>,
    round: usize,
    cell: &Cell,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    for _ in 0..TRIES {
        let (before, begin) = (Account::take()?, Instant::now());
        let mut row = Vec::new();
        let mut failed = Vec::new();
        for turn in 0..runners.len() {
            let runner = &runners[(turn + round) % runners.len()];
            if runner.running.is_none() && cell.is_closed() {
                continue;
            }
            match cell.run(runner.address, runner.pid()).await {
                Ok(metrics) => row.extend(metrics.into_iter().map(|(metric, value)| Figure {
                    round,
                    cell: cell.name,
                    contestant: runner.name,
                    metric,
                    value,
                })),
                Err(error) => failed.push((runner.name, error.context(cell.name))),
            }
        }
        let others = Account::take()?.others_since(&before, begin.elapsed().as_nanos() as f64);
        let lag = row.iter().filter(|figure| figure.metric == LAG).map(|figure| figure.value).fold(0.0, f64::max);
        let disturbed = others > rules.others_limit || (lag > LAG_LIMIT && rules.others_limit <= 1.0);
        if !disturbed {
            for (name, error) in failed {
                ensure!(name != DIRECT, "straight at the origin: {error:#}");
                outcome.drop_out(name, &error);
                row.retain(|figure| figure.contestant != name);
                runners.retain(|runner| runner.name != name);
            }
            outcome.figures.extend(row);
            return Ok(());
        }
        outcome.void_rows += 1;
        eprintln!(
            "round {}, {}: void: others used {others:.2} of a processor, client late by {lag:.0} us",
            round + 1,
            cell.name
        );
        sleep(PAUSE).await;
    }
    anyhow::bail!("{} was void {TRIES} times: the machine is not quiet enough (--others-limit)", cell.name)
}

/// KiB of resident memory that one more active stream costs, on a fresh process.
async fn memory(rules: &Rules<'_>, contestant: &Contestant, origin: SocketAddr) -> anyhow::Result<f64> {
    let running = contestant.start(rules.folder, origin, rules.prefix).await?;
    let warm = Ask { events: 5, pace_us: 1_000 };
    load::streams(running.address, warm, 4, Duration::ZERO).await?;
    sleep(Duration::from_millis(300)).await;
    let idle = rss_kib(running.pid())?;
    let ask = Ask { events: 30, pace_us: 100_000 };
    let spread = Duration::from_secs(1);
    let streams = tokio::spawn(load::streams(running.address, ask, MEMORY_STREAMS, spread));
    sleep(spread + Duration::from_millis(1_000)).await;
    let active = rss_kib(running.pid())?;
    streams.await.context("the load panicked")??;
    Ok(active.saturating_sub(idle) as f64 / MEMORY_STREAMS as f64)
}
