//! The run itself: one agenda of moments, the engines' next events beside it, and always the earliest first; of equal
//! moments the engines', then those planned first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use arriero_core::{Operation, Resolution, State, Time};

use super::deployment::Deployment;
use super::engines;
use super::exchange::{Ask, Attempt};
use super::proxies::Replica;
use super::scenario::{FaultKind, Profile, Reference, Scenario};
use super::{Record, Run};
use crate::fleet::Fleet as Engines;
use crate::model::{EngineEvent, ModelSpec, What};
use crate::workload::Request;

/// Something that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Planned {
    /// A request comes.
    Arrive(usize),
    /// A proxy's own deadline.
    Tick(usize),
    /// A load sample.
    Sample { proxy: usize, engine: usize },
    /// A health check.
    Check { proxy: usize, engine: usize },
    /// A health check's time is over.
    CheckFailed { proxy: usize, engine: usize },
    /// An engine breaks an attempt off.
    BreakOff(usize),
    /// An attempt's first byte is overdue.
    FirstByte(usize),
    /// An attempt's first byte is later than learned.
    Patience(usize),
    /// An attempt's next byte is overdue.
    NextByte(usize),
    /// A fault begins or ends.
    Fault { place: usize, begins: bool },
}

/// Everything of one run.
pub(super) struct World<'w> {
    pub(super) deployment: &'w dyn Deployment,
    pub(super) requests: &'w Arc<[Request]>,
    pub(super) models: Vec<ModelSpec>,
    pub(super) profiles: Vec<&'w Profile>,
    pub(super) engines: Engines,
    pub(super) replicas: Vec<Replica>,
    /// What ails each engine now.
    pub(super) faults: Vec<Option<FaultKind>>,
    pub(super) asks: Vec<Ask>,
    pub(super) attempts: Vec<Attempt>,
    pub(super) watch_rng: fastrand::Rng,
    pub(super) route_rng: fastrand::Rng,
    pub(super) seed: u64,
    pub(super) open: usize,
    scenario: &'w Scenario,
    reference: Option<&'w Reference>,
    agenda: BinaryHeap<Reverse<(Time, u64, Planned)>>,
    planned: u64,
    /// When each load since the warm-up's end began, seconds.
    loads_at_s: Vec<f64>,
    /// The most requests that waited at all proxies together.
    pub(super) queue_peak: usize,
}

