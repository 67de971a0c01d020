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

/// Work that reads files and waits for locks, off the threads that serve requests.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ControlError> + Send + 'static,
) -> Result<T, ControlError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(ControlError::Failed(error.to_string())))
}

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
        figures::metrics(&self.0)
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
        let (gateway, pool) = (self.0.clone(), pool.to_owned());
        aside(move || change::add(&gateway, &pool, &endpoint, expected)).await
    }

    async fn remove_endpoint(&self, name: &str, expected: Expected) -> Result<Changed, ControlError> {
        let (gateway, name) = (self.0.clone(), name.to_owned());
        aside(move || change::remove(&gateway, &name, expected)).await
    }

    async fn set_balance(&self, route: &str, balance: Value, expected: Expected) -> Result<Changed, ControlError> {
        let (gateway, route) = (self.0.clone(), route.to_owned());
        aside(move || change::balance(&gateway, &route, &balance, expected)).await
    }

    async fn reload(&self, expected: Expected) -> Result<Changed, ControlError> {
        let gateway = self.0.clone();
        aside(move || change::reload(&gateway, expected)).await
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
