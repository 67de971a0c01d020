//! What is seen from outside: metrics and the access log.

pub mod access_log;
pub mod handles;
mod line;
pub mod metrics;