impl<'w> World<'w> {
    /// At time zero, with nothing done yet.
    pub(super) fn new(
        scenario: &'w Scenario,
        reference: Option<&'w Reference>,
        deployment: &'w dyn Deployment,
        seed: u64,
        requests: &'w Arc<[Request]>,
    ) -> World<'w> {
        let seats = engines::seats(scenario);
        let urls: Vec<Arc<str>> = seats.iter().map(|seat| seat.url.clone()).collect();
        let count = reference.and_then(|reference| reference.replicas).unwrap_or(scenario.replicas);
        let own_seed = |number: usize| seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number as u64;
        World {
            deployment,
            requests,
            models: engines::models(scenario),
            profiles: seats.iter().map(|seat| seat.profile).collect(),
            engines: Engines::new(engines::build(scenario, reference)),
            replicas: (0..count).map(|number| Replica::new(own_seed(number), deployment, &urls)).collect(),
            faults: vec![None; seats.len()],
            asks: Vec::with_capacity(requests.len()),
            attempts: Vec::with_capacity(requests.len()),
            watch_rng: fastrand::Rng::with_seed(own_seed(1 << 20)),
            route_rng: fastrand::Rng::with_seed(own_seed(1 << 21)),
            seed,
            open: 0,
            scenario,
            reference,
            agenda: BinaryHeap::new(),
            planned: 0,
            loads_at_s: Vec::new(),
            queue_peak: 0,
        }
    }

    /// Notes what is due when.
    pub(super) fn plan(&mut self, at: Time, what: Planned) {
        self.planned += 1;
        self.agenda.push(Reverse((at, self.planned, what)));
    }

    /// Plays until every request has ended.
    pub(super) fn play(mut self, arm: &str) -> Run {
        self.plan_faults();
        self.meet();
        if let Some(first) = self.requests.first() {
            self.plan(first.at, Planned::Arrive(0));
        }
        let mut now = Time::ZERO;
        while self.open > 0 || self.asks.len() < self.requests.len() {
            let planned = self.agenda.peek().map(|Reverse((at, ..))| *at);
            let engine = self.engines.next_event().map(|(at, _)| at);
            if let Some(at) = engine.filter(|at| planned.is_none_or(|planned| *at <= planned)) {
                now = at;
                if let Some((engine, events)) = self.engines.step() {
                    events.iter().for_each(|event| self.engine_event(now, engine, event));
                }
            } else if let Some(Reverse((at, _, what))) = self.agenda.pop() {
                now = at;
                self.turn(now, what);
            } else {
                break;
            }
        }
        self.close(arm, now)
    }

    fn turn(&mut self, now: Time, what: Planned) {
        match what {
            Planned::Arrive(index) => {
                if let Some(next) = self.requests.get(index + 1) {
                    self.plan(next.at, Planned::Arrive(index + 1));
                }
                self.arrive(now, index);
            }
            Planned::Tick(proxy) => {
                if self.replicas[proxy].ticks_at == Some(now) {
                    self.replicas[proxy].ticks_at = None;
                    let settled = self.replicas[proxy].fleet.tick(now);
                    self.after(now, proxy, settled);
                }
            }
            Planned::Sample { proxy, engine } => self.sample_turn(now, proxy, engine),
            Planned::Check { proxy, engine } => self.check_turn(now, proxy, engine),
            Planned::CheckFailed { proxy, engine } => self.verdict(now, proxy, engine, false),
            Planned::BreakOff(attempt) => self.broken_off(now, attempt),
            Planned::FirstByte(attempt) => self.first_byte_late(now, attempt),
            Planned::Patience(attempt) => self.patience_over(now, attempt),
            Planned::NextByte(attempt) => self.next_byte_late(now, attempt),
            Planned::Fault { place, begins } => self.fault_turn(now, place, begins),
        }
    }

    fn engine_event(&mut self, now: Time, engine: usize, event: &EngineEvent) {
        match event.what {
            What::FirstToken(job) => self.first_token(now, job as usize),
            What::Done(job, timing) => self.done(now, engine, job as usize, &timing),
            What::Rejected(job) => self.turned_away(now, job as usize),
            What::LoadStarted(_) if self.asks.len() > self.scenario.workload.warm_up => {
                self.loads_at_s.push(now.0 as f64 / 1e6);
            }
            What::LoadStarted(_) => {}
            What::Tokens(..) | What::LoadDone(_) | What::Unloaded(_) => {}
        }
    }

    /// What a call of a proxy's fleet brought: slots for those who waited, endpoints that turned down, a new deadline.
    pub(super) fn after(&mut self, now: Time, proxy: usize, settled: Vec<Resolution>) {
        for Resolution { waiter, verdict } in settled {
            let Some(ask) = self.replicas[proxy].waiting.remove(&waiter) else { continue };
            match verdict {
                Ok(grant) => self.begin(now, ask, grant),
                Err(_) => self.refused(now, ask),
            }
        }
        for endpoint in self.replicas[proxy].fleet.turned() {
            self.cut(now, proxy, endpoint);
        }
        let replica = &mut self.replicas[proxy];
        if let Some(due) = replica.fleet.next_deadline().map(|at| at.max(now))
            && replica.ticks_at.is_none_or(|planned| due < planned)
        {
            replica.ticks_at = Some(due);
            self.plan(due, Planned::Tick(proxy));
        }
    }

    fn plan_faults(&mut self) {
        let span = self.requests.last().map_or(0.0, |last| last.at.0 as f64);
        let at = |part: f64| Time((span * part) as u64);
        for (place, fault) in self.scenario.faults.iter().enumerate() {
            self.plan(at(fault.from), Planned::Fault { place, begins: true });
            self.plan(at(fault.to), Planned::Fault { place, begins: false });
        }
    }

    fn fault_turn(&mut self, now: Time, place: usize, begins: bool) {
        let fault = &self.scenario.faults[place];
        let engine = fault.endpoint;
        let absent = self.reference.is_some_and(|reference| reference.absent);
        let kind = if absent { FaultKind::Absent } else { fault.kind };
        self.faults[engine] = begins.then_some(kind);
        let healthy = engines::seats(self.scenario)[engine].group.speed;
        match kind {
            FaultKind::FailFast(_) => {}
            FaultKind::Hang => {
                self.engines.set_speed(now, engine, if begins { FROZEN } else { healthy });
                if begins {
                    self.await_next_bytes(now, engine);
                }
            }
            FaultKind::Slow(times) => {
                self.engines.set_speed(now, engine, if begins { healthy / times } else { healthy })
            }
            FaultKind::Absent => {
                let state = if begins { State::Maint } else { State::Ready };
                for proxy in 0..self.replicas.len() {
                    let Some(endpoint) = self.replicas[proxy].endpoint(engine) else { continue };
                    let fleet = &mut self.replicas[proxy].fleet;
                    let mut settled = fleet.operate(now, endpoint, &[Operation::State(state)]);
                    if !begins {
                        settled.extend(fleet.probed(now, endpoint, true));
                    }
                    self.after(now, proxy, settled);
                }
            }
        }
    }

    fn close(self, arm: &str, now: Time) -> Run {
        let most = |engine: usize| {
            let counts = self.replicas.iter().filter_map(|replica| {
                let endpoint = replica.endpoint(engine)?;
                Some(replica.fleet.endpoints().get(endpoint)?.figures.most_in_flight)
            });
            counts.max().unwrap_or(0)
        };
        let records = self.asks.iter().enumerate().skip(self.scenario.workload.warm_up);
        Run {
            scenario: self.scenario.name.clone(),
            arm: arm.to_owned(),
            seed: self.seed,
            records: records.map(|(index, ask)| self.record(index, ask)).collect(),
            loads: self.loads_at_s.len() as u64,
            endpoints: engines::seats(self.scenario).iter().map(|seat| seat.name.to_string()).collect(),
            models: self.models.iter().map(|model| model.name.to_string()).collect(),
            queue_peak: self.queue_peak,
            loads_at_s: self.loads_at_s,
            most_in_flight: (0..self.profiles.len()).map(most).collect(),
            span_s: now.0 as f64 / 1e6,
        }
    }

    fn record(&self, index: usize, ask: &Ask) -> Record {
        let request = &self.requests[index];
        let seconds = |at: Time| (at - request.at).as_secs_f64();
        Record {
            index: index as u32,
            at_s: request.at.0 as f64 / 1e6,
            ttft_s: ask.first_token.map(seconds),
            e2e_s: ask.ended.map_or(0.0, seconds),
            endpoint: ask.engine.map(|engine| engine as u32),
            model: request.model as u32,
            attempts: ask.attempts,
            failed: ask.failed,
            prompt_tokens: request.prompt_tokens,
            output_tokens: request.output_tokens,
            cached_tokens: ask.cached_tokens,
        }
    }
}

/// The speed of an engine that hangs.
const FROZEN: f64 = 1e-6;
