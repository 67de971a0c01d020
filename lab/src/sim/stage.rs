//! A scenario made ready: traces read, requests of each seed made once, arms run on them.

use std::path::Path;
use std::sync::Arc;

use super::deployment::{Declared, Deployment};
use super::world::World;
use super::{Arm, Modules, Run, Scenario, engines};
use crate::workload::{self, Lengths, Request};

/// A scenario with its lengths.
#[derive(Clone)]
pub struct Stage {
    /// The scenario.
    pub scenario: Scenario,
    lengths: Lengths,
}

impl Stage {
    /// Reads what the scenario needs of the folder of traces; without one its generators serve.
    pub fn new(scenario: Scenario, traces: Option<&Path>) -> Result<Stage, String> {
        let lengths = workload::lengths(&scenario.workload.lengths, traces)?;
        Ok(Stage { scenario, lengths })
    }

    /// The same with another load.
    pub fn at_rho(&self, rho: f64) -> Result<Stage, String> {
        let mut stage = self.clone();
        stage.scenario.workload.arrivals.set_rho(rho)?;
        Ok(stage)
    }

    /// The same with its scenario compressed, to be run on compressed requests of this one ([`super::compress()`]).
    pub fn compressed(&self, scale: f64) -> Stage {
        Stage { scenario: self.scenario.compressed(scale), lengths: self.lengths.clone() }
    }

    /// The requests of a seed: the same for every arm.
    pub fn requests(&self, seed: u64) -> Result<Arc<[Request]>, String> {
        let capacity = engines::capacity(&self.scenario);
        workload::make(&self.scenario.workload, &self.lengths, &capacity, seed).map(Into::into)
    }

    /// Runs an arm on the requests of a seed.
    pub fn run(&self, arm: &Arm, seed: u64) -> Result<Run, String> {
        Ok(self.run_on(arm, seed, &self.requests(seed)?))
    }

    /// The same, on requests made before.
    pub fn run_on(&self, arm: &Arm, seed: u64, requests: &Arc<[Request]>) -> Run {
        self.drive(&Declared::new(&self.scenario, arm), arm, seed, requests)
    }

    /// Runs another set-up of the proxy than the scenario's own on its engines. `arm` gives the run its name and says
    /// what is different as a reference.
    pub fn drive(&self, deployment: &dyn Deployment, arm: &Arm, seed: u64, requests: &Arc<[Request]>) -> Run {
        World::new(&self.scenario, arm.reference.as_ref(), deployment, seed, requests).play(&arm.name)
    }

    /// The scenario's references as arms.
    pub fn references(&self, modules: &dyn Modules) -> Result<Vec<Arm>, String> {
        self.scenario.references.iter().map(|reference| Arm::of_reference(reference, modules)).collect()
    }
}
