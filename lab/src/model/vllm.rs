//! A vLLM-like engine: continuous batching in iterations, a KV pool, a prefix cache.
//!
//! One iteration takes a + b * decoding + c * prefill tokens + d * context tokens (ms, divided by the speed) and does
//! one token for every decoding sequence plus prefill chunks within the rest of the token budget; tokens come out at
//! its end. Admission is first come, first served, while the whole prompt fits the KV room. When decoding outgrows the
//! room, the newest sequence goes back to the head of the queue and is computed again. A sequence that is alone always
//! runs. The prefix cache (LRU blocks) is beside the KV room; a prompt always computes at least one token.

use std::collections::VecDeque;
use std::time::Duration;

use arriero_core::time::Time;

use super::lru::Lru;
use super::spec::VllmSpec;
use super::{Detail, EngineEvent, EngineModel, Job, JobId, ModelIndex, Readings, Resident, Timing, What};

/// What a sequence does in the running iteration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    Nothing,
    Decode,
    Prefill(u32),
}

#[derive(Debug)]
struct Sequence {
    job: Job,
    timing: Timing,
    /// Tokens that must be computed before it decodes: the prompt, after a preemption with the output so far.
    target: u32,
    computed: u32,
    generated: u32,
    plan: Plan,
    started: bool,
}

impl Sequence {
    /// KV room it holds or needs, tokens.
    fn context(&self) -> u64 {
        u64::from(self.job.prompt_tokens) + u64::from(self.generated)
    }

    fn prefilling(&self) -> bool {
        self.computed < self.target
    }
}

/// The state of a vLLM-like engine.
#[derive(Debug)]
pub struct Vllm {
    spec: VllmSpec,
    now: Time,
    running: Vec<Sequence>,
    waiting: VecDeque<Sequence>,
    iteration_ends: Option<Time>,
    cache: Lru,
    counts: Readings,
    events: Vec<EngineEvent>,
}

impl Vllm {
    /// An idle engine at time zero.
    pub fn new(spec: VllmSpec) -> Vllm {
        Vllm {
            cache: Lru::new(spec.prefix_blocks),
            now: Time::ZERO,
            running: Vec::new(),
            waiting: VecDeque::new(),
            iteration_ends: None,
            counts: Readings::default(),
            events: Vec::new(),
            spec,
        }
    }

    fn kv_used(&self) -> u64 {
        self.running.iter().map(Sequence::context).sum()
    }

    fn run_to(&mut self, now: Time) {
        while let Some(at) = self.iteration_ends.filter(|&at| at <= now) {
            self.now = at;
            self.iteration_ends = None;
            self.finish_iteration();
            self.begin_iteration();
        }
        self.now = self.now.max(now);
    }

    fn begin_iteration(&mut self) {
        if self.iteration_ends.is_some() {
            return;
        }
        self.preempt();
        let (mut decoding, mut context) = (0_u32, 0_u64);
        for sequence in &mut self.running {
            sequence.plan = Plan::Nothing;
            if !sequence.prefilling() {
                sequence.plan = Plan::Decode;
                decoding += 1;
                context += sequence.context();
            }
        }
        let budget = self.spec.token_budget.max(1);
        let mut left = budget.saturating_sub(decoding);
        for sequence in self.running.iter_mut().filter(|sequence| sequence.prefilling()) {
            left -= plan_prefill(sequence, left);
        }
        while left > 0
            && let Some(mut sequence) = self.admit()
        {
            left -= plan_prefill(&mut sequence, left);
            self.running.push(sequence);
        }
        if self.running.is_empty() {
            return;
        }
        let prefill = budget.saturating_sub(decoding) - left;
        let spec = &self.spec;
        let millis = spec.base_ms
            + spec.per_sequence_ms * f64::from(decoding)
            + spec.per_prefill_ms * f64::from(prefill)
            + spec.per_context_ms * context as f64;
        self.iteration_ends = Some(self.now + Duration::from_secs_f64(millis / 1e3 / spec.speed));
    }

    /// Sends the newest sequences back until every decoding one has room for its next token.
    fn preempt(&mut self) {
        while self.running.len() > 1 {
            let growth = self.running.iter().filter(|sequence| !sequence.prefilling()).count() as u64;
            if self.kv_used() + growth <= self.spec.kv_tokens {
                return;
            }
            let Some(mut newest) = self.running.pop() else { return };
            newest.target = newest.job.prompt_tokens.max(1) + newest.generated;
            newest.computed = 0;
            self.counts.preemptions += 1;
            self.waiting.push_front(newest);
        }
    }

