//! Where a route leads: its pools and their shares, the labelled part of them, and who may go there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::known::Known;
use super::{below, near, range};
use crate::config::diagnostic::Diagnostic;
use crate::config::document::Document;
use crate::config::places::Path;
use crate::config::plan::{ClientsPlan, PoolPlan};
use crate::config::wording::item;
use crate::config::yaml::{Clients, PoolChoice, Route};

/// A share of the requests is at most this.
const MOST_WEIGHT: u32 = 1_000_000;

/// The pools with their weights; `None` if there is nothing to go on with.
pub(super) fn pools(text: &mut Document<'_>, at: &Path, yaml: &Route, known: &Known<'_>) -> Option<Vec<(usize, u32)>> {
    let pool_at = below(at, "pool");
    let weights = match &yaml.pool {
        None => {
            if !text.is_broken(&pool_at) {
                text.at(at, format!("{} has no `pool`", item(at))).allowed = Some(pool_names(known));
            }
            return None;
        }
        Some(PoolChoice::One(name)) => {
            let found = position(name, known);
            if found.is_none() && !known.is_damaged(&["pools", name]) {
                unknown(text.at(&pool_at, String::new()), &pool_at, name, known);
            }
            return found.map(|pool| vec![(pool, 1)]);
        }
        Some(PoolChoice::Split(weights)) => &weights.0,
    };
    for (name, weight) in weights.iter().filter(|(_, weight)| *weight > MOST_WEIGHT) {
        range(text, &below(&pool_at, name), &weight.to_string(), &format!("0 to {MOST_WEIGHT}"));
    }
    if weights.iter().all(|(_, weight)| *weight == 0) && !text.is_damaged(&pool_at) {
        let what = if weights.is_empty() { "names no pool" } else { "has only weights of 0" };
        let finding = text.at(&pool_at, format!("{} {what}", item(&pool_at)));
        finding.allowed = Some("pools with their shares, one of them more than 0: `{ stable: 95, canary: 5 }`".into());
    }
    let mut found = Vec::new();
    for (name, weight) in weights {
        let weight_at = below(&pool_at, name);
        match position(name, known) {
            Some(pool) => found.push((pool, *weight)),
            None if known.is_damaged(&["pools", name]) => {}
            None => unknown(text.at_key(&weight_at, String::new()), &weight_at, name, known),
        }
    }
    Some(found).filter(|found| !found.is_empty())
}

fn position(name: &str, known: &Known<'_>) -> Option<usize> {
    known.pools.iter().position(|pool| *pool.name == *name)
}

fn unknown(finding: &mut Diagnostic, at: &Path, name: &str, known: &Known<'_>) {
    finding.message = format!("{} names no pool: there is no `{name}`", item(at));
    near(finding, name, known.pools.iter().map(|pool| &*pool.name), "the name of a pool");
}

fn pool_names(known: &Known<'_>) -> String {
    let names: BTreeSet<&str> = known.pools.iter().map(|pool| &*pool.name).collect();
    if names.is_empty() { "the name of a pool".into() } else { names.into_iter().collect::<Vec<_>>().join(", ") }
}

/// `where`: in each pool there must be an endpoint with all the labels.
pub(super) fn among(text: &mut Document<'_>, at: &Path, yaml: &Route, pools: &[(usize, u32)], known: &Known<'_>) {
    if yaml.among.is_empty() {
        return;
    }
    let where_at = below(at, "where");
    for pool in pools.iter().filter_map(|(pool, _)| known.pools.get(*pool)) {
        let some = pool.endpoints.iter().any(|endpoint| endpoint.has_labels(&yaml.among));
        if some || known.is_damaged(&["pools", &pool.name]) {
            continue;
        }
        let wanted: Vec<String> = yaml.among.iter().map(|(label, value)| format!("`{label}: {value}`")).collect();
        let labels = labels(pool);
        let unknown = yaml
            .among
            .iter()
            .find(|(label, value)| labels.get(label.as_str()).is_none_or(|values| !values.contains(value.as_str())));
        let place = match unknown {
            Some((label, _)) => below(&where_at, label),
            None => where_at.clone(),
        };
        let finding = text.at(&place, format!("no endpoint of pool `{}` has {}", pool.name, wanted.join(" and ")));
        match unknown.and_then(|(label, value)| Some((value, labels.get(label.as_str())?))) {
            Some((value, values)) => near(finding, value, values.iter().copied(), "a label of an endpoint"),
            None => {
                let shown: Vec<String> = labels
                    .iter()
                    .map(|(label, values)| {
                        format!("{label}: {}", values.iter().copied().collect::<Vec<_>>().join(" | "))
                    })
                    .collect();
                let none = "nothing: no endpoint there has `labels`".to_string();
                finding.allowed = Some(if shown.is_empty() { none } else { shown.join(", ") });
            }
        }
    }
}

/// Every label of a pool's endpoints, with its values.
fn labels(pool: &PoolPlan) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut labels = BTreeMap::<&str, BTreeSet<&str>>::new();
    for (label, value) in pool.endpoints.iter().flat_map(|endpoint| &endpoint.labels) {
        labels.entry(label).or_default().insert(value);
    }
    labels
}

/// `clients`: names from the keys file.
pub(super) fn clients(text: &mut Document<'_>, at: &Path, yaml: &Route, known: &Known<'_>) -> ClientsPlan {
    let clients_at = below(at, "clients");
    let Some(clients) = &yaml.clients else { return ClientsPlan::Known };
    if !known.auth_written {
        let finding = text.at(&clients_at, format!("{} has no meaning without `auth`", item(&clients_at)));
        finding.hint = Some("write `auth: { keys_file: FILE }`, or leave `clients` out".into());
    }
    let Clients::Only(names) = clients else { return ClientsPlan::Public };
    if names.is_empty() && !text.is_damaged(&clients_at) {
        let finding = text.at(&clients_at, format!("{} is empty: nobody could use this route", item(&clients_at)));
        finding.hint = Some("leave it out for every client with a key, or write `clients: public`".into());
    }
    if let Some(auth) = known.auth {
        for (index, name) in text.sound_items(&clients_at).into_iter().zip(names) {
            if !auth.keys.iter().any(|key| *key.name == **name) {
                let name_at = below(&clients_at, &index.to_string());
                let finding = text.at(&name_at, format!("{} names no client: there is no `{name}`", item(&name_at)));
                near(finding, name, auth.keys.iter().map(|key| &*key.name), "a client of the keys file");
            }
        }
    }
    ClientsPlan::Only(names.iter().map(|name| Arc::from(name.as_str())).collect())
}
