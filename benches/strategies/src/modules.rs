//! The modules that can be compared, by name.

use std::sync::Arc;

use arriero_core::{Module, Strategy};
use arriero_lab::sim::{Made, Modules};
use serde_json::Value;

/// Those of this repository.
pub struct Builtin;

impl Modules for Builtin {
    fn make(&self, name: &str, options: &Value) -> Result<Made, String> {
        let known: &[Entry] = &[
            entry::<arriero_auto::Auto>(),
            entry::<arriero_first::First>(),
            entry::<arriero_hash::Hash>(),
            entry::<arriero_least_connection::LeastConnection>(),
            entry::<arriero_model_affinity::ModelAffinity>(),
            entry::<arriero_prefix_affinity::PrefixAffinity>(),
            entry::<arriero_queue_aware::QueueAware>(),
            entry::<arriero_random::Random>(),
            entry::<arriero_round_robin::RoundRobin>(),
            entry::<arriero_token_backlog::TokenBacklog>(),
        ];
        let found = known.iter().find(|(known, _)| *known == name);
        let names = || known.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        found.ok_or_else(|| format!("no module is called {name}; there are {}", names()))?.1(options)
    }
}

/// A module's name, and how it is made of its options.
type Entry = (&'static str, fn(&Value) -> Result<Made, String>);

fn entry<M: Module>() -> Entry {
    (M::NAME, made::<M>)
}

fn made<M: Module>(options: &Value) -> Result<Made, String> {
    build::<M>(options).map_err(|error| format!("{}: {error}", M::NAME))?;
    let (options, shown) = (options.clone(), options.clone());
    let build = move || build::<M>(&options).expect("these options were built once before");
    Ok(Made { module: M::NAME, options: shown, build: Arc::new(build) })
}

fn build<M: Module>(options: &Value) -> Result<Box<dyn Strategy>, String> {
    let options: M::Options = serde_json::from_value(options.clone()).map_err(|error| error.to_string())?;
    M::build(options)
}
