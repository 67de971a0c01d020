//! The engine models against queueing theory: mean waits within 2 % of the exact formulas at a million jobs each.
//!
//! | engine | theory | mean |
//! |---|---|---|
//! | one slot, any service | M/G/1, Pollaczek-Khinchine | wait = lambda E\[S^2\] / (2 (1 - rho)) |
//! | c slots without loss of batching (beta 0) | M/M/c, Erlang C | wait = C / (c mu - lambda) |
//! | c one-slot engines behind one queue | M/M/c | the same |
//! | many slots that share one rate (beta 1) | M/G/1 processor sharing | time = E\[S\] / (1 - rho) |
//! | P slots, g(n) = n / (1 + beta (n - 1)) | birth lambda, death mu g(min(n, P)) | time = E\[n\] / lambda |
//! | batch of one sequence (vLLM-like) | M/G/1 | as above |
//!
//! Arrivals are Poisson. Lengths are whole tokens, so moments are those of the whole numbers: a geometric length of
//! mean m stands for the exponential (its squared coefficient of variation is 1 - 1/m). The virtual-time code under test is
//! the one that scenarios run.

use std::collections::VecDeque;
use std::time::Duration;

use arriero_core::time::Time;
use arriero_lab::fleet::{Arrival, Finished, Fleet};
use arriero_lab::model::{Detail, EngineModel, Job, ModelSpec, Ollama, OllamaSpec, Vllm, VllmSpec, What};

const JOBS: u64 = 1_000_000;
/// Tokens per second of a lone request.
const RATE: f64 = 1000.0;
const WITHIN: f64 = 0.02;

/// Whole numbers of tokens.
#[derive(Clone, Copy)]
enum Length {
    /// Always the same.
    Fixed(u32),
    /// Geometric with this mean, at least 1.
    Geometric(f64),
    /// The first with this probability, else the second.
    Either(f64, u32, u32),
}

impl Length {
    fn draw(self, random: &mut fastrand::Rng) -> u32 {
        match self {
            Length::Fixed(tokens) => tokens,
            Length::Geometric(mean) => ((1.0 - random.f64()).ln() / (1.0 - 1.0 / mean).ln()).ceil().max(1.0) as u32,
            Length::Either(chance, one, other) => {
                if random.f64() < chance {
                    one
                } else {
                    other
                }
            }
        }
    }

    /// E[S] and E[S^2], tokens.
    fn moments(self) -> (f64, f64) {
        match self {
            Length::Fixed(tokens) => (f64::from(tokens), f64::from(tokens).powi(2)),
            Length::Geometric(mean) => (mean, mean * (2.0 * mean - 1.0)),
            Length::Either(chance, one, other) => {
                let (one, other) = (f64::from(one), f64::from(other));
                (chance * one + (1.0 - chance) * other, chance * one * one + (1.0 - chance) * other * other)
            }
        }
    }
}

/// Poisson arrivals, `per_second` of them.
fn arrivals(seed: u64, per_second: f64, length: Length) -> impl Iterator<Item = Arrival> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut at = 0.0;
    (0..JOBS).map(move |id| {
        at -= (1.0 - random.f64()).ln() / per_second;
        let job = Job { id, output_tokens: length.draw(&mut random), ..Job::default() };
        Arrival { at: Time::from_secs_f64(at), job }
    })
}

fn ollama(slots: usize, beta: f64) -> OllamaSpec {
    let models = vec![ModelSpec::new("m", 1.0, 1.0, RATE, RATE)];
    let (keep_alive, preload, detail) = (Duration::MAX, vec![0], Detail::Edges);
    OllamaSpec { slots, beta, keep_alive, preload, detail, ..OllamaSpec::new(models) }
}

fn run(engine: impl EngineModel + 'static, arrivals: impl IntoIterator<Item = Arrival>) -> Vec<Finished> {
    let finished = Fleet::new(vec![Box::new(engine)]).run(arrivals, |_, _| 0);
    assert_eq!(finished.len() as u64, JOBS);
    finished
}

/// Mean seconds from submission to the slot, and to the end.
fn means(finished: &[Finished]) -> (f64, f64) {
    let (mut wait, mut time) = (0.0, 0.0);
    for timing in finished.iter().filter_map(|one| one.timing) {
        wait += timing.started.millis_since(timing.submitted) / 1e3;
        time += timing.done.millis_since(timing.submitted) / 1e3;
    }
    (wait / finished.len() as f64, time / finished.len() as f64)
}

#[track_caller]
fn agree(what: &str, simulated: f64, exact: f64) {
    let off = simulated / exact - 1.0;
    assert!(off.abs() <= WITHIN, "{what}: simulated {simulated:.5}, exact {exact:.5}, {:.2} % off", off * 100.0);
}

/// lambda E[S^2] / (2 (1 - rho)), seconds.
fn pollaczek_khinchine(per_second: f64, length: Length) -> f64 {
    let (mean, square) = length.moments();
    per_second * square / RATE.powi(2) / (2.0 * (1.0 - per_second * mean / RATE))
}

