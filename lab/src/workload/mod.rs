//! The requests of a run: when they come, what they ask for, how long they are. The same for every strategy of a seed.
//!
//! Lengths come from a trace file (resampled with replacement, or replayed) or from a generator of published
//! statistics. Every stream of chance (lengths, gaps, models) has a generator of its own, seeded from the seed.

mod arrivals;
mod chance;
mod lengths;
mod popularity;
mod published;
mod sessions;
mod trace;

pub use arrivals::ArrivalsSpec;
pub use lengths::{Lengths, LengthsSpec};
pub use popularity::PopularitySpec;
pub use trace::{Row, read_trace};

use std::path::Path;
use std::sync::Arc;

use arriero_core::time::Time;

use chance::Chance;

/// Tokens of one block of [`Request::blocks`].
pub const PREFIX_TOKENS: u32 = 512;

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// When it comes.
    pub at: Time,
    /// Which model, by its place among those served.
    pub model: usize,
    /// Prompt length, tokens.
    pub prompt_tokens: u32,
    /// Output length, tokens.
    pub output_tokens: u32,
    /// Names of the prompt's leading full blocks of [`PREFIX_TOKENS`], each standing for all text before it. Empty:
    /// nothing is shared with anybody.
    pub blocks: Arc<[u64]>,
}

/// What a fleet can do, for arrivals that are given as a load.
#[derive(Clone, Debug)]
pub struct Capacity {
    /// Work per second: the sum of speed x g(slots).
    pub work: f64,
    /// Seconds per prompt token and per output token at speed 1, by model.
    pub per_token: Vec<(f64, f64)>,
}

impl Capacity {
    /// Requests per second that offer the load `rho`, with the models' shares and the mean lengths.
    fn rate(&self, rho: f64, shares: &[f64], (prompt, output): (f64, f64)) -> f64 {
        let models = shares.iter().zip(&self.per_token);
        let work: f64 = models.map(|(share, (prefill, decode))| share * (prompt * prefill + output * decode)).sum();
        rho * self.work / work
    }
}

/// Makes the requests of one seed.
pub fn make(
    spec: &crate::sim::WorkloadSpec,
    lengths: &Lengths,
    capacity: &Capacity,
    seed: u64,
) -> Result<Vec<Request>, String> {
    let count = spec.requests;
    let shares = spec.popularity.shares(capacity.per_token.len());
    let rows = lengths.draw(count, &mut Chance::new(seed, "lengths"))?;
    let rho_rate = |rho: f64| capacity.rate(rho, &shares, lengths.mean());
    let times = arrivals::times(&spec.arrivals, &rows, rho_rate, &mut Chance::new(seed, "arrivals"))?;
    let models = spec.popularity.draw(&shares, count, &mut Chance::new(seed, "models"));
    let mut requests: Vec<Request> = rows
        .into_iter()
        .zip(times)
        .zip(models)
        .map(|((row, at), model)| Request {
            at: Time::from_secs_f64(at),
            model,
            prompt_tokens: row.prompt_tokens,
            output_tokens: row.output_tokens,
            blocks: row.blocks,
        })
        .collect();
    requests.sort_by_key(|request| request.at);
    Ok(requests)
}

/// Loads what a scenario's lengths need from the folder of traces, else its generator.
pub fn lengths(spec: &LengthsSpec, traces: Option<&Path>) -> Result<Lengths, String> {
    Lengths::load(spec, traces)
}
