//! What is seen from outside: metrics, an operator's figures and the access log.

pub mod access_log;
mod endpoint_gauges;
pub mod figures;
pub mod handles;
mod line;
pub mod metrics;
