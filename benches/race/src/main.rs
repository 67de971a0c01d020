//! The data-plane race: Arriero beside bare Pingora, HAProxy, nginx and LLM routers, one thread each, one command.
//!
//! `race run` starts the origin and all contestants, drives the load, prints tables and writes the results; `race
//! origin` and `race load` are its two ends alone, for profilers.
#![expect(clippy::print_stdout, reason = "tables and progress of a command-line tool")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arriero_race::contestant::Programs;
use arriero_race::race::Rules;
use arriero_race::{cells, contestant, guard, load, origin, race, report, wire};
use clap::{Args, Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(version, about = "Races Arriero's data plane against other proxies")]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Runs the race and writes its results
    Run(Run),
    /// Serves as the origin alone, until killed
    Origin {
        #[arg(long)]
        listen: SocketAddr,
    },
    /// Compares instructions per request with the committed baseline; fails when Arriero has become dearer
    Guard(Guard),
    /// Sends a fixed number of requests, each as soon as the last one is answered
    Load(Load),
}

#[derive(Args)]
struct Run {
    /// The arriero binary, built with profile race
    #[arg(long)]
    arriero: PathBuf,
    /// The bare binary; default: beside this one
    #[arg(long)]
    bare: Option<PathBuf>,
    /// Folder with the Python environments of the LLM routers
    #[arg(long, default_value = "target/race/routers")]
    routers: PathBuf,
    /// Folder for the contestants' configurations and logs
    #[arg(long, default_value = "target/race/run")]
    folder: PathBuf,
    /// Folder for race.md, race.json and race.csv; none are written without it
    #[arg(long)]
    results: Option<PathBuf>,
    /// Default: 10, with --quick 3
    #[arg(long)]
    rounds: Option<usize>,
    /// A quarter of the load, for a first look
    #[arg(long)]
    quick: bool,
    /// Only these contestants (commas between)
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only these cells (commas between): 2k, 64k, 1m, 100-streams, paced, 1-stream, 1000-streams
    #[arg(long, value_delimiter = ',')]
    cells: Vec<String>,
    /// A row is void when the rest of the machine used more than this, in processors; above 1 nothing is void
    #[arg(long, default_value_t = 0.6)]
    others_limit: f64,
}

#[derive(Args)]
struct Guard {
    /// The arriero binary
    #[arg(long)]
    arriero: PathBuf,
    /// The bare binary, of the same build
    #[arg(long)]
    bare: PathBuf,
    /// The ratios to compare with
    #[arg(long)]
    baseline: PathBuf,
    /// Folder for configurations, logs and counts
    #[arg(long)]
    folder: PathBuf,
    /// Write the baseline instead of comparing with it
    #[arg(long)]
    update: bool,
}

#[derive(Args)]
struct Load {
    #[arg(long)]
    to: SocketAddr,
    /// Bytes of each body
    #[arg(long, default_value_t = 2048)]
    size: usize,
    #[arg(long, default_value_t = 1)]
    connections: usize,
    #[arg(long)]
    requests: usize,
    /// Ask for streams of so many events instead of plain answers
    #[arg(long)]
    events: Option<u64>,
}

fn main() -> anyhow::Result<()> {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build();
    match Arguments::parse().command {
        Action::Run(arguments) => {
            let prefix = part_processors()?;
            runtime()?.block_on(run(arguments, &prefix))
        }
        Action::Guard(Guard { arriero, bare, baseline, folder, update }) => {
            let programs = Programs { arriero: absolute(arriero)?, bare: absolute(bare)?, routers: PathBuf::new() };
            let text = runtime()?.block_on(guard::run(&programs, &absolute(folder)?, &baseline, update))?;
            println!("{text}");
            Ok(())
        }
        Action::Origin { listen } => {
            println!("{}", origin::start(listen)?);
            loop {
                std::thread::park();
            }
        }
        Action::Load(Load { to, size, connections, requests, events }) => {
            let ask = events.map(|events| wire::Ask { events, pace_us: 0 });
            let request = Arc::new(wire::request(size, ask));
            runtime()?.block_on(async {
                load::until_up(to, Duration::from_secs(120)).await?;
                load::closed(to, request, connections, requests).await
            })
        }
    }
}

fn absolute(path: PathBuf) -> anyhow::Result<PathBuf> {
    Ok(std::path::absolute(path)?)
}

/// The last processor is the contestants', who are started with the prefix that is returned; this process moves to the
/// others. With one processor all share it.
fn part_processors() -> anyhow::Result<Vec<String>> {
    let processors = std::thread::available_parallelism()?.get();
    let Some(last) = processors.checked_sub(1).filter(|last| *last > 0) else { return Ok(Vec::new()) };
    let pid = std::process::id().to_string();
    let moved = Command::new("taskset").args(["-cp", &format!("0-{}", last - 1), &pid]).output().context("taskset")?;
    anyhow::ensure!(moved.status.success(), "taskset: {}", String::from_utf8_lossy(&moved.stderr));
    Ok(vec!["taskset".into(), "-c".into(), last.to_string()])
}

async fn run(arguments: Run, prefix: &[String]) -> anyhow::Result<()> {
    let bare = arguments.bare.map_or_else(|| Ok(std::env::current_exe()?.with_file_name("bare")), anyhow::Ok)?;
    let programs = Programs {
        arriero: absolute(arguments.arriero)?,
        bare: absolute(bare)?,
        routers: absolute(arguments.routers)?,
    };
    let (mut contestants, mut missing) = contestant::all(&programs);
    let wanted = |list: &[String], name: &str| list.is_empty() || list.iter().any(|one| one == name);
    contestants.retain(|one| wanted(&arguments.only, one.name));
    missing.retain(|name| wanted(&arguments.only, name));
    anyhow::ensure!(!contestants.is_empty(), "no contestant is left");
    let mut cells = cells::all(if arguments.quick { 0.25 } else { 1.0 });
    cells.retain(|cell| wanted(&arguments.cells, cell.name));
    let rounds = arguments.rounds.unwrap_or(if arguments.quick { 3 } else { 10 });
    let folder = absolute(arguments.folder)?;
    let rules = Rules { rounds, cells: &cells, others_limit: arguments.others_limit, prefix, folder: &folder };
    let origin = origin::start(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let outcome = race::run(&rules, &contestants, origin).await?;
    let report = report::Report::new(&contestants, missing, rounds, outcome);
    println!("{}", report.text());
    if let Some(results) = arguments.results {
        report.write(&results)?;
    }
    Ok(())
}
