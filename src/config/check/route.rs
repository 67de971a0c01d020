//! Routes: names that differ, matches that can be reached, and all that a route refers to.

use std::collections::{BTreeMap, BTreeSet};

use xxhash_rust::xxh3::xxh3_64;

use super::known::Known;
use super::matching::{Earlier, matcher};
use super::{Item, Texts, Unique, affinity, balance, below, check_name, near, path, priority, target};
use crate::config::document::Document;
use crate::config::matcher::Matcher;
use crate::config::places::Path;
use crate::config::plan::{ClientsPlan, EndpointPlan, PriorityPlan, RoutePlan};
use crate::config::yaml;
use crate::dialect::allow_names;

pub(super) fn check(
    items: Vec<Item<yaml::Route>>,
    written: bool,
    texts: Texts<'_, '_>,
    known: &Known<'_>,
) -> Vec<RoutePlan> {
    let mut routes = Vec::<RoutePlan>::new();
    let mut earlier = Earlier::default();
    let mut names = Unique::default();
    if items.is_empty() && !known.is_damaged(&["routes"]) && !known.is_damaged(&["pools"]) {
        routes.extend(only_route(written, &mut texts[0], known));
    }
    for Item { text, path, yaml } in items {
        let text = &mut texts[text];
        let match_at = below(&path, "match");
        let matcher = matcher(text, &match_at, &yaml.matches, known);
        let (name, identity) = names_of(text, &path, &yaml, &matcher, &mut names);
        if !text.is_damaged(&match_at) {
            earlier.check(text, &path, &name, &matcher, known);
        }
        routes.extend(route(text, &path, yaml, matcher, (&name, &identity), known));
    }
    routes
}

fn route(
    text: &mut Document<'_>,
    at: &Path,
    yaml: yaml::Route,
    matcher: Matcher,
    (name, identity): (&str, &str),
    known: &Known<'_>,
) -> Option<RoutePlan> {
    let pools = target::pools(text, at, &yaml, known);
    let named = pools.as_deref().unwrap_or_default();
    target::among(text, at, &yaml, named, known);
    let clients = target::clients(text, at, &yaml, known);
    let mut module = |key: &str, written: Option<&yaml::Balance>| {
        balance::check(text, &below(at, key), written, endpoints(named, known), known.modules)
    };
    let balance = module("balance", yaml.balance.as_ref());
    let shadow = yaml.shadow.as_ref().and_then(|written| module("shadow", Some(written)));
    let priority = priority::check(text, &below(at, "priority"), yaml.priority.as_ref());
    let affinity = yaml.affinity.as_ref().and_then(|one| affinity::check(text, &below(at, "affinity"), &one.0));
    let aliases = aliases(text, at, &yaml);
    let allow = allow(text, at, &yaml);
    if yaml.default_model.as_deref() == Some("") {
        text.at(&below(at, "default_model"), "`default_model` is empty");
    }
    Some(RoutePlan {
        name: name.into(),
        identity: identity.into(),
        matcher,
        pools: pools?,
        among: yaml.among,
        caps: yaml.caps.unwrap_or(true),
        clients,
        balance: balance?,
        shadow,
        priority,
        affinity,
        aliases,
        allow,
        default_model: yaml.default_model.as_deref().map(Into::into),
    })
}

/// The endpoints of all these pools.
fn endpoints<'k>(pools: &[(usize, u32)], known: &Known<'k>) -> impl Iterator<Item = &'k EndpointPlan> {
    let all = known.pools;
    pools.iter().filter_map(|(pool, _)| all.get(*pool)).flat_map(|pool| &pool.endpoints)
}

/// No routes: everything goes to the only pool.
fn only_route(written: bool, text: &mut Document<'_>, known: &Known<'_>) -> Option<RoutePlan> {
    let [_] = known.pools else {
        if !known.pools.is_empty() {
            let names: Vec<&str> = known.pools.iter().map(|pool| &*pool.name).collect();
            let at = if written { path(&["routes"]) } else { Path::new() };
            let finding = text.at(&at, "there are no routes, but more than one pool");
            finding.found = Some(format!("pools {}", names.join(", ")));
            finding.hint = Some(format!("write `routes: [{{ pool: {} }}]`", names[0]));
        }
        return None;
    };
    let pools = vec![(0, 1)];
    let balance = balance::check(text, &path(&["balance"]), None, endpoints(&pools, known), known.modules)?;
    let matcher = Matcher::default();
    let name = matcher.describe();
    Some(RoutePlan {
        identity: hash(&name).as_str().into(),
        name: name.as_str().into(),
        matcher,
        pools,
        among: BTreeMap::new(),
        caps: true,
        clients: ClientsPlan::default(),
        balance,
        shadow: None,
        priority: PriorityPlan::default(),
        affinity: None,
        aliases: BTreeMap::new(),
        allow: BTreeSet::new(),
        default_model: None,
    })
}

fn names_of(
    text: &mut Document<'_>,
    at: &Path,
    yaml: &yaml::Route,
    matcher: &Matcher,
    names: &mut Unique,
) -> (String, String) {
    let described = matcher.describe();
    match &yaml.name {
        Some(name) => {
            let name_at = below(at, "name");
            check_name(text, &name_at, "a route", name);
            names.check(text, &name_at, name, &format!("two routes are called `{name}`"));
            (name.clone(), name.clone())
        }
        None => {
            let hash = hash(&described);
            let plain = described.len() <= 100 && described.chars().all(|letter| letter.is_ascii_graphic());
            (if plain { described } else { format!("match-{hash}") }, hash)
        }
    }
}

fn hash(text: &str) -> String {
    format!("{:016x}", xxh3_64(text.as_bytes()))
}

fn aliases(
    text: &mut Document<'_>,
    at: &Path,
    yaml: &yaml::Route,
) -> BTreeMap<std::sync::Arc<str>, std::sync::Arc<str>> {
    let aliases_at = below(at, "aliases");
    for (from, to) in &yaml.aliases.0 {
        if from.is_empty() || to.is_empty() {
            text.at_key(&below(&aliases_at, from), "an alias has an empty name");
        }
    }
    yaml.aliases.0.iter().map(|(from, to)| (from.as_str().into(), to.as_str().into())).collect()
}

fn allow(text: &mut Document<'_>, at: &Path, yaml: &yaml::Route) -> BTreeSet<&'static str> {
    let list = below(at, "allow");
    let mut allowed = BTreeSet::new();
    for (index, name) in text.sound_items(&list).into_iter().zip(&yaml.allow) {
        match allow_names().find(|family| family == name) {
            Some(family) => {
                allowed.insert(family);
            }
            None => {
                let finding = text.at(
                    &below(&list, &index.to_string()),
                    format!("`allow` cannot hold `{name}`: no such control endpoints"),
                );
                near(finding, name, allow_names(), "control endpoints");
            }
        }
    }
    allowed
}
