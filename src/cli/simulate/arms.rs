//! The compiled-in modules by name, for the simulator.

use std::sync::Arc;

use arriero_lab::sim::{Made, Modules};
use serde_json::{Value, json};

use crate::config;
use crate::registry::ModuleEntry;

/// The modules of this binary.
pub(super) struct Compiled<'m>(pub(super) &'m [ModuleEntry]);

impl Modules for Compiled<'_> {
    fn make(&self, name: &str, options: &Value) -> Result<Made, String> {
        let plain = options.as_object().is_none_or(serde_json::Map::is_empty);
        let balance = if plain { json!(name) } else { json!({ name: options }) };
        let plan = config::check_balance(self.0, &balance)?;
        let build = plan.build;
        Ok(Made { module: plan.module, options: options.clone(), build: Arc::new(move || build()) })
    }
}
