//! How long an iteration of a batching engine takes, learned per (endpoint, model) from streams that completed:
//!
//! ```text
//! iteration = a + b * sequences that decode + c * prompt tokens computed + d * tokens of their context      (ms)
//! ```
//!
//! A request of `n + 1` output tokens lived through `n` iterations between its first token and its end. What the endpoint
//! did meanwhile is on its [`Tape`]: the mean number of decoding sequences and of their tokens, and the prompts whose first
//! token came. So one answer gives one equation for the mean iteration. One that is too short for that gives another, over
//! its time to the first token, the prompts ahead of it and its own. Times that the engine tells go before what we saw.
//!
//! Least squares with forgetting ([`MEMORY`] equations), each weighed by its relative error, and drawn to the prior,
//! which fixes the proportions more than the scale. Equations more than [`CLAMP`] times off are cut there; no coefficient
//! leaves [`CLAMP`] times its proportion. [`Rates`] of such an engine follow: one sequence alone. Others' reported
//! requests count as decoding. What a prefix cache saves is what the strategies believe ([`crate::endpoint::Job::cached`]);
//! believe none in a cache, all of a prompt counts as computed.

use crate::endpoint::{EngineClass, Rates};
use crate::time::Time;

use super::Seen;

/// Equations that are kept in mind.
pub const MEMORY: f64 = 200.0;
/// How far a single equation, or a coefficient from the common scale, may go: a factor.
pub const CLAMP: f64 = 4.0;
/// a, b, c, d of an 8B model on a mid-range GPU.
const PRIOR: [f64; 4] = [20.0, 0.1, 0.1, 1e-4];
/// How sure the prior is: of the common scale, and of each coefficient's proportion to it (standard deviations).
const SCALE: f64 = 4.0;
const PROPORTION: f64 = 0.5;
/// The relative error of one equation.
const NOISE: f64 = 0.2;
/// Prompt tokens that one iteration computes at most.
const CHUNK: f64 = 2048.0;
/// Iterations after which an equation has its full weight.
const LONG: f64 = 64.0;
/// An answer of fewer iterations teaches by its first token.
const SHORT: f64 = 4.0;
/// The weight of that: what is ahead of it is partly done, and chunks are guessed.
const SKEWED: f64 = 0.1;

/// The part of a mean answer that a decoding sequence has behind it on the average: long answers are there longer.
pub const GROWN: f64 = 0.6;

type Row = [f64; 4];

/// Learned times of one model on one batching engine. Before the first answer: priors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Iteration {
    /// Coefficients as multiples of the prior.
    scaled: Row,
    /// Sums of products, the prior's included.
    square: [Row; 4],
    sums: Row,
    /// Answers behind it.
    pub samples: u64,
}

impl Default for Iteration {
    fn default() -> Self {
        let (square, sums) = prior();
        Iteration { scaled: [1.0; 4], square, sums, samples: 0 }
    }
}

/// The prior as sums: the inverse of `SCALE^2 * ones + PROPORTION^2 * identity`, and its product with ones.
fn prior() -> ([Row; 4], Row) {
    let (scale, own) = (SCALE * SCALE, PROPORTION * PROPORTION);
    let mut square = [[-scale / (own + 4.0 * scale) / own; 4]; 4];
    for (place, row) in square.iter_mut().enumerate() {
        row[place] += 1.0 / own;
    }
    (square, square.map(|row| row.iter().sum()))
}

impl Iteration {
    /// The fixed part, `a`: milliseconds.
    pub fn base_ms(&self) -> f64 {
        PRIOR[0] * self.scaled[0]
    }

    /// Each decoding sequence, `b`: milliseconds.
    pub fn per_sequence_ms(&self) -> f64 {
        PRIOR[1] * self.scaled[1]
    }

    /// Each prompt token computed, `c`: milliseconds.
    pub fn per_prefill_ms(&self) -> f64 {
        PRIOR[2] * self.scaled[2]
    }

    /// Each token of the decoding sequences' context, `d`: milliseconds.
    pub fn per_context_ms(&self) -> f64 {
        PRIOR[3] * self.scaled[3]
    }

    /// All four, in this order.
    pub(crate) fn per_unit_ms(&self) -> [f64; 4] {
        [self.base_ms(), self.per_sequence_ms(), self.per_prefill_ms(), self.per_context_ms()]
    }

