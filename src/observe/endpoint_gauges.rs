//! Gauges of endpoints, read from the fleet when the metrics are asked for.

use std::collections::HashMap;

use arriero_core::endpoint::{Endpoint, Endpoints, Health, State};
use arriero_core::{EndpointId, Time};
use parking_lot::Mutex;
use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry};

/// One gauge per endpoint and property.
pub struct EndpointGauges {
    in_flight: IntGaugeVec,
    cap: IntGaugeVec,
    up: IntGaugeVec,
    weight: GaugeVec,
    state: IntGaugeVec,
    ejected: IntGaugeVec,
    kv_used: GaugeVec,
    checks_failed: IntCounterVec,
    times_down: IntCounterVec,
    times_ejected: IntCounterVec,
    /// What of each endpoint's counts is in the counters: an endpoint that comes again counts from 0, its series go on.
    counted: Mutex<HashMap<EndpointId, [u64; 3]>>,
}

impl EndpointGauges {
    /// Registers them.
    ///
    /// # Errors
    /// Only if a name is taken: a mistake in this file.
    pub fn new(registry: &Registry) -> Result<EndpointGauges, prometheus::Error> {
        let whole = |name: &str, help: &str, labels: &[&str]| -> Result<IntGaugeVec, prometheus::Error> {
            let metric = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let share = |name: &str, help: &str| -> Result<GaugeVec, prometheus::Error> {
            let metric = GaugeVec::new(Opts::new(name, help), &["endpoint"])?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let counter = |name: &str, help: &str| -> Result<IntCounterVec, prometheus::Error> {
            let metric = IntCounterVec::new(Opts::new(name, help), &["endpoint"])?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let one = &["endpoint"][..];
        Ok(EndpointGauges {
            in_flight: whole("arriero_endpoint_in_flight", "Requests of ours that hold a slot.", one)?,
            cap: whole("arriero_endpoint_max_in_flight", "The cap in force; no series without one.", one)?,
            up: whole("arriero_endpoint_up", "1 if its checks pass.", one)?,
            weight: share("arriero_endpoint_weight", "The weight in force, with slow start.")?,
            state: whole("arriero_endpoint_state", "1 for the state that the operator set.", &["endpoint", "state"])?,
            ejected: whole("arriero_endpoint_ejected", "1 if it was taken out by what its requests showed.", one)?,
            kv_used: share(
                "arriero_endpoint_kv_used_ratio",
                "Share of the KV cache in use, as the engine reported it.",
            )?,
            checks_failed: counter("arriero_endpoint_checks_failed_total", "Health checks that failed.")?,
            times_down: counter("arriero_endpoint_down_total", "Times that it turned down.")?,
            times_ejected: counter("arriero_endpoint_ejections_total", "Times that it was ejected.")?,
            counted: Mutex::default(),
        })
    }

    /// Forgets the gauges of all endpoints, before they are set anew: endpoints that left vanish. Counters stay.
    pub fn reset(&self, known: &Endpoints) {
        self.counted.lock().retain(|id, _| known.get(*id).is_some());
        for metric in [&self.in_flight, &self.cap, &self.up, &self.state, &self.ejected] {
            metric.reset();
        }
        self.weight.reset();
        self.kv_used.reset();
    }

    /// Sets those of one endpoint.
    pub fn set(&self, endpoint: &Endpoint, now: Time) {
        let label = [endpoint.spec.name.as_ref()];
        self.in_flight.with_label_values(&label).set(i64::from(endpoint.in_flight()));
        if let Some(cap) = endpoint.cap(now) {
            self.cap.with_label_values(&label).set(i64::from(cap));
        }
        self.up.with_label_values(&label).set(i64::from(endpoint.health == Health::Up));
        self.weight.with_label_values(&label).set(endpoint.effective_weight(now));
        let state = match endpoint.state {
            State::Ready => "ready",
            State::Drain => "drain",
            State::Maint => "maint",
        };
        self.state.with_label_values(&[label[0], state]).set(1);
        self.ejected.with_label_values(&label).set(i64::from(endpoint.ejected_until > now));
        if let Some(used) = endpoint.sample.as_ref().and_then(|sample| sample.kv_used) {
            self.kv_used.with_label_values(&label).set(used);
        }
        let figures = &endpoint.figures;
        let seen = [figures.checks_failed, figures.times_down, figures.times_ejected];
        let before = self.counted.lock().insert(endpoint.id, seen).unwrap_or_default();
        for (place, counter) in [&self.checks_failed, &self.times_down, &self.times_ejected].into_iter().enumerate() {
            counter.with_label_values(&label).inc_by(seen[place].saturating_sub(before[place]));
        }
    }
}
