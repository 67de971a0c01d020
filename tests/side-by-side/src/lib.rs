//! Side by side with HAProxy: the parts of the comparison, for its program.
//!
//! [`setup`] says one thing in two languages, [`proxy`] runs it, [`stage`] puts it between a client and counting
//! [`engine`]s, [`cases`] drive both sides with one script, [`report`] tells what came out.

pub mod cases;
pub mod counts;
pub mod engine;
pub mod proxy;
pub mod report;
mod served;
pub mod setup;
pub mod stage;
pub mod wire;
pub mod world;
