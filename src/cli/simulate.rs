//! `arriero simulate`: strategies side by side in virtual time, before simulated engines, through the real
//! configuration, fleet, queue and modules.
//!
//! A shipped scenario is turned into Arriero's own YAML and read by the real parser; with `--config` and `--trace` an
//! operator's own configuration serves the requests of a trace, or of Arriero's own access log. Every figure that comes
//! out is simulated, and says so.

mod arms;
mod configured;
mod replay;
mod told;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use arriero_lab::sim::{self, Arm, Scenario, Stage};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use self::arms::Compiled;
use self::configured::Configured;
use super::{fail, say};
use crate::config::{self, Source};
use crate::registry::ModuleEntry;

/// Where traces are looked for, if not told.
const TRACES: &str = "ARRIERO_TRACES";

/// Strategies side by side in virtual time: simulated engines, the real configuration, queue and modules.
#[derive(Debug, Args)]
pub(super) struct SimulateArguments {
    /// A shipped scenario (`--list` names them) or a scenario's file; several with commas.
    #[arg(long, value_name = "NAME|FILE", required_unless_present_any = ["list", "trace"])]
    scenario: Option<String>,
    /// A trace to replay through --config: Azure's CSV, Mooncake's JSONL, BurstGPT's CSV, or Arriero's own access log;
    /// plain or .gz.
    #[arg(long, value_name = "FILE", requires = "config")]
    trace: Option<PathBuf>,
    /// The configuration that serves the trace.
    #[arg(short, long, value_name = "FILE", requires = "trace")]
    config: Option<PathBuf>,
    /// What to compare with least-connection (without caps, the baseline): `name`, `name{option:value}`, `late-fifo`
    /// (least-connection with caps), or a scenario's reference; several with commas. Left out: the usual ones; with
    /// --config: the routes' own.
    #[arg(long, value_name = "LIST", default_value = "")]
    strategy: String,
    /// Paired seeds: the same requests for every strategy. Left out: the scenario's, 10 as a rule.
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,
    /// The first seed.
    #[arg(long, value_name = "N", default_value_t = 0)]
    first_seed: u64,
    /// Another load than the scenario's: 1 = all that the engines can do.
    #[arg(long, value_name = "LOAD")]
    rho: Option<f64>,
    /// Another number of requests than the scenario's.
    #[arg(long, value_name = "N")]
    requests: Option<usize>,
    /// The folder of public traces. Left out: the variable ARRIERO_TRACES, else generators of their published statistics.
    #[arg(long, value_name = "FOLDER")]
    traces: Option<PathBuf>,
    /// Runs at once. Left out: one per processor.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Print JSON: ratios with intervals.
    #[arg(long)]
    json: bool,
    /// Look for the largest load at which each strategy keeps the scenario's time to the first token, too; with --json
    /// always, where the scenario has such a limit.
    #[arg(long, conflicts_with = "trace")]
    max_load: bool,
    /// Write a report with charts: one HTML file.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Print the scenario as YAML, with every parameter, and run nothing: to change it and give it back with --scenario.
    #[arg(long)]
    show: bool,
    /// Print the configuration that a scenario's strategy runs with, and run nothing.
    #[arg(long, conflicts_with = "trace")]
    show_config: bool,
    /// List the shipped scenarios.
    #[arg(long)]
    list: bool,
}

pub(super) fn simulate(arguments: &SimulateArguments, modules: &[ModuleEntry]) -> ExitCode {
    match run(arguments, &Compiled(modules)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(words) => fail(words),
    }
}

fn run(arguments: &SimulateArguments, modules: &Compiled<'_>) -> Result<(), String> {
    if arguments.list {
        for name in sim::names() {
            say(format_args!("{name:<14}{}", sim::shipped(name)?.about));
        }
        return Ok(());
    }
    if arguments.trace.is_some() {
        return replay::run(arguments, modules);
    }
    let names: Vec<&str> = arguments.scenario.iter().flat_map(|names| names.split(',')).collect();
    if names.len() > 1 && arguments.report.is_some() {
        return Err("--report takes one scenario".into());
    }
    for name in names {
        compare(arguments, scenario(arguments, name)?, modules)?;
    }
    Ok(())
}

