//! The same requests through HAProxy and Arriero: who got which, what waited, what failed, and where the two differ.
//!
//! Each case starts both proxies in front of counting engines, drives them with one script, and compares within a bound.
//! Exit code 1 if a bound does not hold, or if this Arriero lacks what a case needs and `--allow-pending` is not given.
#![expect(clippy::print_stdout, reason = "the table of a command-line tool")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use arriero_side_by_side::proxy::Programs;
use arriero_side_by_side::report::{self, Finding};
use arriero_side_by_side::world::World;
use arriero_side_by_side::{cases, proxy};
use clap::Parser;
use futures::StreamExt;

/// Cases that run at the same time.
const AT_ONCE: usize = 3;

#[derive(Parser)]
#[command(version, about = "Compares how HAProxy and Arriero place the same requests")]
struct Arguments {
    /// The arriero binary
    #[arg(long)]
    arriero: PathBuf,
    /// The haproxy program; default: where Debian puts it
    #[arg(long)]
    haproxy: Option<PathBuf>,
    /// The file to write; none is written without it
    #[arg(long)]
    results: Option<PathBuf>,
    /// Only cases whose name holds one of these (commas between)
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Fewer keys: for CI
    #[arg(long)]
    short: bool,
    /// What this Arriero does not have yet is no failure
    #[arg(long)]
    allow_pending: bool,
    /// Everything random is drawn from it; with another one the shares of keys are within their bound by chance only
    #[arg(long, default_value_t = 20261122)]
    seed: u64,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let haproxy = arguments.haproxy.clone().or_else(|| proxy::found("haproxy")).context("no haproxy; see run.sh")?;
    let programs = Programs { haproxy, arriero: std::path::absolute(&arguments.arriero)? };
    let versions = [("-v", &programs.haproxy), ("--version", &programs.arriero)];
    let versions = versions.map(|(argument, program)| proxy::first_line(program, argument));
    let world = World { programs, seed: arguments.seed, short: arguments.short };
    println!("{}\n{}\nseed {}", versions[0], versions[1], arguments.seed);
    let begin = Instant::now();
    let findings = tokio::runtime::Runtime::new()?.block_on(run(&world, &arguments.only));
    let broken = findings.iter().filter(|finding| finding.word() == "BROKEN").count();
    let pending = findings.iter().filter(|finding| finding.word() == "pending").count();
    println!("{} compared, {broken} broken, {pending} pending, {:.0} s", findings.len(), begin.elapsed().as_secs_f64());
    if let Some(path) = &arguments.results {
        let short = |version: &str| version.split(" - ").next().unwrap_or_default().to_owned();
        let text = report::markdown(&findings, [&short(&versions[0]), &versions[1]], arguments.seed);
        std::fs::write(path, text).with_context(|| path.display().to_string())?;
    }
    let good = broken == 0 && !findings.is_empty() && (pending == 0 || arguments.allow_pending);
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// All cases, some at a time; the findings in the order of the cases.
async fn run(world: &World, only: &[String]) -> Vec<Finding> {
    let wanted = |name: &str| only.is_empty() || only.iter().any(|part| name.contains(part.as_str()));
    let cases = cases::all().into_iter().filter(|case| wanted(case.name));
    let running = cases.map(async |case| {
        let begin = Instant::now();
        let found = (case.run)(world).await;
        let findings = found.unwrap_or_else(|error| vec![Finding::failed(case.name, &error)]);
        findings.iter().for_each(|finding| println!("{}", report::line(finding)));
        println!("         {}: {:.1} s", case.name, begin.elapsed().as_secs_f64());
        findings
    });
    let all: Vec<Vec<Finding>> = futures::stream::iter(running).buffered(AT_ONCE).collect().await;
    all.into_iter().flatten().collect()
}
