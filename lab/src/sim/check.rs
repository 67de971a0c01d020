//! What a scenario must be beyond its form: places that exist, parts within their ranges. The error says what was found.

use super::scenario::Scenario;

/// Checks a scenario.
pub(super) fn check(scenario: &Scenario) -> Result<(), String> {
    let engines: usize = scenario.fleet.iter().map(|group| group.count).sum();
    let models = scenario.served.as_ref().map_or(scenario.models.len(), |served| served.count);
    if engines == 0 || models == 0 {
        return Err("a fleet and a model are needed".into());
    }
    for group in &scenario.fleet {
        if !scenario.profiles.contains_key(&group.profile) {
            return Err(format!("fleet {}: no profile is called {}", group.name, group.profile));
        }
        if let Some(place) = group.preload.iter().find(|place| **place >= models) {
            return Err(format!("fleet {}: preload {place}, but {models} models are served", group.name));
        }
    }
    let cycle = scenario.served.iter().flat_map(|served| &served.cycle);
    if let Some(place) = cycle.clone().find(|place| **place >= scenario.models.len()) {
        return Err(format!("served: {place}, but the catalogue has {} models", scenario.models.len()));
    }
    if scenario.served.as_ref().is_some_and(|served| served.cycle.is_empty()) {
        return Err("served: an empty cycle".into());
    }
    for fault in &scenario.faults {
        if fault.endpoint >= engines || !(0.0..=1.0).contains(&fault.from) || !(fault.from..=1.0).contains(&fault.to) {
            return Err(format!("faults: {fault:?}, but there are {engines} engines, and 0 <= from <= to <= 1"));
        }
    }
    let workload = &scenario.workload;
    if workload.warm_up >= workload.requests || scenario.replicas == 0 {
        return Err(format!("{} requests, {} of them to warm up", workload.requests, workload.warm_up));
    }
    workload.popularity.check(models)?;
    workload.arrivals.check()
}
