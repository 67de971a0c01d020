//! Checks the simulator against real HTTP: `agree --all --arriero target/release/arriero --results FILE`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command that prints a table and how far it is")]

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::time::Instant;

use arriero_strategies::Builtin;
use arriero_strategies::agree::cells::{ALL, Cell, Effort};
use arriero_strategies::agree::report::{self, Around, Played};
use arriero_strategies::agree::simulated::simulate;
use arriero_strategies::agree::trial::{self, Trial};
use clap::Parser;
use tokio::runtime::{Handle, Runtime};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Virtual time beside real HTTP.
#[derive(Parser)]
struct Args {
    /// Scenarios, with commas.
    #[arg(long, default_value = "S1-p1")]
    scenario: String,
    /// S1-p1, S1-p4, S2 and S3.
    #[arg(long)]
    all: bool,
    /// The program to start.
    #[arg(long, default_value = "target/release/arriero")]
    arriero: PathBuf,
    /// Strategies beside the baseline, with commas; left out: the scenario's judged one.
    #[arg(long, default_value = "")]
    strategy: String,
    /// Seeds.
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// Requests of each run.
    #[arg(long, default_value_t = 2000)]
    requests: usize,
    /// Virtual seconds per real second, at most 20.
    #[arg(long, default_value_t = 20.0)]
    scale: f64,
    /// Runs at a time; left out: as many as fit two processors.
    #[arg(long)]
    together: Option<usize>,
    /// Folder of trace files; left out: what `ARRIERO_TRACES` says, else the scenarios' generators.
    #[arg(long)]
    traces: Option<PathBuf>,
    /// Write the comparison to this file.
    #[arg(long)]
    results: Option<PathBuf>,
}

fn main() -> ExitCode {
    match compare(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(2),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(args: &Args) -> Result<bool, String> {
    let begin = Instant::now();
    let effort =
        Effort { scale: args.scale, requests: args.requests, seeds: args.seeds.max(1), together: args.together };
    let traces = args.traces.clone().or_else(|| std::env::var_os("ARRIERO_TRACES").map(PathBuf::from));
    let names: Vec<&str> =
        if args.all { ALL.iter().map(|(name, _)| *name).collect() } else { args.scenario.split(',').collect() };
    // The engines' own threads.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime: Runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
    let mut played = Vec::new();
    for name in names {
        let cell = Cell::new(name, &args.strategy, effort, traces.as_deref(), &Builtin)?;
        let trials = over_http(&cell, args, runtime.handle())?;
        let pair = |trial: Trial| simulate(&cell, trial.arm, trial.seed).map(|simulated| (trial, simulated));
        let pairs = trials.into_iter().map(pair).collect::<Result<_, _>>()?;
        played.push(Played { cell, pairs });
        println!("{}", report::tables(&played[played.len() - 1..]));
    }
    if let Some(path) = &args.results {
        let lengths = if traces.is_some() { "trace files" } else { "generators of published statistics" };
        let around = Around {
            command: command(args),
            machine: machine(),
            version: said(&args.arriero.to_string_lossy(), &["--version"]),
            lengths: lengths.to_owned(),
            minutes: begin.elapsed().as_secs_f64() / 60.0,
        };
        std::fs::write(path, report::markdown(&played, &around))
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(report::agrees(&played))
}

/// Plays the runs of a cell, some at a time.
fn over_http(cell: &Cell, args: &Args, engines: &Handle) -> Result<Vec<Trial>, String> {
    let (runs, trials) = (cell.runs(), Mutex::new(Vec::new()));
    let begin = Instant::now();
    for some in runs.chunks(cell.together) {
        std::thread::scope(|threads| {
            for &(arm, seed) in some {
                let trials = &trials;
                threads.spawn(move || {
                    let trial = trial::play(cell, arm, seed, &args.arriero, engines);
                    if let Ok(mut trials) = trials.lock() {
                        trials.push(trial);
                    }
                });
            }
        });
        let done = trials.lock().map_or(0, |trials| trials.len());
        eprintln!("{}: {done} of {} runs in {:.0} s", cell.name(), runs.len(), begin.elapsed().as_secs_f64());
    }
    let trials = trials.into_inner().map_err(|_| "a run panicked".to_owned())?;
    if trials.len() < runs.len() {
        return Err("a run panicked".to_owned());
    }
    trials.into_iter().collect()
}

/// The command without the places of this machine.
fn command(args: &Args) -> String {
    let Args { scenario, seeds, requests, scale, .. } = args;
    let which = if args.all { "--all".to_owned() } else { format!("--scenario {scenario}") };
    let strategy = if args.strategy.is_empty() { String::new() } else { format!(" --strategy '{}'", args.strategy) };
    let together = args.together.map_or_else(String::new, |count| format!(" --together {count}"));
    format!(
        "cargo run --release -p arriero-strategies --features tools --bin agree -- {which}{strategy} --seeds {seeds} --requests \
         {requests} --scale {scale}{together}"
    )
}

fn machine() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let processor = line.map_or("unknown processor", |(_, name)| name.trim());
    let count = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{processor}, {count} processors, Linux {}", said("uname", &["-r"]))
}

/// First line of what a command prints; `-` without any.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or("-").to_owned()
}
