//! The one list of compiled-in modules, and how a module's options are read with their places kept.
//!
//! A new module = its folder, one dependency line, one line in [`builtin`]. A module from outside the tree joins by
//! `arriero::main_with(&[arriero::module::<MyModule>()])`.

use std::sync::Arc;

use arriero_core::Module;
use schemars::{Schema, SchemaGenerator};

use crate::config::{BalancePlan, Document};

/// One module, its types erased: everything behind it is a plain function made for the module's own types.
#[derive(Clone, Copy)]
pub struct ModuleEntry {
    /// Its name in YAML.
    pub name: &'static str,
    /// One line for `arriero modules`.
    pub summary: &'static str,
    /// The schema of its options.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    /// Its options' defaults.
    pub defaults: fn() -> serde_json::Value,
    /// Reads the options at a path of a text and builds once to check them. `None`: the text's findings say why.
    pub decode: fn(&mut Document<'_>, &[String]) -> Option<BalancePlan>,
    /// Builds from defaults. The error is the module's.
    pub plain: fn() -> Result<BalancePlan, String>,
}

/// The entry of a module.
pub const fn module<M: Module>() -> ModuleEntry {
    ModuleEntry {
        name: M::NAME,
        summary: M::SUMMARY,
        schema: |generator| generator.subschema_for::<M::Options>(),
        defaults: || serde_json::to_value(M::Options::default()).unwrap_or_default(),
        decode: decode::<M>,
        plain: || balance::<M>(&M::Options::default()),
    }
}

/// The modules of this binary.
pub fn builtin() -> Vec<ModuleEntry> {
    vec![
        module::<arriero_auto::Auto>(),
        module::<arriero_round_robin::RoundRobin>(),
        module::<arriero_least_connection::LeastConnection>(),
        module::<arriero_first::First>(),
        module::<arriero_random::Random>(),
        module::<arriero_hash::Hash>(),
        module::<arriero_model_affinity::ModelAffinity>(),
        module::<arriero_queue_aware::QueueAware>(),
        module::<arriero_prefix_affinity::PrefixAffinity>(),
        module::<arriero_token_backlog::TokenBacklog>(),
    ]
}

/// What is sound of the options is built even if some of them could not be read: a range error is not to wait for that.
fn decode<M: Module>(document: &mut Document<'_>, path: &[String]) -> Option<BalancePlan> {
    let options = document.read_at::<M::Options>(path)?;
    let built = balance::<M>(&options);
    if let Err(error) = &built {
        document.at_key(path, format!("`{}`: {error}", M::NAME));
    }
    built.ok().filter(|_| !document.is_damaged(path))
}

/// Options travel as JSON, so that a strategy can be made as often as it is needed; made once here, so that it can.
fn balance<M: Module>(options: &M::Options) -> Result<BalancePlan, String> {
    let json = serde_json::to_value(options).map_err(|error| error.to_string())?;
    let first = build::<M>(json.clone())?;
    let options = first.options();
    let build = Arc::new(move || build::<M>(json.clone()).expect("these options were built when they were checked"));
    Ok(BalancePlan { module: M::NAME, options, build, why: "configured".into() })
}

fn build<M: Module>(options: serde_json::Value) -> Result<Box<dyn arriero_core::Strategy>, String> {
    let options: M::Options = serde_json::from_value(options).map_err(|error| error.to_string())?;
    M::build(options)
}
