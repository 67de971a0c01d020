//! The admin API: metrics, health, what runs, and changes at run time, on a listener of its own.
//!
//! | file | job |
//! |---|---|
//! | `control.rs` | the trait behind which the proxy is, its errors |
//! | `report.rs`, `explained.rs`, `stat.rs` | what is told |
//! | `order.rs` | what is asked for |

pub mod control;
mod explained;
mod gateway;
mod order;
mod report;
mod stat;

pub use control::{Control, ControlError};
pub use gateway::Steering;
