//! Fake engines on loopback, one test per trap.
#![allow(clippy::unwrap_used)]

mod adapters;
mod asking;
mod checking;
mod detecting;
mod fake;
mod secure;
mod steering;
mod watching;
