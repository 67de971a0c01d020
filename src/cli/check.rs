//! `arriero check`: every error of a configuration at once, or what it comes down to.

use std::process::ExitCode;

use super::{CheckArguments, Format, config_path, fail, read_source, say};
use crate::config;
use crate::registry::ModuleEntry;

pub(super) fn check(arguments: &CheckArguments, modules: &[ModuleEntry]) -> ExitCode {
    let path = match config_path(&arguments.config) {
        Ok(path) => path,
        Err(words) => return fail(words),
    };
    let source = match read_source(&path) {
        Ok(source) => source,
        Err(error) => return fail(format!("{}: {error}", path.display())),
    };
    let loaded = config::load(&source, modules);
    for warning in loaded.iter().flat_map(|plan| &plan.warnings) {
        eprintln!("warning: {warning}");
    }
    match (loaded, arguments.format) {
        (Ok(plan), Format::Text) if arguments.dump => {
            say(plan.dump().trim_end());
            ExitCode::SUCCESS
        }
        (Ok(plan), Format::Json) if arguments.dump => match plan.dump_json() {
            Ok(text) => {
                say(text);
                ExitCode::SUCCESS
            }
            Err(error) => fail(error),
        },
        (Ok(_), Format::Json) => {
            say("[]");
            ExitCode::SUCCESS
        }
        (Ok(plan), Format::Text) => {
            let endpoints: usize = plan.pools.iter().map(|pool| pool.endpoints.len()).sum();
            let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
            say(format_args!(
                "{}: good: {}, {}, {}, {}",
                source.name,
                count(plan.listeners.len(), "listener"),
                count(plan.pools.len(), "pool"),
                count(endpoints, "endpoint"),
                count(plan.routes.len(), "route"),
            ));
            for route in &plan.routes {
                let pools: Vec<&str> = route.pools.iter().map(|(pool, _)| plan.pools[*pool].name.as_ref()).collect();
                let pools = pools.join(" + ");
                say(format_args!("  {} -> {pools}: {} ({})", route.name, route.balance.module, route.balance.why));
            }
            ExitCode::SUCCESS
        }
        (Err(errors), Format::Json) => {
            say(serde_json::to_string_pretty(&errors).unwrap_or_default());
            ExitCode::from(1)
        }
        (Err(errors), Format::Text) => {
            eprintln!("{}", config::render(&errors));
            ExitCode::from(1)
        }
    }
}