/// A shipped scenario or a file, with what the command line changes.
fn scenario(arguments: &SimulateArguments, name: &str) -> Result<Scenario, String> {
    let is_file = name.ends_with(".yaml") || name.ends_with(".yml");
    let mut scenario = if is_file { Scenario::open(&PathBuf::from(name))? } else { sim::shipped(name)? };
    if let Some(rho) = arguments.rho {
        scenario.workload.arrivals.set_rho(rho)?;
    }
    if let Some(requests) = arguments.requests {
        let workload = &mut scenario.workload;
        workload.warm_up = workload.warm_up * requests / workload.requests.max(1);
        workload.requests = requests;
    }
    Ok(scenario)
}

fn compare(arguments: &SimulateArguments, scenario: Scenario, modules: &Compiled<'_>) -> Result<(), String> {
    if arguments.show {
        say(serde_yaml::to_string(&scenario).map_err(|error| error.to_string())?.trim_end());
        return Ok(());
    }
    let traces = arguments.traces.clone().or_else(|| std::env::var_os(TRACES).map(PathBuf::from));
    let stage = Stage::new(scenario, traces.as_deref())?;
    let arms = Arm::chosen(&arguments.strategy, &stage, modules)?;
    if arguments.show_config {
        for arm in &arms {
            say(yaml_of(&stage.scenario, arm));
        }
        return Ok(());
    }
    let set_ups = arms.iter().map(|arm| set_up(&stage.scenario, arm, modules)).collect::<Result<Vec<_>, _>>()?;
    let play = |arm: &Arm, seed: u64, requests: &Arc<[arriero_lab::workload::Request]>| {
        let place = arms.iter().position(|own| own.name == arm.name).unwrap_or(0);
        stage.drive(&set_ups[place], arm, seed, requests)
    };
    let first = arguments.first_seed;
    let seeds = first..first + arguments.seeds.unwrap_or(stage.scenario.seeds).max(1);
    let bar = Bar::new(&stage.scenario.name);
    let runs = sim::cells_by(&stage, &arms, seeds, threads(arguments), &|done, all| bar.at(done, all), &play)?;
    let loads = largest_loads(arguments, &stage, &arms, &bar)?;
    bar.done();
    told::tell(arguments, &stage, runs.into_iter().flatten().collect(), loads, traces.is_some())
}

/// The largest load of each arm that is no reference, by its name; none where the scenario has no limit to keep.
fn largest_loads(
    arguments: &SimulateArguments,
    stage: &Stage,
    arms: &[Arm],
    bar: &Bar,
) -> Result<BTreeMap<String, f64>, String> {
    let slo = stage.scenario.judged.as_ref().and_then(|judged| judged.max_load);
    let Some(slo) = slo.filter(|_| arguments.max_load || arguments.json) else { return Ok(BTreeMap::new()) };
    let own = arms.iter().filter(|arm| arm.reference.is_none());
    own.map(|arm| {
        bar.0.set_prefix(format!("{}, largest load of {}", stage.scenario.name, arm.name));
        Ok((arm.name.clone(), sim::max_load(stage, arm, &slo, threads(arguments), &|_, _| {})?))
    })
    .collect()
}

/// The configuration of a scenario's arm, as the real parser takes it.
fn yaml_of(scenario: &Scenario, arm: &Arm) -> String {
    let caps = arm.caps == sim::Caps::On;
    // nobody listens: the address is there because a configuration has one
    format!("listen: 127.0.0.1:1\n{}", sim::render(scenario, arm.made.module, &arm.made.options, caps))
}

fn set_up(scenario: &Scenario, arm: &Arm, modules: &Compiled<'_>) -> Result<Configured, String> {
    let source = Source::new(&arm.name, yaml_of(scenario, arm), PathBuf::from("."));
    config::load(&source, modules.0).map(Configured::new).map_err(|findings| config::render(&findings))
}

fn threads(arguments: &SimulateArguments) -> usize {
    arguments.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// Progress on standard error, where that is a terminal.
struct Bar(ProgressBar);

impl Bar {
    fn new(name: &str) -> Bar {
        let bar = ProgressBar::new(0);
        let style = ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len} runs, {eta} left");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(name.to_owned());
        Bar(bar)
    }

    fn at(&self, done: usize, all: usize) {
        self.0.set_length(all as u64);
        self.0.set_position(done as u64);
    }

    fn done(&self) {
        self.0.finish_and_clear();
    }
}
