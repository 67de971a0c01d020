//! The first driver: several engine models in virtual time, as fast as the machine can count.
//!
//! [`Fleet`] keeps the engines' next events in a heap and always lives through the earliest; equal moments go by
//! endpoint. [`Fleet::run`] feeds arrivals through a deciding closure and runs until nothing is left.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use arriero_core::time::Time;

use crate::model::{EngineEvent, EngineModel, Job, JobId, Timing, What};

/// A job and when it comes. Job ids must be unique in the fleet.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// When it comes.
    pub at: Time,
    /// What it asks for.
    pub job: Job,
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Which job.
    pub job: JobId,
    /// Where it was.
    pub endpoint: usize,
    /// Where its time went; `None` if the engine refused it.
    pub timing: Option<Timing>,
}

/// Engines in virtual time, named by their place in the list.
pub struct Fleet {
    engines: Vec<Box<dyn EngineModel>>,
    versions: Vec<u64>,
    due: BinaryHeap<Reverse<(Time, usize, u64)>>,
}

impl Fleet {
    /// A fleet at time zero.
    pub fn new(engines: Vec<Box<dyn EngineModel>>) -> Fleet {
        let versions = vec![0; engines.len()];
        let mut fleet = Fleet { engines, versions, due: BinaryHeap::new() };
        (0..fleet.engines.len()).for_each(|endpoint| fleet.plan(endpoint));
        fleet
    }

    /// One engine, to read its state.
    pub fn engine(&self, endpoint: usize) -> &dyn EngineModel {
        &*self.engines[endpoint]
    }

    /// How many engines there are.
    pub fn len(&self) -> usize {
        self.engines.len()
    }

    /// True without any engine.
    pub fn is_empty(&self) -> bool {
        self.engines.is_empty()
    }

    /// Submits a job; `now` must not lie behind any event already lived through.
    pub fn submit(&mut self, now: Time, endpoint: usize, job: Job) {
        self.engines[endpoint].submit(now, job);
        self.plan(endpoint);
    }

    /// Cancels a job. False if it was not there.
    pub fn cancel(&mut self, now: Time, endpoint: usize, job: JobId) -> bool {
        let found = self.engines[endpoint].cancel(now, job);
        self.plan(endpoint);
        found
    }

    /// Changes an engine's speed (1 = as specified).
    pub fn set_speed(&mut self, now: Time, endpoint: usize, speed: f64) {
        self.engines[endpoint].set_speed(now, speed);
        self.plan(endpoint);
    }

    /// When something happens next, and where.
    pub fn next_event(&mut self) -> Option<(Time, usize)> {
        while let Some(&Reverse((at, endpoint, version))) = self.due.peek() {
            if self.versions[endpoint] == version {
                return Some((at, endpoint));
            }
            self.due.pop();
        }
        None
    }

    /// Lives through the next event of the fleet.
    pub fn step(&mut self) -> Option<(usize, Vec<EngineEvent>)> {
        let (at, endpoint) = self.next_event()?;
        let events = self.engines[endpoint].advance(at);
        self.plan(endpoint);
        Some((endpoint, events))
    }

    /// Sends each arrival (in order of time) where `decide` says, and runs until every engine is done.
    pub fn run(
        &mut self,
        arrivals: impl IntoIterator<Item = Arrival>,
        mut decide: impl FnMut(&Fleet, &Arrival) -> usize,
    ) -> Vec<Finished> {
        let mut finished = Vec::new();
        let mut arrivals = arrivals.into_iter().peekable();
        loop {
            let next = self.next_event();
            let first = |arrival: &Arrival| next.is_none_or(|(at, _)| arrival.at < at);
            if let Some(arrival) = arrivals.next_if(first) {
                let endpoint = decide(self, &arrival);
                self.submit(arrival.at, endpoint, arrival.job);
            } else if let Some((endpoint, events)) = self.step() {
                finished.extend(events.iter().filter_map(|event| ending(endpoint, event)));
            } else {
                return finished;
            }
        }
    }

    fn plan(&mut self, endpoint: usize) {
        self.versions[endpoint] += 1;
        if let Some(at) = self.engines[endpoint].next_event() {
            self.due.push(Reverse((at, endpoint, self.versions[endpoint])));
        }
    }
}

fn ending(endpoint: usize, event: &EngineEvent) -> Option<Finished> {
    match event.what {
        What::Done(job, timing) => Some(Finished { job, endpoint, timing: Some(timing) }),
        What::Rejected(job) => Some(Finished { job, endpoint, timing: None }),
        _ => None,
    }
}
