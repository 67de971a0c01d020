//! Prometheus metrics of the proxy, in a registry of their own.
//!
//! Labels are bounded: routes, pools and endpoints come from the configuration, models only from inventories (any
//! other name counts as `other`), end codes are a fixed set.

use prometheus::{
    Encoder, Gauge, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use parking_lot::Mutex;

use super::endpoint_gauges::EndpointGauges;
use super::figures::FigureSeries;

/// Every metric, registered once.
pub struct Metrics {
    registry: Registry,
    /// Held while gauges are read anew.
    pub rendering: Mutex<()>,
    /// What operators count per endpoint.
    pub figures: FigureSeries,
    /// How endpoints stand.
    pub of_endpoints: EndpointGauges,
    /// Requests that ended, by route, endpoint, status class and end code.
    pub requests: IntCounterVec,
    /// Attempts beyond the first, by route and what failed.
    pub retries: IntCounterVec,
    /// Tokens, by route, model and direction (`prompt`, `output`).
    pub tokens: IntCounterVec,
    /// Seconds in the pool's queue, by route.
    pub queue: HistogramVec,
    /// Seconds from arrival to the first token of the answer, by route and model.
    pub ttft: HistogramVec,
    /// Seconds per output token after the first, by route and model.
    pub tpot: HistogramVec,
    /// Seconds from arrival to the last byte, by route and model.
    pub e2e: HistogramVec,
    /// Requests in the queue, by pool.
    pub queued: IntGaugeVec,
    /// Open connections of clients, by listener.
    pub connections: IntGaugeVec,
    /// Connections beyond a listener's limit, by listener.
    pub connections_refused: IntCounterVec,
    /// Bytes of request bodies held in memory.
    pub body_bytes: IntGauge,
    /// The configuration generation that new requests see.
    pub generation: IntGauge,
    /// 1 if the last reload was applied.
    pub reload_ok: Gauge,
    /// Reloads, by result.
    pub reloads: IntCounterVec,
    /// Access-log lines that were dropped because the writer was too slow.
    pub log_dropped: IntGauge,
    /// Times that a strategy failed and least-connection stood in, by module.
    pub strategy_faults: IntCounterVec,
}

const FIRST_BYTE_SECONDS: &[f64] = &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];
const TOKEN_SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0];
const TOTAL_SECONDS: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0];

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// Only if two metrics share a name: a mistake in this file.
    pub fn new() -> Result<Metrics, prometheus::Error> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| -> Result<IntCounterVec, prometheus::Error> {
            let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let gauges = |name: &str, help: &str, label: &str| -> Result<IntGaugeVec, prometheus::Error> {
            let metric = IntGaugeVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let histogram = |name: &str, help: &str, labels: &[&str], buckets: &[f64]| {
            let metric = HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let metric = IntGauge::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let reload_ok = Gauge::new(
            "arriero_config_last_reload_successful",
            "1 if the last reload was applied, 0 if the old configuration was kept.",
        )?;
        registry.register(Box::new(reload_ok.clone()))?;
        Ok(Metrics {
            rendering: Mutex::new(()),
            figures: FigureSeries::new(&registry)?,
            of_endpoints: EndpointGauges::new(&registry)?,
            requests: counter(
                "arriero_requests_total",
                "Requests that ended.",
                &["route", "endpoint", "status", "end"],
            )?,
            retries: counter(
                "arriero_retries_total",
                "Attempts beyond the first, by what failed.",
                &["route", "cause"],
            )?,
            tokens: counter("arriero_tokens_total", "Tokens, as far as known.", &["route", "model", "direction"])?,
            strategy_faults: counter(
                "arriero_strategy_faults_total",
                "Times that a strategy failed and least-connection stood in.",
                &["module"],
            )?,
            queue: histogram("arriero_queue_seconds", "Time in the pool's queue.", &["route"], FIRST_BYTE_SECONDS)?,
            ttft: histogram(
                "arriero_ttft_seconds",
                "Time from arrival to the first token of the answer.",
                &["route", "model"],
                FIRST_BYTE_SECONDS,
            )?,
            tpot: histogram(
                "arriero_tpot_seconds",
                "Time per output token after the first.",
                &["route", "model"],
                TOKEN_SECONDS,
            )?,
            e2e: histogram(
                "arriero_e2e_seconds",
                "Time from arrival to the last byte.",
                &["route", "model"],
                TOTAL_SECONDS,
            )?,
            queued: gauges("arriero_pool_queued", "Requests in the pool's queue.", "pool")?,
            connections: gauges("arriero_connections", "Open connections of clients.", "listener")?,
            connections_refused: counter(
                "arriero_connections_refused_total",
                "Connections beyond a listener's limit.",
                &["listener"],
            )?,
            body_bytes: gauge("arriero_body_buffer_bytes", "Request bodies held in memory.")?,
            log_dropped: gauge(
                "arriero_access_log_dropped_lines",
                "Access-log lines dropped since the log was opened.",
            )?,
            generation: gauge("arriero_config_generation", "The configuration that new requests see.")?,
            reload_ok,
            reloads: counter("arriero_reloads_total", "Reloads, by result.", &["result"])?,
            registry,
        })
    }

    /// The text format.
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            log::error!("metrics cannot be rendered: {error}");
        }
        String::from_utf8(text).unwrap_or_default()
    }
}
