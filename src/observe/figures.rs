//! What an operator of HAProxy looks for beside the metrics: counts and averages of one endpoint or one route.
//!
//! Counts only rise; they live by name, so that a reload resets none. Those of endpoints are Prometheus series at the same
//! time. Averages are over about the last [`WINDOW`] requests: the sum gives up its own share with each new value.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arriero_core::Outcome;
use parking_lot::Mutex;
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

/// Requests that an average looks back on.
const WINDOW: u64 = 1024;

/// Values of the label `event`.
const EVENTS: [&str; 7] =
    ["started", "connect_error", "response_error", "retried", "redispatched", "client_abort", "server_abort"];
/// Values of the label `code`.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The series of all endpoints: one counter per endpoint and kind.
pub struct FigureSeries {
    counts: IntCounterVec,
    responses: IntCounterVec,
    bytes: IntCounterVec,
}

impl FigureSeries {
    /// Registers them.
    ///
    /// # Errors
    /// Only if a name is taken: a mistake in this file.
    pub fn new(registry: &Registry) -> Result<FigureSeries, prometheus::Error> {
        let register = |name: &str, help: &str, label: &str| -> Result<IntCounterVec, prometheus::Error> {
            let metric = IntCounterVec::new(Opts::new(name, help), &["endpoint", label])?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        Ok(FigureSeries {
            counts: register(
                "arriero_endpoint_attempts_total",
                "Attempts at an endpoint (started), and how some of them ended.",
                "event",
            )?,
            responses: register("arriero_endpoint_responses_total", "Answers of an endpoint.", "code")?,
            bytes: register(
                "arriero_endpoint_bytes_total",
                "Bytes of body to (in) and from (out) an endpoint.",
                "direction",
            )?,
        })
    }

    fn forget(&self, endpoint: &str) {
        for event in EVENTS {
            let _ = self.counts.remove_label_values(&[endpoint, event]); // it may never have been there
        }
        for class in CLASSES {
            let _ = self.responses.remove_label_values(&[endpoint, class]);
        }
        for direction in ["in", "out"] {
            let _ = self.bytes.remove_label_values(&[endpoint, direction]);
        }
    }

    fn figures(&self, endpoint: &str) -> Figures {
        let count = |event: &str| self.counts.with_label_values(&[endpoint, event]);
        let code = |class: &str| self.responses.with_label_values(&[endpoint, class]);
        let bytes = |direction: &str| self.bytes.with_label_values(&[endpoint, direction]);
        Figures {
            started: count("started"),
            connect_errors: count("connect_error"),
            response_errors: count("response_error"),
            retries: count("retried"),
            redispatches: count("redispatched"),
            client_aborts: count("client_abort"),
            server_aborts: count("server_abort"),
            responses: CLASSES.map(code),
            bytes_in: bytes("in"),
            bytes_out: bytes("out"),
            ..Figures::default()
        }
    }
}

/// Counts and averages of one endpoint or one route.
pub struct Figures {
    /// Attempts, or requests.
    pub started: IntCounter,
    /// Requests of a route that are being served.
    now: AtomicU64,
    /// The most of them at once.
    most: AtomicU64,
    /// No connection.
    pub connect_errors: IntCounter,
    /// Failed before or during its answer.
    pub response_errors: IntCounter,
    /// Sent once more to the same endpoint, on a new connection.
    pub retries: IntCounter,
    /// Sent to another endpoint after this one failed.
    pub redispatches: IntCounter,
    /// Clients that left.
    pub client_aborts: IntCounter,
    /// Answers that the engine broke off.
    pub server_aborts: IntCounter,
    /// Answers by class of status: 1xx to 5xx.
    pub responses: [IntCounter; 5],
    /// Bytes of request bodies.
    pub bytes_in: IntCounter,
    /// Bytes of answers.
    pub bytes_out: IntCounter,
    /// Output tokens.
    pub tokens: IntCounter,
    /// In the queue.
    pub queue: Average,
    /// To connect.
    pub connect: Average,
    /// Connection to first byte of the answer's body.
    pub response: Average,
    /// Arrival to first token.
    pub ttft: Average,
    /// Arrival to last byte.
    pub total: Average,
}

impl Default for Figures {
    fn default() -> Self {
        Figures {
            started: unnamed(),
            now: AtomicU64::new(0),
            most: AtomicU64::new(0),
            connect_errors: unnamed(),
            response_errors: unnamed(),
            retries: unnamed(),
            redispatches: unnamed(),
            client_aborts: unnamed(),
            server_aborts: unnamed(),
            responses: std::array::from_fn(|_| unnamed()),
            bytes_in: unnamed(),
            bytes_out: unnamed(),
            tokens: unnamed(),
            queue: Average::default(),
            connect: Average::default(),
            response: Average::default(),
            ttft: Average::default(),
            total: Average::default(),
        }
    }
}

/// A counter that is in no registry.
#[expect(clippy::expect_used, reason = "a constant, valid name")]
fn unnamed() -> IntCounter {
    IntCounter::new("figure", "Not registered.").expect("a valid name")
}

impl Figures {
    /// A request comes; it goes when the returned value does.
    pub fn enter(self: Arc<Self>) -> Entered {
        self.started.inc();
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(now, Ordering::Relaxed);
        Entered(self)
    }

