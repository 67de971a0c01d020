//! `balance` and `shadow`: a module that is compiled in, its options read by itself; and what `auto` stands for.
//!
//! Where a module is called `auto`, that module chooses while it runs. Without it, `auto` is resolved once, by what
//! the endpoints are declared to be.

use super::{below, near};
use crate::config::document::Document;
use crate::config::places::Path;
use crate::config::plan::{BalancePlan, EndpointPlan, EngineKind};
use crate::config::yaml;
use crate::registry::ModuleEntry;

/// The module named at `balance_at`, for a route whose pools hold these endpoints; left out: `auto`.
pub(super) fn check<'p>(
    text: &mut Document<'_>,
    balance_at: &Path,
    yaml: Option<&yaml::Balance>,
    endpoints: impl Iterator<Item = &'p EndpointPlan>,
    modules: &[ModuleEntry],
) -> Option<BalancePlan> {
    let written = yaml.map_or("auto", |balance| &balance.module);
    let own_auto = modules.iter().any(|module| module.name == "auto");
    let (name, why) = match written {
        "auto" if own_auto => ("auto", "by what the pool turns out to be"),
        "auto" => auto(endpoints),
        _ => (written, "configured"),
    };
    let Some(module) = modules.iter().find(|module| module.name == name) else {
        let names = modules.iter().map(|module| module.name);
        let finding = text.at(balance_at, format!("there is no module `{name}`"));
        near(finding, written, names.chain((!own_auto).then_some("auto")), "the name of a module");
        return None;
    };
    if yaml.is_some_and(|balance| balance.has_options) {
        if written != name {
            text.at(balance_at, "`auto` has no options").hint = Some("name a module to set its options".into());
            return None;
        }
        return (module.decode)(text, &below(balance_at, name));
    }
    match (module.plain)() {
        Ok(balance) => Some(BalancePlan { why: why.into(), ..balance }),
        Err(error) => {
            text.at(balance_at, format!("`{name}` needs options: {error}"));
            None
        }
    }
}

/// What `auto` stands for, and why.
fn auto<'p>(endpoints: impl Iterator<Item = &'p EndpointPlan>) -> (&'static str, &'static str) {
    let mut endpoints = endpoints.peekable();
    if endpoints.peek().is_some() && endpoints.all(|endpoint| endpoint.engine == EngineKind::Vllm) {
        ("least-connection", "auto: every endpoint is declared vllm, which keeps its one model loaded")
    } else {
        ("model-affinity", "auto: the engines may swap models")
    }
}
