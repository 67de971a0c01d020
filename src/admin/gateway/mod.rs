//! The proxy as the admin API sees it.
//!
//! | file | job |
//! |---|---|
//! | `report.rs` | what runs |
//! | `figures.rs` | statistics, metrics |
//! | `change.rs` | endpoints, membership, balance, reload |
//! | `pins.rs` | the affinity tables |

mod change;
mod figures;
mod pins;
mod report;

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::control::{
    AffinityQuery, AffinityTable, Changed, Cleared, Control, ControlError, EndpointChange, EndpointReport, Expected,
    ExplainRequest, Explained, GenerationReport, StatRow, Status,
};
use crate::proxy::{Gateway, explain, local};

/// The gateway behind the admin API.
pub struct Steering(pub Arc<Gateway>);

#[async_trait]
impl Control for Steering {
    fn status(&self) -> Status {
        report::status(&self.0)
    }

    fn generation(&self) -> GenerationReport {
        report::generation(&self.0)
    }

    fn stats(&self) -> Vec<StatRow> {
        figures::stats(&self.0)
    }

    fn metrics(&self) -> String {
        figures::refresh_gauges(&self.0);
        self.0.metrics.render()
    }

    fn is_ready(&self) -> bool {
        local::is_ready(&self.0)
    }

    fn health_report(&self) -> Value {
        local::health_report(&self.0, &self.0.snapshot.load_full())
    }

    fn change_endpoint(&self, name: &str, change: &EndpointChange) -> Result<EndpointReport, ControlError> {
        change::endpoint(&self.0, name, change)?;
        self.endpoint(name)
    }

    async fn add_endpoint(&self, pool: &str, endpoint: Value, expected: Expected) -> Result<Changed, ControlError> {
        change::add(&self.0, pool, endpoint, expected)
    }

    async fn remove_endpoint(&self, name: &str, expected: Expected) -> Result<Changed, ControlError> {
        change::remove(&self.0, name, expected)
    }

    async fn set_balance(&self, route: &str, balance: Value, expected: Expected) -> Result<Changed, ControlError> {
        change::balance(&self.0, route, balance, expected)
    }

    async fn reload(&self, expected: Expected) -> Result<Changed, ControlError> {
        let gateway = self.0.clone();
        let reload = tokio::task::spawn_blocking(move || change::reload(&gateway, expected));
        reload.await.unwrap_or_else(|error| Err(ControlError::Failed(error.to_string())))
    }

    fn explain(&self, request: &ExplainRequest) -> Result<Explained, ControlError> {
        explain::explain(&self.0, request)
    }

    fn affinity(&self, query: &AffinityQuery) -> Result<AffinityTable, ControlError> {
        pins::table(&self.0, query)
    }

    fn clear_affinity(&self, query: &AffinityQuery) -> Result<Cleared, ControlError> {
        pins::clear(&self.0, query)
    }
}