    /// Requests that are being served, and the most that ever were at once.
    pub fn live(&self) -> (u64, u64) {
        (self.now.load(Ordering::Relaxed), self.most.load(Ordering::Relaxed))
    }

    /// An attempt ended so.
    pub fn ended(&self, outcome: Outcome) {
        match outcome {
            Outcome::ConnectFailed => self.connect_errors.inc(),
            Outcome::Busy | Outcome::Timeout | Outcome::UpstreamError => self.response_errors.inc(),
            Outcome::MidStream => {
                self.response_errors.inc();
                self.server_aborts.inc();
            }
            Outcome::ClientGone => self.client_aborts.inc(),
            Outcome::Complete | Outcome::Rejected => {}
        }
    }

    /// An answer of this status came.
    pub fn answered(&self, status: u16) {
        if let Some(counter) = (status / 100).checked_sub(1).and_then(|class| self.responses.get(usize::from(class))) {
            counter.inc();
        }
    }
}

/// A request of a route that is being served.
pub struct Entered(Arc<Figures>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A mean over about the last [`WINDOW`] values.
#[derive(Debug, Default)]
pub struct Average {
    /// Sum of the values in the window, in microseconds.
    sum: AtomicU64,
    count: AtomicU64,
}

impl Average {
    /// One more value.
    pub fn add(&self, span: Duration) {
        let value = u64::try_from(span.as_micros()).unwrap_or(u64::MAX >> 16);
        let full = self.count.fetch_add(1, Ordering::Relaxed) >= WINDOW;
        let step = |sum: u64| Some(if full { sum - sum / WINDOW + value } else { sum.saturating_add(value) });
        let _ = self.sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
    }

    /// Milliseconds; `None` before the first value.
    pub fn millis(&self) -> Option<f64> {
        let count = self.count.load(Ordering::Relaxed).min(WINDOW);
        (count > 0).then(|| self.sum.load(Ordering::Relaxed) as f64 / count as f64 / 1000.0)
    }
}

/// The figures of everything that has a name; kept over reloads.
#[derive(Default)]
pub struct AllFigures {
    endpoints: Mutex<HashMap<Arc<str>, Arc<Figures>>>,
    routes: Mutex<HashMap<Arc<str>, Arc<Figures>>>,
}

impl AllFigures {
    /// An endpoint's.
    pub fn endpoint(&self, series: &FigureSeries, name: &Arc<str>) -> Arc<Figures> {
        let mut known = self.endpoints.lock();
        known.entry(name.clone()).or_insert_with(|| Arc::new(series.figures(name))).clone()
    }

    /// Forgets endpoints that no configuration names any more; whoever still runs there counts on unseen.
    pub fn keep(&self, series: &FigureSeries, is_named: impl Fn(&str) -> bool) {
        self.endpoints.lock().retain(|name, _| {
            let stays = is_named(name);
            if !stays {
                series.forget(name);
            }
            stays
        });
    }

    /// A route's.
    pub fn route(&self, name: &Arc<str>) -> Arc<Figures> {
        self.routes.lock().entry(name.clone()).or_default().clone()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;

    #[test]
    fn an_average_follows_the_last_thousand_values() {
        let average = Average::default();
        assert_eq!(average.millis(), None);
        average.add(Duration::from_millis(10));
        average.add(Duration::from_millis(30));
        assert_eq!(average.millis(), Some(20.0));
        for _ in 0..20 * WINDOW {
            average.add(Duration::from_millis(5));
        }
        assert!(average.millis().is_some_and(|mean| (mean - 5.0).abs() < 0.1), "{:?}", average.millis());
    }

    #[test]
    fn an_endpoints_counts_are_series() {
        let registry = Registry::new();
        let series = FigureSeries::new(&registry).expect("names");
        let all = AllFigures::default();
        all.endpoint(&series, &"gpu".into()).ended(Outcome::MidStream);
        all.endpoint(&series, &"gpu".into()).answered(503);
        all.endpoint(&series, &"gpu".into()).answered(0);
        let figures = all.endpoint(&series, &"gpu".into());
        assert_eq!((figures.server_aborts.get(), figures.response_errors.get()), (1, 1));
        assert_eq!(figures.responses.each_ref().map(IntCounter::get), [0, 0, 0, 0, 1]);
        assert_eq!(series.counts.with_label_values(&["gpu", "server_abort"]).get(), 1);
    }
}
