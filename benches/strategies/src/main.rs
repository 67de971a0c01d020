//! Runs shipped scenarios in virtual time: `--scenario S1-p1 --strategy queue-aware,late-fifo --seeds 3`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command that prints a table")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use arriero_lab::sim::{self, Arm, Stage};
use arriero_strategies::Builtin;
use arriero_strategies::table;
use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Strategies in virtual time.
#[derive(Parser)]
struct Args {
    /// A shipped scenario, or a scenario's file (`*.yaml`); several with commas.
    #[arg(long)]
    scenario: String,
    /// What to compare: `name` or `name{option:value}`, several with commas. Left out: the usual ones and the judged one.
    #[arg(long, default_value = "")]
    strategy: String,
    /// Paired seeds; left out: the scenario's.
    #[arg(long)]
    seeds: Option<u64>,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first_seed: u64,
    /// Another load than the scenario's.
    #[arg(long)]
    rho: Option<f64>,
    /// Requests, if others than the scenario's; the warm-up is scaled along.
    #[arg(long)]
    requests: Option<usize>,
    /// Folder of trace files; left out: what `ARRIERO_TRACES` says, else the scenario's generator.
    #[arg(long)]
    traces: Option<PathBuf>,
    /// Also seek the largest load that each arm bears, where the scenario asks for one (minutes).
    #[arg(long)]
    max_load: bool,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

fn main() -> ExitCode {
    let args = Args::parse();
    for name in args.scenario.split(',') {
        if let Err(error) = compare(&args, name) {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn compare(args: &Args, name: &str) -> Result<(), String> {
    let mut scenario =
        if name.ends_with(".yaml") { sim::Scenario::open(&PathBuf::from(name))? } else { sim::shipped(name)? };
    if let Some(rho) = args.rho {
        scenario.workload.arrivals.set_rho(rho)?;
    }
    if let Some(requests) = args.requests {
        let workload = &mut scenario.workload;
        workload.warm_up = workload.warm_up * requests / workload.requests;
        workload.requests = requests;
    }
    let first = args.first_seed;
    let seeds = first..first + args.seeds.unwrap_or(scenario.seeds).max(1);
    let traces = args.traces.clone().or_else(|| std::env::var_os("ARRIERO_TRACES").map(PathBuf::from));
    let stage = Stage::new(scenario, traces.as_deref())?;
    let arms = Arm::chosen(&args.strategy, &stage, &Builtin)?;
    let started = Instant::now();
    let runs = sim::cells(&stage, &arms, seeds.clone(), args.threads, &|done, all| {
        if done % 4 == 0 || done == all {
            eprint!("\r{name}: {done}/{all} ");
        }
    })?;
    eprintln!("in {:.1} s", started.elapsed().as_secs_f64());
    println!("{} ({}), {} seeds", stage.scenario.name, stage.scenario.about, seeds.end - seeds.start);
    println!("{}", table::text(&arms, &runs));
    let slo = stage.scenario.judged.as_ref().and_then(|judged| judged.max_load);
    if let Some(slo) = slo.filter(|_| args.max_load) {
        for arm in &arms {
            let most = sim::max_load(&stage, arm, &slo, args.threads, &|_, _| {})?;
            println!("{:<28} bears a load of {most:.3} at TTFT P95 <= {} s", arm.name, slo.ttft_p95_s);
        }
    }
    Ok(())
}
