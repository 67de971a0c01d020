//! `arriero modules`: what is compiled in, with options and defaults.

use std::process::ExitCode;

use super::{Format, ModulesArguments, say};
use crate::registry::ModuleEntry;

pub(super) fn modules(arguments: &ModulesArguments, modules: &[ModuleEntry]) -> ExitCode {
    if arguments.format == Format::Json {
        let rows: Vec<_> = modules
            .iter()
            .map(|module| {
                serde_json::json!({ "name": module.name, "summary": module.summary, "options": (module.defaults)() })
            })
            .collect();
        say(serde_json::to_string_pretty(&rows).unwrap_or_default());
        return ExitCode::SUCCESS;
    }
    for module in modules {
        say(format_args!("{}\n    {}", module.name, module.summary));
        match (module.defaults)().as_object().filter(|options| !options.is_empty()) {
            None => say("    no options"),
            Some(options) => options.iter().for_each(|(name, value)| say(format_args!("    {name}: {value}"))),
        }
    }
    ExitCode::SUCCESS
}