/// Mean wait of M/M/c, seconds; `rate` is that of one server.
fn erlang_c(per_second: f64, rate: f64, servers: u32) -> f64 {
    let offered = per_second / rate;
    // Erlang B by its recursion, then C from B.
    let lost = (1..=servers).fold(1.0, |lost, c| offered * lost / (f64::from(c) + offered * lost));
    let rho = offered / f64::from(servers);
    let waits = lost / (1.0 - rho * (1.0 - lost));
    waits / (f64::from(servers) * rate - per_second)
}

#[test]
fn one_slot_waits_like_m_g_1() {
    let lengths = [Length::Fixed(100), Length::Geometric(100.0), Length::Either(0.9, 50, 550)];
    for (seed, length) in (1..).zip(lengths) {
        let per_second = 0.7 * RATE / length.moments().0;
        let (wait, _) = means(&run(Ollama::new(ollama(1, 0.25)), arrivals(seed, per_second, length)));
        agree("M/G/1", wait, pollaczek_khinchine(per_second, length));
    }
}

#[test]
fn slots_without_loss_wait_like_m_m_c() {
    let (length, slots) = (Length::Geometric(400.0), 4);
    let per_second = 0.8 * 4.0 * RATE / 400.0;
    let (wait, _) = means(&run(Ollama::new(ollama(slots, 0.0)), arrivals(4, per_second, length)));
    agree("M/M/4 in one engine", wait, erlang_c(per_second, RATE / 400.0, 4));
}

#[test]
fn engines_behind_one_queue_wait_like_m_m_c() {
    let per_second = 0.8 * 4.0 * RATE / 400.0;
    let engines = (0..4).map(|_| Box::new(Ollama::new(ollama(1, 0.25))) as Box<dyn EngineModel>).collect();
    let mut fleet = Fleet::new(engines);
    let mut arrivals = arrivals(5, per_second, Length::Geometric(400.0)).peekable();
    let (mut queue, mut free, mut waited) = (VecDeque::new(), vec![0, 1, 2, 3], 0.0);
    loop {
        let next = fleet.next_event();
        let now = if let Some(arrival) = arrivals.next_if(|one| next.is_none_or(|(at, _)| one.at < at)) {
            let now = arrival.at;
            queue.push_back(arrival);
            now
        } else if let (Some((now, endpoint)), Some((_, events))) = (next, fleet.step()) {
            free.extend(events.iter().filter(|event| matches!(event.what, What::Done(..))).map(|_| endpoint));
            now
        } else {
            break;
        };
        while let Some(arrival) = queue.pop_front_if(|_| !free.is_empty()) {
            waited += now.millis_since(arrival.at) / 1e3;
            free.pop().into_iter().for_each(|endpoint| fleet.submit(now, endpoint, arrival.job.clone()));
        }
    }
    assert!(queue.is_empty() && free.len() == 4);
    agree("M/M/4 over engines", waited / JOBS as f64, erlang_c(per_second, RATE / 400.0, 4));
}

#[test]
fn a_shared_rate_takes_the_time_of_processor_sharing() {
    for (seed, length) in (6..).zip([Length::Fixed(100), Length::Either(0.9, 50, 550)]) {
        let mean = length.moments().0;
        let engine = Ollama::new(ollama(usize::MAX, 1.0));
        let (_, time) = means(&run(engine, arrivals(seed, 0.6 * RATE / mean, length)));
        agree("M/G/1 processor sharing", time, mean / RATE / (1.0 - 0.6));
    }
}

#[test]
fn batching_slots_take_the_time_of_birth_and_death() {
    let (slots, beta, mean) = (4.0_f64, 0.25, 400.0);
    let speedup = |n: f64| n.min(slots) / (1.0 + beta * (n.min(slots) - 1.0));
    let per_second = 0.7 * speedup(slots) * RATE / mean;
    let (mut weight, mut total, mut jobs) = (1.0, 1.0, 0.0);
    for n in (1..2000).map(f64::from) {
        weight *= per_second / (RATE / mean * speedup(n));
        (total, jobs) = (total + weight, jobs + n * weight);
    }
    let (_, time) = means(&run(Ollama::new(ollama(4, beta)), arrivals(8, per_second, Length::Geometric(mean))));
    agree("four batching slots", time, jobs / total / per_second);
}

#[test]
fn a_batch_of_one_waits_like_m_g_1() {
    let zero = VllmSpec::a100_8b(vec![ModelSpec::new("m", 1.0, 1.0, RATE, RATE)]);
    let spec = VllmSpec { base_ms: 1e3 / RATE, per_sequence_ms: 0.0, per_prefill_ms: 0.0, per_context_ms: 0.0, ..zero };
    let spec = VllmSpec { max_sequences: 1, prefix_blocks: 0, detail: Detail::Edges, ..spec };
    let length = Length::Geometric(5.0);
    let per_second = 0.6 * RATE / 5.0;
    let (wait, _) = means(&run(Vllm::new(spec), arrivals(9, per_second, length)));
    agree("M/G/1 in iterations", wait, pollaczek_khinchine(per_second, length));
}