    /// Takes the head of the queue if there is room, with what the prefix cache already holds of it.
    fn admit(&mut self) -> Option<Sequence> {
        let need = self.waiting.front()?.context() + 1;
        let growth = self.running.len() as u64;
        let fits = self.kv_used() + growth + need <= self.spec.kv_tokens;
        let room = self.running.len() < self.spec.max_sequences.max(1);
        let alone = self.running.is_empty();
        if !alone && (!fits || !room) {
            return None;
        }
        let mut sequence = self.waiting.pop_front()?;
        let held = sequence.job.blocks.iter().take_while(|&&block| self.cache.contains(block)).count();
        let cached = (held as u32).saturating_mul(self.spec.block_tokens).min(sequence.target.saturating_sub(1));
        sequence.computed = cached;
        self.counts.prefix_queries += u64::from(sequence.job.prompt_tokens);
        self.counts.prefix_hits += u64::from(cached.min(sequence.job.prompt_tokens));
        if !sequence.started {
            sequence.started = true;
            sequence.timing.started = self.now;
            sequence.timing.cached_tokens = cached;
        }
        Some(sequence)
    }

    /// Hands out what the iteration computed.
    fn finish_iteration(&mut self) {
        let at = self.now;
        for sequence in &mut self.running {
            let was_prefilling = sequence.prefilling();
            match sequence.plan {
                Plan::Nothing => continue,
                Plan::Decode => {}
                Plan::Prefill(tokens) => sequence.computed += tokens,
            }
            if sequence.prefilling() {
                continue;
            }
            if was_prefilling {
                sequence.job.blocks.iter().rev().for_each(|&block| self.cache.touch(block));
            }
            let id = sequence.job.id;
            if sequence.generated == 0 {
                sequence.timing.first_token = at;
            }
            if sequence.generated < sequence.job.output_tokens {
                sequence.generated += 1;
                if sequence.generated == 1 {
                    self.events.push(EngineEvent { at, what: What::FirstToken(id) });
                }
                if self.spec.detail == Detail::Tokens {
                    self.events.push(EngineEvent { at, what: What::Tokens(id, sequence.generated) });
                }
            }
            if sequence.generated >= sequence.job.output_tokens {
                sequence.timing.done = at;
                self.events.push(EngineEvent { at, what: What::Done(id, sequence.timing) });
            }
        }
        self.running.retain(|sequence| sequence.prefilling() || sequence.generated < sequence.job.output_tokens);
    }
}

/// Plans the next chunk of a prompt; gives its length in tokens.
fn plan_prefill(sequence: &mut Sequence, left: u32) -> u32 {
    let chunk = (sequence.target - sequence.computed).min(left);
    sequence.plan = if chunk > 0 { Plan::Prefill(chunk) } else { Plan::Nothing };
    chunk
}

impl EngineModel for Vllm {
    fn submit(&mut self, now: Time, job: Job) {
        self.run_to(now);
        if job.model >= self.spec.models.len() {
            self.events.push(EngineEvent { at: now, what: What::Rejected(job.id) });
            return;
        }
        let timing = Timing { submitted: now, ready: now, started: now, first_token: now, done: now, cached_tokens: 0 };
        let target = job.prompt_tokens.max(1);
        let plan = Plan::Nothing;
        self.waiting.push_back(Sequence { job, timing, target, computed: 0, generated: 0, plan, started: false });
        self.begin_iteration();
    }

    fn cancel(&mut self, now: Time, job: JobId) -> bool {
        self.run_to(now);
        let before = self.running.len() + self.waiting.len();
        self.running.retain(|sequence| sequence.job.id != job);
        self.waiting.retain(|sequence| sequence.job.id != job);
        before != self.running.len() + self.waiting.len()
    }

    fn unload(&mut self, now: Time, _model: ModelIndex) {
        self.run_to(now);
    }

    fn set_speed(&mut self, now: Time, speed: f64) {
        self.run_to(now);
        self.spec.speed = speed.max(1e-6);
    }

    fn next_event(&self) -> Option<Time> {
        if self.events.is_empty() { self.iteration_ends } else { Some(self.now) }
    }

    fn advance(&mut self, now: Time) -> Vec<EngineEvent> {
        self.run_to(now);
        std::mem::take(&mut self.events)
    }

    fn readings(&self) -> Readings {
        let resident = |model| Resident { model, ready: true, expires: None };
        Readings {
            resident: (0..self.spec.models.len()).map(resident).collect(),
            running: self.running.len(),
            waiting: self.waiting.len(),
            kv_used: (self.kv_used() as f64 / self.spec.kv_tokens.max(1) as f64).min(1.0),
            slots: self.spec.max_sequences.max(1),
            ..self.counts.clone()
        }
    }
}
