//! What the engine saw: counters and the fingerprints of the last bodies.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

/// A request body's fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BodySeen {
    /// The request header `x-lab-id`, if it was there.
    pub id: Option<String>,
    /// The request's path.
    pub path: String,
    /// Length in bytes.
    pub length: u64,
    /// xxh3 (64 bit) of the bytes.
    pub xxh3: u64,
}

/// Counts since the start. In-flight requests are inference requests between their body's end and their reply's end.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LabStats {
    /// Requests of any kind.
    pub requests: u64,
    /// Requests on inference paths.
    pub inference: u64,
    /// Jobs handed to the engine model.
    pub submitted: u64,
    /// Inference requests that are in flight now.
    pub in_flight: usize,
    /// The most that ever were.
    pub max_in_flight: usize,
    /// The most jobs that ever ran at once in the engine.
    pub max_running: usize,
    /// Inference requests whose client left before the end, or whose stream a fault cut.
    pub cancels: u64,
    /// Inference requests answered to the end.
    pub completed: u64,
    /// Requests spoiled by a fault.
    pub faulted: u64,
    /// Model loads begun.
    pub loads: u64,
    /// Requests per model name of the catalogue.
    pub per_model: BTreeMap<String, u64>,
    /// The last bodies of POST requests, oldest first.
    pub bodies: VecDeque<BodySeen>,
}

impl LabStats {
    /// The last body that came with this `x-lab-id`.
    pub fn body(&self, id: &str) -> Option<&BodySeen> {
        self.bodies.iter().rev().find(|body| body.id.as_deref() == Some(id))
    }

    pub(crate) fn remember(&mut self, body: BodySeen, keep: usize) {
        while self.bodies.len() >= keep.max(1) {
            self.bodies.pop_front();
        }
        self.bodies.push_back(body);
    }
}
