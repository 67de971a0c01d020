//! One run in figures: latencies, errors, loads, shares of the endpoints, and whether it was growing without end.
//!
//! Latencies are seconds over all records, failed ones at the age at which they failed. A record without a first token
//! counts with its whole time as TTFT. A run without records has no latencies, and no endpoint shares.

use serde::Serialize;

use super::estimate::{jain, mean, quantile};
use super::record::{Record, Run};

/// A latency that arms are compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Mean time to the end of the answer.
    Mean,
    /// Its median.
    P50,
    /// Its 95th percentile.
    P95,
    /// Its 99th percentile.
    P99,
    /// Mean time to the first token.
    TtftMean,
    /// Its 95th percentile.
    TtftP95,
}

impl Metric {
    /// All of them, in the order of tables.
    pub const ALL: [Metric; 6] =
        [Metric::Mean, Metric::P50, Metric::P95, Metric::P99, Metric::TtftMean, Metric::TtftP95];

    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Mean => "mean",
            Metric::P50 => "p50",
            Metric::P95 => "p95",
            Metric::P99 => "p99",
            Metric::TtftMean => "ttft_mean",
            Metric::TtftP95 => "ttft_p95",
        }
    }

    /// Its name for readers.
    pub fn label(self) -> &'static str {
        match self {
            Metric::Mean => "mean",
            Metric::P50 => "P50",
            Metric::P95 => "P95",
            Metric::P99 => "P99",
            Metric::TtftMean => "TTFT mean",
            Metric::TtftP95 => "TTFT P95",
        }
    }

    /// The share below it; `None` for means.
    pub fn quantile(self) -> Option<f64> {
        match self {
            Metric::Mean | Metric::TtftMean => None,
            Metric::P50 => Some(0.5),
            Metric::P95 | Metric::TtftP95 => Some(0.95),
            Metric::P99 => Some(0.99),
        }
    }

    /// Whether it is about first tokens.
    pub fn is_ttft(self) -> bool {
        matches!(self, Metric::TtftMean | Metric::TtftP95)
    }

    /// The seconds of one record that it is made of.
    pub fn seconds(self, record: &Record) -> f64 {
        if self.is_ttft() { record.ttft_s.unwrap_or(record.e2e_s) } else { record.e2e_s }
    }
}

/// The figures of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Seed of the run.
    pub seed: u64,
    /// Records.
    pub requests: usize,
    /// One per [`Metric::ALL`], seconds.
    latencies: [Option<f64>; 6],
    /// Share of the requests that failed.
    pub errors: Option<f64>,
    /// Model loads per 1 000 requests.
    pub loads_per_1k: Option<f64>,
    /// Jain's index of the tokens that each endpoint served.
    pub jain: Option<f64>,
    /// Share of the requests that each endpoint got; sums to 1 over those that reached one.
    pub shares: Vec<f64>,
    /// Share of the prompt tokens that came from a prefix cache.
    pub cached: Option<f64>,
    /// Most requests waiting in the proxy at once.
    pub queue_peak: usize,
    /// Whether latency grew through the run as it does when more comes than can be served.
    pub growing: bool,
}

impl Summary {
    /// Counts a run.
    pub fn of(run: &Run) -> Summary {
        let sorted = |metric: Metric| {
            let mut values: Vec<f64> = run.records.iter().map(|record| metric.seconds(record)).collect();
            values.sort_unstable_by(f64::total_cmp);
            values
        };
        let (e2e, ttft) = (sorted(Metric::Mean), sorted(Metric::TtftMean));
        let latencies = Metric::ALL.map(|metric| {
            let values = if metric.is_ttft() { &ttft } else { &e2e };
            metric.quantile().map_or_else(|| mean(values.iter().copied()), |q| quantile(values, q))
        });
        let requests = run.records.len();
        let per_request = |count: f64| (requests > 0).then(|| count / requests as f64);
        let failed = run.records.iter().filter(|record| record.failed).count();
        let total =
            |tokens: fn(&Record) -> u32| run.records.iter().map(|record| f64::from(tokens(record))).sum::<f64>();
        let prompt = total(|record| record.prompt_tokens);
        let (counts, tokens) = per_endpoint(run);
        let reached: f64 = counts.iter().sum();
        Summary {
            seed: run.seed,
            requests,
            latencies,
            errors: per_request(failed as f64),
            loads_per_1k: per_request(run.loads as f64 * 1e3),
            jain: jain(&tokens),
            shares: counts.iter().map(|count| count / reached.max(1.0)).collect(),
            cached: (prompt > 0.0).then(|| total(|record| record.cached_tokens) / prompt),
            queue_peak: run.queue_peak,
            growing: growing(&run.records),
        }
    }

    /// One latency, seconds.
    pub fn latency(&self, metric: Metric) -> Option<f64> {
        self.latencies[metric as usize]
    }
}

/// Requests and tokens (prompt and output, failed requests left out) of each endpoint.
fn per_endpoint(run: &Run) -> (Vec<f64>, Vec<f64>) {
    let (mut counts, mut tokens) = (vec![0.0; run.endpoints.len()], vec![0.0; run.endpoints.len()]);
    for record in &run.records {
        let Some(endpoint) = record.endpoint.map(|endpoint| endpoint as usize) else { continue };
        if endpoint < counts.len() {
            counts[endpoint] += 1.0;
            if !record.failed {
                tokens[endpoint] += f64::from(record.prompt_tokens) + f64::from(record.output_tokens);
            }
        }
    }
    (counts, tokens)
}

/// By how much the last quarter of a growing run is slower than its second one. Where waiting grows in step with time
/// from an idle start the factor is 2.3, and less when the warm-up is cut and service is not short beside waiting.
const GROWTH: f64 = 1.5;
/// Records of a quarter below which a busy hour cannot be told from growth without end.
const LEAST_QUARTER: usize = 500;

/// Whether mean latency rises from the second quarter of the arrivals to the third and on to the last, by [`GROWTH`].
fn growing(records: &[Record]) -> bool {
    let quarter = records.len() / 4;
    if quarter < LEAST_QUARTER {
        return false;
    }
    let of = |place: usize| {
        let part = records.iter().skip(place * quarter).take(quarter);
        mean(part.map(|record| record.e2e_s)).unwrap_or(0.0)
    };
    let (second, third, last) = (of(1), of(2), of(3));
    second < third && third < last && last > GROWTH * second
}
