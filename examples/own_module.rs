//! A balancing module from outside the tree, in a binary of its own: the whole of Arriero plus one rule.
//!
//! The rule, `alphabetical`: of the endpoints that are free, the one whose name comes first (or last) in the alphabet.
//! A toy, but complete: this file is all that an own rule takes. In a project of your own, Cargo.toml needs `arriero`,
//! `arriero-core`, `schemars`, `serde` (with `derive`) and `serde_json`, and the file is its `src/main.rs`.
//!
//! ```yaml
//! routes:
//!   - { pool: home, balance: { alphabetical: { reverse: true } } }
//! ```
//!
//! Try it: `cargo run --example own_module -- modules` lists it beside the built-in ones; `run`, `check`, `schema` and
//! the rest of the command line know it too. Signals it reads: names and weights only, so none can be missing.

use std::process::ExitCode;

use arriero_core::{Context, Module, Pick, RequestFacts, Strategy};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

fn main() -> ExitCode {
    // As many own modules as you like, each one entry in this list.
    arriero::main_with(&[arriero::module::<Alphabetical>()])
}

/// The module: what Arriero must know before there is a strategy. It holds nothing.
pub struct Alphabetical;

/// What stands below `alphabetical:` in YAML. The attributes are part of the contract: every option has a default, an
/// unknown one is an error with file, line and column, and names are kebab-case. The comments become the JSON Schema.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Options {
    /// Take the last name instead of the first. Default false.
    pub reverse: bool,
}

impl Module for Alphabetical {
    const NAME: &'static str = "alphabetical";
    const SUMMARY: &'static str = "the free endpoint whose name comes first in the alphabet";
    type Options = Options;

    /// Called for every check of a configuration and for every route that uses the module. An option out of its range
    /// is an `Err` that says what was found and what is allowed; a flag has no range.
    fn build(options: Options) -> Result<Box<dyn Strategy>, String> {
        Ok(Box::new(ByName { options }))
    }
}

/// One route's strategy. A rule that learns keeps its state here and changes it in `observe`.
struct ByName {
    options: Options,
}

impl Strategy for ByName {
    /// Called under the pool's lock, so: no I/O, no waiting. `cx.free()` are the endpoints that are up, have the model,
    /// speak the path and have a free slot. With none of them the request waits; it is asked about again later.
    fn pick(&self, _request: &RequestFacts, cx: &mut Context<'_>) -> Pick {
        let ready = cx.free().filter(|endpoint| endpoint.spec.weight > 0);
        let name = |endpoint: &&arriero_core::endpoint::Endpoint| endpoint.spec.name.clone();
        let chosen = if self.options.reverse { ready.max_by_key(name) } else { ready.min_by_key(name) };
        let Some(endpoint) = chosen else { return Pick::Wait };
        // What `x-arriero-reason` shows, where it is asked for.
        if let Some(explain) = cx.explain.as_deref_mut() {
            let place = if self.options.reverse { "last" } else { "first" };
            explain.summary = format!("{}: {place} in the alphabet", endpoint.spec.name);
        }
        Pick::Endpoint(endpoint.id)
    }

    /// The options in force. A reload keeps a strategy, and what it learned, if these are the same.
    fn options(&self) -> serde_json::Value {
        serde_json::json!({ "reverse": self.options.reverse })
    }
}