    /// Coefficients as they are: tests, and what was learned elsewhere.
    pub fn of(base_ms: f64, per_sequence_ms: f64, per_prefill_ms: f64, per_context_ms: f64) -> Iteration {
        let told = [base_ms, per_sequence_ms, per_prefill_ms, per_context_ms];
        let scaled = std::array::from_fn(|place| told[place] / PRIOR[place]);
        let mut iteration = Iteration { scaled, samples: 1, ..Iteration::default() };
        iteration.sums = std::array::from_fn(|row| dot(&iteration.square[row], &scaled));
        iteration
    }

    /// What `x` takes: milliseconds.
    fn expected(&self, x: &Row) -> f64 {
        dot(&scaled(x), &self.scaled)
    }

    /// One equation: `x` took `ms`.
    fn add(&mut self, x: &Row, ms: f64, weight: f64) -> bool {
        if !ms.is_finite() || ms <= 0.0 {
            return false;
        }
        let (x, mut ms) = (scaled(x), ms);
        if self.samples >= super::FREE_AFTER {
            let expected = dot(&x, &self.scaled);
            ms = ms.clamp(expected / CLAMP, expected * CLAMP);
        }
        let keep = 1.0 - weight.min(1.0) / MEMORY;
        let (square, sums) = prior();
        let weight = weight / (NOISE * ms).powi(2);
        for row in 0..4 {
            for column in 0..4 {
                let sum = &mut self.square[row][column];
                *sum = keep * *sum + (1.0 - keep) * square[row][column] + weight * x[row] * x[column];
            }
            self.sums[row] = keep * self.sums[row] + (1.0 - keep) * sums[row] + weight * x[row] * ms;
        }
        let Some(solved) = solve(self.square, self.sums) else { return false };
        let scale = (dot(&x, &solved) / x.iter().sum::<f64>()).clamp(1e-3, 1e3);
        self.scaled = solved.map(|value| value.clamp(scale / CLAMP, scale * CLAMP));
        true
    }
}

fn scaled(x: &Row) -> Row {
    std::array::from_fn(|place| x[place] * PRIOR[place])
}

fn dot(one: &Row, other: &Row) -> f64 {
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}

/// Solves a symmetric positive system by elimination; `None` if it is not one.
fn solve(mut square: [Row; 4], mut sums: Row) -> Option<Row> {
    for pivot in 0..4 {
        if square[pivot][pivot].is_nan() || square[pivot][pivot] <= 1e-12 {
            return None;
        }
        for row in pivot + 1..4 {
            let factor = square[row][pivot] / square[pivot][pivot];
            let above = square[pivot];
            square[row].iter_mut().zip(above).for_each(|(value, above)| *value -= factor * above);
            sums[row] -= factor * sums[pivot];
        }
    }
    let mut solved = [0.0; 4];
    for row in (0..4).rev() {
        let rest: f64 = (row + 1..4).map(|column| square[row][column] * solved[column]).sum();
        solved[row] = (sums[row] - rest) / square[row][row];
    }
    solved.iter().all(|value| value.is_finite()).then_some(solved)
}

/// What an endpoint's batch did, summed over time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tape {
    now: Mark,
    decoding: f64,
    /// Tokens of the decoding sequences.
    context: f64,
    /// Prompt tokens whose first token has not come.
    queued: f64,
}

/// The tape's sums at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mark {
    at: Time,
    /// Sequences x milliseconds, context tokens x milliseconds.
    sequences: f64,
    context: f64,
    /// Prompt tokens whose first token came.
    computed: f64,
    /// Prompt tokens that waited at this moment.
    queued: f64,
}

impl Tape {
    /// Lets time pass; gives the sums.
    fn pass(&mut self, now: Time, others: f64) -> Mark {
        let ms = now.millis_since(self.now.at);
        let mean = if self.decoding > 0.0 { self.context / self.decoding } else { 0.0 };
        self.now.sequences += (self.decoding + others) * ms;
        self.now.context += (self.context + others * mean) * ms;
        (self.now.at, self.now.queued) = (now, self.queued);
        self.now
    }

    /// A request starts of whose prompt so many tokens are to be computed; `others`: what others put there.
    pub(crate) fn started(&mut self, now: Time, others: f64, fresh: f64) -> Mark {
        let mark = self.pass(now, others);
        self.queued += fresh;
        mark
    }

