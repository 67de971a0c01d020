//! What is compared: the compiled-in modules by name, and the usual set of a scenario.

use std::sync::Arc;

use arriero_lab::sim::{self, Arm, Made, Modules, Stage};
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

/// The baseline, then those that the list names; an empty list: round robin, two random choices, late binding, the module
/// that the scenario judges, and the scenario's references.
pub(super) fn chosen(list: &str, stage: &Stage, modules: &Compiled<'_>) -> Result<Vec<Arm>, String> {
    let mut names = sim::split_list(list);
    let usual = names.is_empty();
    if usual {
        names.extend(["round-robin", "random", "late-fifo"].map(str::to_owned));
        names.extend(stage.scenario.judged.iter().map(|judged| judged.module.clone()));
    }
    let mut arms = vec![Arm::baseline(modules)?];
    for name in names.iter().filter(|name| *name != sim::BASELINE) {
        let reference = stage.scenario.references.iter().find(|reference| reference.name == *name);
        arms.push(match reference {
            Some(reference) => Arm::of_reference(reference, modules)?,
            None => Arm::parse(name, modules)?,
        });
    }
    if usual {
        arms.extend(stage.references(modules)?);
    }
    Ok(arms)
}
