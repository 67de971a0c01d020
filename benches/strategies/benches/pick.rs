//! What a pick costs, by module and size of the fleet, and how long the fleet's calls take while 1 000 wait.
//!
//! `cargo bench -p arriero-strategies --bench pick` measures and prints. With `PICK_MD=FILE` it also writes the tables there:
//! `benches/results/pick.md` was made so. Picks: mean of criterion, in microseconds, bare [`arriero_core::Strategy::pick`] on
//! candidates that are there already, a millisecond after one another. Calls: every single call timed by itself.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "tables of a command-line tool")]
#![allow(missing_docs, reason = "a benchmark")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use arriero_core::EngineClass;
use criterion::{BenchmarkId, Criterion};

mod common;
use common::waiting::{CASES, durations, quantile};
use common::{Made, Rack, plain, priced, request};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Sizes of the fleet.
const SIZES: [usize; 2] = [64, 1000];
/// Turns of a case.
const TURNS: usize = 500;
/// What is allowed at these sizes, in microseconds.
const PLAIN_US: [f64; 2] = [2.0, 20.0];
const PRICED_US: [f64; 2] = [4.0, 60.0];

/// Where criterion keeps its figures.
fn figures() -> PathBuf {
    let target = std::env::var("CARGO_TARGET_DIR")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../target").into());
    Path::new(&target).join("criterion")
}

fn measure(criterion: &mut Criterion, group: &str, class: EngineClass, modules: fn() -> Vec<Made>) {
    let mut measured = criterion.benchmark_group(group);
    for size in SIZES {
        let mut rack = Rack::busy(size, class);
        let begun = rack.now;
        for (name, mut strategy) in modules() {
            rack.introduce(strategy.as_mut());
            let shown = rack.shown(strategy.as_ref());
            let requests: Vec<_> = (0..24).map(request).collect();
            let (mut turn, mut rng) = (0, fastrand::Rng::with_seed(1));
            measured.bench_function(BenchmarkId::new(name, size), |bencher| {
                bencher.iter(|| {
                    turn = (turn + 1) % requests.len();
                    rack.now = begun + Duration::from_millis(turn as u64);
                    rack.pick(strategy.as_ref(), &requests[turn], &shown, &mut rng)
                });
            });
        }
    }
    measured.finish();
}

/// The mean that criterion found, in microseconds; NaN if it did not run.
fn mean_us(group: &str, name: &str, size: usize) -> f64 {
    let path = figures().join(group).join(name).join(size.to_string()).join("new/estimates.json");
    let read = || {
        let text = std::fs::read_to_string(path).ok()?;
        let told: serde_json::Value = serde_json::from_str(&text).ok()?;
        told["mean"]["point_estimate"].as_f64()
    };
    read().map_or(f64::NAN, |nanos| nanos / 1000.0)
}

fn picks(text: &mut String, group: &str, modules: fn() -> Vec<Made>, allowed: [f64; 2]) -> std::fmt::Result {
    writeln!(text, "| {group} | 64 endpoints (allowed {}) | 1 000 endpoints (allowed {}) |", allowed[0], allowed[1])?;
    writeln!(text, "|---|---:|---:|")?;
    for (name, _) in modules() {
        let [small, large] = SIZES.map(|size| mean_us(group, name, size));
        writeln!(text, "| {name} | {small:.2} | {large:.1} |")?;
    }
    writeln!(text)
}

fn calls(text: &mut String) -> std::fmt::Result {
    // a profiler wants the picks alone
    if std::env::args().any(|argument| argument == "--profile-time") {
        return Ok(());
    }
    writeln!(text, "| waiting for | call | calls | p50 | p99 | max |\n|---|---|---:|---:|---:|---:|")?;
    for (case, words) in CASES {
        let begun = Instant::now();
        let took = durations(case, TURNS);
        eprintln!("calls, {words}: {TURNS} turns in {:.0} s", begun.elapsed().as_secs_f64());
        let all: Vec<f64> = took.values().flatten().copied().collect();
        for (name, took) in took.iter().map(|(name, took)| (*name, took)).chain([("all", &all)]) {
            let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| quantile(took, share));
            writeln!(text, "| {words} | {name} | {} | {p50:.1} | {p99:.1} | {max:.0} |", took.len())?;
        }
    }
    Ok(())
}

fn main() {
    let criterion = Criterion::default().configure_from_args().output_directory(&figures());
    let quick = (Duration::from_millis(300), Duration::from_millis(1200));
    let mut criterion = criterion.sample_size(30).warm_up_time(quick.0).measurement_time(quick.1);
    measure(&mut criterion, "plain", EngineClass::Slots, plain);
    measure(&mut criterion, "priced, slots", EngineClass::Slots, priced);
    measure(&mut criterion, "priced, batching", EngineClass::Batching, priced);
    criterion.final_summary();
    let mut text = String::new();
    let written = picks(&mut text, "plain", plain, PLAIN_US)
        .and_then(|()| picks(&mut text, "priced, slots", priced, PRICED_US))
        .and_then(|()| picks(&mut text, "priced, batching", priced, PRICED_US))
        .and_then(|()| calls(&mut text));
    written.expect("a string takes everything");
    println!("{text}");
    if let Ok(path) = std::env::var("PICK_MD") {
        let head = "# What a pick costs\n\nMicroseconds. Made by `PICK_MD=benches/results/pick.md cargo bench -p arriero-strategies \
                    --bench pick`; what is measured: `benches/strategies/benches`.\n\n";
        std::fs::write(path, format!("{head}{}", text.trim_end().to_owned() + "\n")).expect("a place to write to");
    }
}