    /// Its first token came.
    pub(crate) fn first_token(&mut self, now: Time, others: f64, fresh: f64, prompt: f64) -> Mark {
        let mark = self.pass(now, others);
        self.queued = (self.queued - fresh).max(0.0);
        self.now.computed += fresh;
        self.decoding += 1.0;
        self.context += prompt;
        mark
    }

    /// It is over. `prompt`: its prompt, if its first token had come.
    pub(crate) fn ended(&mut self, now: Time, others: f64, fresh: f64, prompt: Option<f64>) -> Mark {
        let mark = self.pass(now, others);
        if let Some(prompt) = prompt {
            self.decoding = (self.decoding - 1.0).max(0.0);
            self.context = if self.decoding > 0.0 { (self.context - prompt).max(0.0) } else { 0.0 };
        } else {
            self.queued = (self.queued - fresh).max(0.0);
        }
        mark
    }
}

/// The moments of one attempt on the tape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Marks {
    pub(crate) started: Mark,
    pub(crate) first_token: Option<Mark>,
    pub(crate) ended: Mark,
}

impl Marks {
    /// Those of an attempt that starts.
    pub(crate) fn started(started: Mark) -> Marks {
        Marks { started, first_token: None, ended: started }
    }
}

/// Learns from a completed attempt. True if it taught something.
pub(crate) fn learn(
    iteration: &mut Iteration,
    rates: &mut Rates,
    class: EngineClass,
    seen: &Seen<'_>,
    marks: &Marks,
) -> bool {
    let Some(first) = marks.first_token.filter(|_| class == EngineClass::Batching && seen.stream) else { return false };
    let prompt = f64::from(seen.usage.prompt_tokens.unwrap_or(seen.prompt_tokens)).max(1.0);
    let cached = f64::from(seen.usage.cached_tokens.unwrap_or(seen.cached_tokens)).min(prompt - 1.0);
    let iterations = f64::from(seen.usage.output_tokens.unwrap_or(0)) - 1.0;
    let taught = if iterations >= SHORT {
        let equation = decode_equation(seen, (first, marks.ended), iterations, rates.output_tokens);
        equation.is_some_and(|(x, ms)| iteration.add(&x, ms, (iterations / LONG).min(1.0)))
    } else {
        let equation = prefill_equation(seen, marks.started, first, prompt - cached);
        equation.is_some_and(|(x, ms)| iteration.add(&x, ms, SKEWED))
    };
    if taught {
        iteration.samples += 1;
        rates.prefill_ms_per_token = iteration.per_prefill_ms();
        let context = prompt + rates.output_tokens * GROWN;
        rates.decode_ms_per_token = iteration.expected(&[1.0, 1.0, 0.0, context]);
    }
    taught
}

/// The mean iteration between first and last token.
fn decode_equation(seen: &Seen<'_>, (from, to): (Mark, Mark), iterations: f64, output: f64) -> Option<(Row, f64)> {
    let ms = to.at.millis_since(from.at);
    if ms <= 0.0 {
        return None;
    }
    let own = f64::from(seen.prompt_tokens.saturating_sub(seen.cached_tokens).max(1));
    let computed = (to.computed - from.computed - own).max(0.0) / iterations;
    let (sequences, context) = ((to.sequences - from.sequences) / ms, (to.context - from.context) / ms);
    let grown = context + (sequences - 1.0).max(0.0) * output * GROWN + iterations / 2.0;
    let told = seen.usage.decode_ms.filter(|ms| *ms > 0.0);
    Some(([1.0, sequences, computed, grown], told.unwrap_or(ms) / iterations))
}

