//! `arriero modules`: what is compiled in, with options and defaults.

use std::process::ExitCode;

use super::{Format, ModulesArguments};
use crate::registry::ModuleEntry;

pub(super) fn modules(arguments: &ModulesArguments, modules: &[ModuleEntry]) -> ExitCode {
    if arguments.format == Format::Json {
        let rows: Vec<_> = modules
            .iter()
            .map(|module| {
                serde_json::json!({ "name": module.name, "summary": module.summary, "options": (module.defaults)() })
            })
            .collect();
        println!("{}", serde_json::to_string_pretty(&rows).unwrap_or_default());
        return ExitCode::SUCCESS;
    }
    for module in modules {
        println!("{}\n    {}", module.name, module.summary);
        match (module.defaults)().as_object().filter(|options| !options.is_empty()) {
            None => println!("    no options"),
            Some(options) => options.iter().for_each(|(name, value)| println!("    {name}: {value}")),
        }
    }
    ExitCode::SUCCESS
}
