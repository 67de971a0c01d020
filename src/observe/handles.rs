//! Ready-made handles to the series that nearly every request counts in, so that counting takes no lock.
//!
//! A label set that was met once is found again in a map that readers share without a lock; new ones are rare (a model
//! or endpoint seen for the first time on a route) and copy the map. Bounded as the labels themselves are.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus::{Histogram, IntCounter};

use super::metrics::Metrics;

/// One route's series.
pub struct RouteSeries {
    /// Seconds in the queue.
    pub queue: Histogram,
    answered: Known<IntCounter>,
    models: Known<ModelSeries>,
}

/// The series of one model on one route.
#[derive(Clone)]
pub struct ModelSeries {
    /// Seconds to the first token.
    pub ttft: Histogram,
    /// Seconds per token after it.
    pub tpot: Histogram,
    /// Seconds to the last byte.
    pub e2e: Histogram,
    /// Tokens read.
    pub prompt: IntCounter,
    /// Tokens written.
    pub output: IntCounter,
}

impl RouteSeries {
    /// The series of `route`.
    pub fn new(metrics: &Metrics, route: &str) -> RouteSeries {
        RouteSeries {
            queue: metrics.queue.with_label_values(&[route]),
            answered: Known::default(),
            models: Known::default(),
        }
    }

    /// Requests that `endpoint` answered with 2xx to the end.
    pub fn answered(&self, metrics: &Metrics, route: &str, endpoint: &str) -> Arc<IntCounter> {
        self.answered.get(endpoint, || metrics.requests.with_label_values(&[route, endpoint, "2xx", "--"]))
    }

    /// The series of `model`.
    pub fn model(&self, metrics: &Metrics, route: &str, model: &str) -> Arc<ModelSeries> {
        self.models.get(model, || ModelSeries {
            ttft: metrics.ttft.with_label_values(&[route, model]),
            tpot: metrics.tpot.with_label_values(&[route, model]),
            e2e: metrics.e2e.with_label_values(&[route, model]),
            prompt: metrics.tokens.with_label_values(&[route, model, "prompt"]),
            output: metrics.tokens.with_label_values(&[route, model, "output"]),
        })
    }
}

/// What was made once by name.
struct Known<T>(ArcSwap<HashMap<Box<str>, Arc<T>>>);

impl<T> Default for Known<T> {
    fn default() -> Self {
        Known(ArcSwap::default())
    }
}

impl<T> Known<T> {
    fn get(&self, name: &str, make: impl Fn() -> T) -> Arc<T> {
        if let Some(known) = self.0.load().get(name) {
            return known.clone();
        }
        let made = Arc::new(make());
        self.0.rcu(|known| {
            let mut more = HashMap::clone(known);
            more.entry(name.into()).or_insert_with(|| made.clone());
            more
        });
        made
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;

    #[test]
    fn handles_count_in_the_registered_series() {
        let metrics = Metrics::new().expect("metrics");
        let series = RouteSeries::new(&metrics, "r");
        series.answered(&metrics, "r", "gpu").inc();
        series.answered(&metrics, "r", "gpu").inc();
        series.model(&metrics, "r", "m").output.inc_by(7);
        assert_eq!(metrics.requests.with_label_values(&["r", "gpu", "2xx", "--"]).get(), 2);
        assert_eq!(metrics.tokens.with_label_values(&["r", "m", "output"]).get(), 7);
    }
}
