//! The comparison as JSON: what `arriero simulate --json` prints.
//!
//! `{"scenario", "baseline", "strategies": {NAME: {METRIC: {"ratio", "low", "high"}, "errors", "loads_per_1k",
//! "max_load_at_slo"}}}` with METRIC one of mean, p50, p95, p99, ttft_mean, ttft_p95; more keys stand beside these.
//! Shares are of 1, times seconds. What is not there, not finite, or without an interval is null.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::stats::{Arm, Comparison, Estimate, Metric};

#[derive(Serialize)]
struct Whole<'a> {
    scenario: &'a str,
    baseline: &'a str,
    reference: Option<&'a str>,
    simulated: bool,
    seeds: &'a [u64],
    lengths: Option<&'a str>,
    method: &'a str,
    strategies: BTreeMap<&'a str, Strategy<'a>>,
}

#[derive(Serialize)]
struct Strategy<'a> {
    #[serde(flatten)]
    ratios: PerMetric<Ratio>,
    errors: Option<f64>,
    loads_per_1k: Option<f64>,
    max_load_at_slo: Option<f64>,
    diverges: bool,
    achieved: Option<f64>,
    requests: usize,
    seconds: PerMetric<Value>,
    jain_tokens: Option<f64>,
    cached_prompt_share: Option<f64>,
    queue_peak: Option<f64>,
    endpoint_shares: BTreeMap<&'a str, f64>,
}

/// One entry per metric.
#[derive(Serialize)]
struct PerMetric<T> {
    mean: T,
    p50: T,
    p95: T,
    p99: T,
    ttft_mean: T,
    ttft_p95: T,
}

impl<T> PerMetric<T> {
    fn of(entry: impl Fn(Metric) -> T) -> PerMetric<T> {
        PerMetric {
            mean: entry(Metric::Mean),
            p50: entry(Metric::P50),
            p95: entry(Metric::P95),
            p99: entry(Metric::P99),
            ttft_mean: entry(Metric::TtftMean),
            ttft_p95: entry(Metric::TtftP95),
        }
    }
}

#[derive(Serialize)]
struct Ratio {
    ratio: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
}

#[derive(Serialize)]
struct Value {
    value: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
}

/// Six decimals are enough; more would only make files larger.
fn plain(value: f64) -> Option<f64> {
    value.is_finite().then(|| (value * 1e6).round() / 1e6)
}

fn ends(estimate: Option<Estimate>) -> [Option<f64>; 3] {
    let point = estimate.and_then(|estimate| plain(estimate.point));
    let end = |of: fn(&Estimate) -> Option<f64>| estimate.as_ref().and_then(of).and_then(plain);
    [point, end(Estimate::low), end(Estimate::high)]
}

fn strategy<'a>(arm: &'a Arm, endpoints: &'a [String]) -> Strategy<'a> {
    let ratio = |metric| {
        let [ratio, low, high] = ends(arm.ratio(metric));
        Ratio { ratio, low, high }
    };
    let value = |metric| {
        let [value, low, high] = ends(arm.latency(metric));
        Value { value, low, high }
    };
    let point = |estimate: Option<Estimate>| ends(estimate)[0];
    let shares = endpoints.iter().map(String::as_str).zip(arm.shares());
    Strategy {
        ratios: PerMetric::of(ratio),
        errors: point(arm.figure(|run| run.errors)),
        loads_per_1k: point(arm.figure(|run| run.loads_per_1k)),
        max_load_at_slo: arm.max_load_at_slo.and_then(plain),
        diverges: arm.diverges,
        achieved: point(arm.achieved),
        requests: arm.runs.iter().map(|run| run.requests).sum(),
        seconds: PerMetric::of(value),
        jain_tokens: point(arm.figure(|run| run.jain)),
        cached_prompt_share: point(arm.figure(|run| run.cached)),
        queue_peak: point(arm.figure(|run| Some(run.queue_peak as f64))),
        endpoint_shares: shares.filter_map(|(name, share)| Some((name, plain(share)?))).collect(),
    }
}

/// Pretty-printed JSON with a newline at its end.
pub fn json(comparison: &Comparison) -> String {
    let question = &comparison.question;
    let whole = Whole {
        scenario: &question.scenario,
        baseline: &question.baseline,
        reference: question.reference.as_deref(),
        simulated: question.simulated,
        seeds: &comparison.seeds,
        lengths: question.lengths.as_deref(),
        method: comparison.method(),
        strategies: comparison.arms.iter().map(|arm| (&*arm.name, strategy(arm, &comparison.endpoints))).collect(),
    };
    serde_json::to_string_pretty(&whole).unwrap_or_default() + "\n"
}