/// The way to the first token: what was ahead, and the own prompt, in chunks beside those who decode. An iteration that
/// runs must end first: half of one.
fn prefill_equation(seen: &Seen<'_>, from: Mark, to: Mark, fresh: f64) -> Option<(Row, f64)> {
    let ms = to.at.millis_since(from.at);
    if seen.cold || ms <= 0.0 {
        return None;
    }
    let told = seen.usage.prefill_ms.filter(|ms| *ms > 0.0);
    let ahead = if told.is_some() { 0.0 } else { from.queued };
    let tokens = fresh + ahead;
    let (sequences, context) = ((to.sequences - from.sequences) / ms, (to.context - from.context) / ms);
    let running = if told.is_none() && sequences > 0.5 { 0.5 } else { 0.0 };
    let iterations = (tokens / CHUNK).ceil().max(1.0) + running;
    Some(([iterations, iterations * sequences, tokens, iterations * context], told.unwrap_or(ms)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An engine's true times.
    const TRUE: Row = [60.0, 0.2, 0.35, 4.3e-4];

    #[test]
    fn finds_the_times_of_a_slow_engine() {
        let mut iteration = Iteration::default();
        let mut dice = fastrand::Rng::with_seed(1);
        for _ in 0..400 {
            let sequences = 1.0 + 30.0 * dice.f64();
            let context = sequences * (500.0 + 1500.0 * dice.f64());
            let x = [1.0, sequences, 100.0 * dice.f64(), context];
            let noise = 0.7 + 0.6 * dice.f64();
            assert!(iteration.add(&x, dot(&x, &TRUE) * noise, 1.0));
            iteration.samples += 1;
        }
        for x in [[1.0, 1.0, 0.0, 1000.0], [1.0, 20.0, 80.0, 20_000.0], [1.0, 5.0, 500.0, 5000.0]] {
            let (found, true_ms) = (iteration.expected(&x), dot(&x, &TRUE));
            assert!((found / true_ms - 1.0).abs() < 0.15, "found {found:.1}, true {true_ms:.1} at {x:?}");
        }
        assert!((iteration.per_prefill_ms() / TRUE[2] - 1.0).abs() < 0.3, "{}", iteration.per_prefill_ms());
    }

    #[test]
    fn one_answer_moves_all_by_the_same_scale() {
        let mut iteration = Iteration::default();
        iteration.add(&[1.0, 4.0, 50.0, 4000.0], 5.0 * dot(&[1.0, 4.0, 50.0, 4000.0], &PRIOR), 1.0);
        for (place, value) in iteration.scaled.iter().enumerate() {
            assert!((3.0..6.5).contains(value), "coefficient {place}: {value} x prior");
        }
    }

    #[test]
    fn a_wild_answer_is_cut_and_nonsense_ignored() {
        let mut iteration = Iteration::default();
        let x = [1.0, 8.0, 50.0, 8000.0];
        let ms = dot(&x, &PRIOR);
        for _ in 0..50 {
            iteration.add(&x, ms, 1.0);
            iteration.samples += 1;
        }
        iteration.add(&x, 1000.0 * ms, 1.0);
        assert!((iteration.expected(&x) / ms - 1.0).abs() < 0.1, "{}", iteration.expected(&x) / ms);
        for nonsense in [f64::NAN, f64::INFINITY, 0.0, -1.0] {
            assert!(!iteration.add(&x, nonsense, 1.0));
        }
        assert!(solve([[0.0; 4]; 4], [1.0; 4]).is_none());
    }

    #[test]
    fn what_is_told_directly_is_kept() {
        let iteration = Iteration::of(12.0, 0.05, 0.07, 6.5e-5);
        assert!((iteration.base_ms() - 12.0).abs() < 1e-9 && (iteration.per_context_ms() - 6.5e-5).abs() < 1e-12);
        assert_eq!(Iteration::default().base_ms(), PRIOR[0]);
    }

    #[test]
    fn the_tape_adds_up() {
        let mut tape = Tape::default();
        let at = Time::from_millis;
        let started = tape.started(at(0), 0.0, 100.0);
        tape.started(at(0), 0.0, 300.0);
        let first = tape.first_token(at(10), 0.0, 100.0, 100.0);
        tape.first_token(at(30), 0.0, 300.0, 400.0);
        let ended = tape.ended(at(50), 1.0, 100.0, Some(100.0));
        assert_eq!((started.queued, first.queued, first.sequences), (0.0, 400.0, 0.0));
        assert_eq!(ended.sequences - first.sequences, 20.0 + 20.0 * 2.0 + 20.0);
        assert_eq!(ended.context - first.context, 20.0 * 100.0 + 20.0 * 500.0 + 20.0 * 250.0);
        assert_eq!(ended.computed - first.computed, 400.0);
        assert_eq!((tape.decoding, tape.context), (1.0, 400.0));
    }
}
