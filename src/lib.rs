//! Arriero stands in front of a fleet of LLM inference engines and decides, request by request, which one answers.
//!
//! # The way of a request
//! 1. [`listeners`] are open; [`proxy::connection`] accepts, [`proxy::gate`] judges the raw header.
//! 2. [`proxy::admit`] takes the [`snapshot`] once, asks who it is ([`edge`]), reads the body ([`proxy::body`]), finds the
//!    route.
//! 3. [`dialect`] makes facts of it: model, stream, length; nothing is re-encoded.
//! 4. [`proxy::attempt`] asks the fleet ([`upstream::herd`]) for a slot; the route's strategy picks, or it waits.
//! 5. The original bytes go out through [`proxy::shim`], again and whole on each retry ([`proxy::fail`]).
//! 6. [`proxy::answer`] passes the answer on, noting first byte and usage.
//! 7. [`proxy::finish`] gives the slot back, counts, and writes one line.
//!
//! Beside it: [`config`] makes a checked plan of YAML, [`bind`] and [`reload`] apply it, [`engine`] asks engines about
//! themselves, [`admin`] shows what goes on.

pub mod admin;
pub mod bind;
pub mod changes;
pub mod config;
pub mod dialect;
pub mod edge;
pub mod engine;
pub mod history;
pub mod learned;
pub mod listeners;
pub mod observe;
pub mod proxy;
pub mod registry;
pub mod reload;
pub mod server;
pub mod snapshot;
pub mod upstream;

mod cli;

pub use registry::{ModuleEntry, module};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs the command line with the built-in modules and `more`: how an own module gets into an own binary.
pub fn main_with(more: &[ModuleEntry]) -> std::process::ExitCode {
    let mut modules = registry::builtin();
    modules.extend(more.iter().cloned());
    cli::main(modules)
}
