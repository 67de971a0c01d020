//! What one plan has that another has not, in words: for the answer to a reload and for the log.

use std::collections::BTreeMap;
use std::fmt::Debug;

use crate::config::{EndpointPlan, Plan, PoolPlan, RoutePlan};

/// One line for each change; empty if the plans mean the same.
pub fn changes(old: &Plan, new: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    tables("pool", &old.pools, &new.pools, |pool| pool.name.to_string(), pool, &mut lines);
    tables("route", &old.routes, &new.routes, |route| route.name.to_string(), route, &mut lines);
    let order = |plan: &Plan| plan.routes.iter().map(|route| route.identity.clone()).collect::<Vec<_>>();
    if lines.is_empty() && order(old) != order(new) {
        lines.push("routes are in another order".to_owned());
    }
    let rest = [
        ("listeners", text(&old.listeners) != text(&new.listeners)),
        ("client keys", text(&old.auth) != text(&new.auth) || keys(old) != keys(new)),
        ("headers", old.headers != new.headers),
        ("limits", old.limits != new.limits),
        ("timeouts", old.timeouts != new.timeouts),
        ("access log", old.access_log != new.access_log),
    ];
    lines.extend(rest.iter().filter(|(_, changed)| *changed).map(|(what, _)| format!("{what} changed")));
    lines
}

fn text(part: &impl Debug) -> String {
    format!("{part:?}")
}

fn keys(plan: &Plan) -> Vec<(&str, [u8; 32])> {
    let keys = plan.auth.iter().flat_map(|auth| &auth.keys);
    keys.map(|key| (key.name.as_ref(), key.sha256)).collect()
}

/// Compares two tables by name.
fn tables<T>(
    kind: &str,
    old: &[T],
    new: &[T],
    name: impl Fn(&T) -> String,
    compare: impl Fn(&str, &T, &T, &mut Vec<String>),
    lines: &mut Vec<String>,
) {
    let before: BTreeMap<String, &T> = old.iter().map(|row| (name(row), row)).collect();
    let after: BTreeMap<String, &T> = new.iter().map(|row| (name(row), row)).collect();
    for (name, row) in &after {
        match before.get(name) {
            Some(known) => compare(name, known, row, lines),
            None => lines.push(format!("{kind} {name} added")),
        }
    }
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    lines.extend(gone.map(|name| format!("{kind} {name} removed")));
}

fn pool(name: &str, old: &PoolPlan, new: &PoolPlan, lines: &mut Vec<String>) {
    let identity = |endpoint: &EndpointPlan| endpoint.spec.name.to_string();
    let compare = |endpoint: &str, old: &EndpointPlan, new: &EndpointPlan, lines: &mut Vec<String>| {
        if old != new {
            lines.push(format!("pool {name}: endpoint {endpoint} changed"));
        }
    };
    tables(&format!("pool {name}: endpoint"), &old.endpoints, &new.endpoints, identity, compare, lines);
    let rest = |pool: &PoolPlan| text(&PoolPlan { endpoints: Vec::new(), ..pool.clone() });
    if rest(old) != rest(new) {
        lines.push(format!("pool {name}: its options changed"));
    }
}

fn route(name: &str, old: &RoutePlan, new: &RoutePlan, lines: &mut Vec<String>) {
    let balance = |route: &RoutePlan| format!("{} {}", route.balance.module, route.balance.options);
    if balance(old) != balance(new) {
        lines.push(format!("route {name}: balance is {} (was {})", balance(new), balance(old)));
    }
    if text(&RoutePlan { balance: new.balance.clone(), ..old.clone() }) != text(new) {
        lines.push(format!("route {name}: its options changed"));
    }
}
