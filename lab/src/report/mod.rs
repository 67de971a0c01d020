//! A comparison told in three forms: JSON for programs, a table for terminals, one HTML file to keep and to send.
//!
//! All take the same `stats::Comparison`; nothing here counts. What was simulated says so in every form. A figure that
//! is not there is null in JSON and `-` elsewhere; a cell that diverges says that in place of its ratio.

mod bars;
mod curves;
mod format;
mod json;
mod page;
mod plot;
mod ratios;
pub mod robustness;
mod table;

#[cfg(test)]
mod tests;

pub use json::json;
pub use page::{Header, html};
pub use table::table;
