//! Changes at run time. Weight, cap and state are an operator's word to the fleet, and survive reloads; membership and
//! balance are edits of the plan in force, which make a new generation, and end with the next reload of the file.

use std::sync::Arc;

use arriero_core::endpoint::State;
use arriero_core::{EndpointId, Operation};
use serde_json::Value;

use crate::admin::control::{
    CapWord, Changed, ControlError, EndpointChange, Expected, Finding, State as StateWord, WeightWord,
};
use crate::config::{self, AdminBind, Plan};
use crate::proxy::Gateway;
use crate::reload::{self, Refused};

pub(super) fn endpoint(gateway: &Arc<Gateway>, name: &str, change: &EndpointChange) -> Result<(), ControlError> {
    let id = find(gateway, name)?;
    let mut orders = Vec::new();
    match change.weight {
        Some(WeightWord::Is(weight)) => orders.push(Operation::Weight(Some(weight))),
        Some(WeightWord::File(_)) => orders.push(Operation::Weight(None)),
        None => {}
    }
    match change.max_in_flight {
        Some(CapWord::Is(cap)) => orders.push(Operation::Cap(Some(Some(cap)))),
        Some(CapWord::Unlimited(_)) => orders.push(Operation::Cap(Some(None))),
        Some(CapWord::File(_)) => orders.push(Operation::Cap(None)),
        None => {}
    }
    orders.extend(change.state.map(|state| {
        Operation::State(match state {
            StateWord::Ready => State::Ready,
            StateWord::Drain => State::Drain,
            StateWord::Maint => State::Maint,
        })
    }));
    gateway.herd.change(|fleet, now| ((), fleet.operate(now, id, &orders)));
    gateway.watches.follow(&gateway.herd, id);
    Ok(())
}

fn find(gateway: &Arc<Gateway>, name: &str) -> Result<EndpointId, ControlError> {
    let snapshot = gateway.snapshot.load_full();
    let found = snapshot.upstreams.iter().find(|(_, upstream)| *upstream.name == *name).map(|(id, _)| *id);
    found.ok_or_else(|| unknown_endpoint(&snapshot.plan, name))
}

fn unknown_endpoint(plan: &Plan, name: &str) -> ControlError {
    let endpoints = plan.pools.iter().flat_map(|pool| &pool.endpoints);
    ControlError::not_found("endpoint", name, endpoints.map(|endpoint| endpoint.spec.name.as_ref()))
}

pub(super) fn add(
    gateway: &Arc<Gateway>,
    pool: &str,
    endpoint: &Value,
    expected: Expected,
) -> Result<Changed, ControlError> {
    edit(gateway, expected, |plan| {
        let Some(place) = plan.pools.iter().position(|known| *known.name == *pool) else {
            return Err(ControlError::not_found("pool", pool, plan.pools.iter().map(|pool| pool.name.as_ref())));
        };
        let fresh = config::check_endpoint(plan, pool, endpoint)
            .map_err(|message| ControlError::Invalid { message, allowed: None })?;
        let open =
            plan.admin.as_ref().is_some_and(|admin| admin.token.is_none() && matches!(admin.bind, AdminBind::Tcp(_)));
        if open && (fresh.api_key.is_some() || !fresh.headers.is_empty()) {
            let words = "whoever reaches this address could have a key sent to any host: an endpoint with a key or headers, its \
                         pool's defaults included, is added where `admin` has a `token_file` or binds `unix:PATH`";
            return Err(ControlError::Forbidden(words.to_owned()));
        }
        plan.pools[place].endpoints.push(fresh);
        Ok(())
    })
}

pub(super) fn remove(gateway: &Arc<Gateway>, name: &str, expected: Expected) -> Result<Changed, ControlError> {
    edit(gateway, expected, |plan| {
        let found = plan.pools.iter_mut().find(|pool| pool.endpoints.iter().any(|one| *one.spec.name == *name));
        let Some(pool) = found else { return Err(unknown_endpoint(plan, name)) };
        if pool.endpoints.len() == 1 {
            let words = format!("{name} is the only endpoint of pool {}; drain it instead", pool.name);
            return Err(ControlError::Conflict(words));
        }
        pool.endpoints.retain(|endpoint| *endpoint.spec.name != *name);
        Ok(())
    })
}

pub(super) fn balance(
    gateway: &Arc<Gateway>,
    route: &str,
    balance: &Value,
    expected: Expected,
) -> Result<Changed, ControlError> {
    let reloader = gateway.reloader.get().ok_or_else(|| ControlError::Conflict("the process is starting".into()))?;
    edit(gateway, expected, |plan| {
        let names: Vec<String> = plan.routes.iter().map(|route| route.name.to_string()).collect();
        let Some(found) = plan.routes.iter_mut().find(|known| *known.name == *route) else {
            return Err(ControlError::not_found("route", route, names.iter().map(String::as_str)));
        };
        found.balance = config::check_balance(&reloader.modules, balance)
            .map_err(|message| ControlError::Invalid { message, allowed: None })?;
        gateway.history.lock().rebalanced.insert(route.to_owned());
        Ok(())
    })
}

fn edit(
    gateway: &Arc<Gateway>,
    expected: Expected,
    change: impl FnOnce(&mut Plan) -> Result<(), ControlError>,
) -> Result<Changed, ControlError> {
    let (generation, changes) = reload::edit(gateway, |plan, generation| {
        ControlError::unless_current(expected, generation)?;
        change(plan)
    })?;
    Ok(Changed { generation, changes, warnings: Vec::new() })
}

impl From<String> for ControlError {
    fn from(words: String) -> ControlError {
        ControlError::Failed(words)
    }
}

pub(super) fn reload(gateway: &Gateway, expected: Expected) -> Result<Changed, ControlError> {
    let applied = reload::reload(gateway, expected).map_err(|refused| match refused {
        Refused::Stale(found) => ControlError::Stale { expected: expected.unwrap_or_default(), found },
        Refused::NoFile(words) => ControlError::Conflict(words),
        Refused::Broken(findings) => ControlError::broken(findings.iter().map(finding).collect()),
        Refused::Failed(words) => ControlError::Failed(words),
    })?;
    let warnings = applied.warnings.iter().map(finding).collect();
    Ok(Changed { generation: applied.generation, changes: applied.changes, warnings })
}

fn finding(found: &config::Diagnostic) -> Finding {
    Finding {
        file: found.file.to_string(),
        line: found.line,
        column: found.column,
        message: found.message.clone(),
        text: found.without_source().to_string(),
    }
}
