//! The admin API: metrics, health, what runs, and changes at run time, on a listener of its own.
//!
//! | file | job |
//! |---|---|
//! | `control.rs` | the trait behind which the proxy is, and its errors |
//! | `report.rs`, `endpoint.rs`, `explained.rs`, `stat.rs` | what is told |
//! | `order.rs` | what is asked for |
//! | `reads.rs`, `changes.rs`, `reply.rs` | handlers; JSON both ways |
//! | `router.rs` | the routes and the OpenAPI document |
//! | `guard.rs` | token, and pages of other sites |
//! | `bind.rs`, `serve.rs` | listening |
//! | `page.rs`, `page.html` | the status page |
//! | [`gateway`] | the proxy behind it: all that the above do not know |

mod bind;
mod changes;
pub mod control;
mod endpoint;
mod explained;
mod gateway;
mod guard;
mod order;
mod page;
mod reads;
mod reply;
mod report;
mod router;
mod serve;
mod stat;
#[cfg(test)]
pub(crate) mod tests;

pub use bind::{AdminBind, AdminListener, SocketFile};
pub use control::{Control, ControlError};
pub use gateway::Steering;
pub use guard::Token;
pub use reply::{ErrorBody, ErrorWords};
pub use router::document;
pub use serve::{serve, serve_on};
pub use stat::csv;
