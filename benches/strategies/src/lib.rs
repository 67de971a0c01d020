//! Strategies in virtual time: the modules that can be compared, and a plain table of what came out. And the check of
//! virtual time itself against real HTTP ([`agree`]).

pub mod agree;
mod modules;
pub mod robustness;
pub mod table;

pub use modules::Builtin;
