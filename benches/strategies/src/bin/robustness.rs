//! Writes the robustness table: `robustness.md`, the raw figures beside it as `robustness.json`, and a page.
#![expect(clippy::print_stderr, reason = "a command that tells how far it is")]

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use arriero_lab::report::{Header, robustness as report};
use arriero_strategies::robustness::{self, Effort};
use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What disturbances cost, simulated.
#[derive(Parser)]
struct Args {
    /// Paired seeds.
    #[arg(long, default_value_t = 5)]
    seeds: u64,
    /// Part of each scenario's requests.
    #[arg(long, default_value_t = 0.5)]
    part: f64,
    /// Only questions whose words or scenario contain this.
    #[arg(long, default_value = "")]
    only: String,
    /// No questions of scenarios whose names begin with one of these, with commas.
    #[arg(long, value_delimiter = ',')]
    without: Vec<String>,
    /// Folder of trace files; left out: what `ARRIERO_TRACES` says, else the scenarios' generators.
    #[arg(long)]
    traces: Option<PathBuf>,
    /// Where the files go.
    #[arg(long, default_value = "benches/results")]
    out: PathBuf,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

fn main() -> ExitCode {
    match write(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn command(args: &Args) -> String {
    let Args { seeds, part, only, without, .. } = args;
    let only = if only.is_empty() { String::new() } else { format!(" --only '{only}'") };
    let without = if without.is_empty() { String::new() } else { format!(" --without {}", without.join(",")) };
    format!(
        "cargo run --release -p arriero-strategies --features tools --bin robustness -- \
         --seeds {seeds} --part {part}{only}{without}"
    )
}

fn write(args: &Args) -> Result<(), String> {
    let effort = Effort { seeds: 0..args.seeds.max(1), part: args.part.clamp(0.01, 1.0), threads: args.threads };
    let traces = args.traces.clone().or_else(|| std::env::var_os("ARRIERO_TRACES").map(PathBuf::from));
    let (mut trials, mut skipped) = (Vec::new(), Vec::new());
    for question in robustness::questions() {
        let label = format!("{} ({})", question.words, question.scenario);
        if !label.contains(&args.only) {
            continue;
        }
        if args.without.iter().any(|name| question.scenario.starts_with(&**name)) {
            skipped.push(format!("left out: {label}: not asked"));
            continue;
        }
        let told = |done, all| eprint!("\r{label}: {done}/{all} ");
        match robustness::ask(&question, traces.as_deref(), &effort, &told) {
            Ok(more) => trials.extend(more),
            Err(error) => skipped.push(format!("left out: {label}: {error}")),
        }
        eprintln!();
    }
    let lengths = if traces.is_some() { "trace files" } else { "generators of published statistics" };
    let header = Header {
        summary:
            "What old samples, wrong speeds, several proxies, comings and goings and unequal GPUs cost each module. \
                  Ratios are means over paired seeds with the reach of their 95 % t interval; below 1 is better."
                .to_owned(),
        facts: vec![
            ("seeds".to_owned(), args.seeds.to_string()),
            ("requests".to_owned(), format!("{} of each scenario's", args.part)),
            ("lengths and arrivals".to_owned(), lengths.to_owned()),
        ],
        command: command(args),
        notes: skipped,
    };
    let files = [
        ("robustness.md", report::markdown(&trials, &header)),
        ("robustness.json", report::json(&trials)),
        ("robustness.html", report::html(&trials, &header)),
    ];
    fs::create_dir_all(&args.out).map_err(|error| format!("{}: {error}", args.out.display()))?;
    for (name, text) in files {
        let path = args.out.join(name);
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}
