//! Routes: matches that can be reached, pools that exist, modules that are compiled in.

use std::collections::{BTreeMap, BTreeSet};

use http::HeaderName;
use xxhash_rust::xxh3::xxh3_64;

use super::{Item, Texts, Unique, below, check_name, path};
use crate::config::document::Document;
use crate::config::matcher::{Glob, Matcher};
use crate::config::places::Path;
use crate::config::plan::{BalancePlan, EndpointPlan, EngineKind, PoolPlan, RoutePlan};
use crate::config::wording::item;
use crate::config::yaml;
use crate::dialect::allow_names;
use crate::registry::ModuleEntry;

pub(super) fn check(
    items: Vec<Item<yaml::Route>>,
    pools: &[PoolPlan],
    written: bool,
    texts: Texts<'_, '_>,
    modules: &[ModuleEntry],
) -> Vec<RoutePlan> {
    let damaged = ["routes", "pools"].iter().any(|key| texts.iter().any(|text| text.is_damaged(&path(&[key]))));
    let mut routes = Vec::<RoutePlan>::new();
    let mut matches = Vec::<(String, String, Matcher)>::new();
    let mut names = Unique::default();
    if items.is_empty() && !damaged {
        routes.extend(only_route(pools, written, &mut texts[0], modules));
    }
    for Item { text, path, yaml } in items {
        let text = &mut texts[text];
        let matcher = matcher(text, &below(&path, "match"), &yaml.matches);
        let (name, identity) = names_of(text, &path, &yaml, &matcher, &mut names);
        if !text.is_damaged(&below(&path, "match")) {
            if let Some((earlier, place, _)) = matches.iter().find(|(_, _, earlier)| earlier.covers(&matcher)) {
                let finding = text.at(&path, format!("{} is never reached", item(&path)));
                finding.found = Some(format!("route `{earlier}` at {place} takes everything that it would"));
                finding.hint = Some("the first match wins: put the narrower route first".into());
            }
            matches.push((name.clone(), text.line_of(&path), matcher.clone()));
        }
        let pool = pool(text, &path, &yaml, pools);
        let endpoints = pool.map_or(&[][..], |pool| &pools[pool].endpoints);
        let balance = balance(text, &path, yaml.balance.as_ref(), endpoints, modules);
        let aliases = aliases(text, &path, &yaml);
        let allow = allow(text, &path, &yaml);
        if yaml.default_model.as_deref() == Some("") {
            text.at(&below(&path, "default_model"), "`default_model` is empty");
        }
        if let (Some(pool), Some(balance)) = (pool, balance) {
            let default_model = yaml.default_model.as_deref().map(Into::into);
            let (name, identity) = (name.as_str().into(), identity.as_str().into());
            routes.push(RoutePlan { name, identity, matcher, pool, balance, aliases, allow, default_model });
        }
    }
    routes
}

/// No routes: everything goes to the only pool.
fn only_route(
    pools: &[PoolPlan],
    written: bool,
    text: &mut Document<'_>,
    modules: &[ModuleEntry],
) -> Option<RoutePlan> {
    let [pool] = pools else {
        if !pools.is_empty() {
            let names: Vec<&str> = pools.iter().map(|pool| &*pool.name).collect();
            let at = if written { path(&["routes"]) } else { Path::new() };
            let finding = text.at(&at, "there are no routes, but more than one pool");
            finding.found = Some(format!("pools {}", names.join(", ")));
            finding.hint = Some(format!("write `routes: [{{ pool: {} }}]`", names[0]));
        }
        return None;
    };
    let balance = balance(text, &Path::new(), None, &pool.endpoints, modules)?;
    let matcher = Matcher::default();
    let name = matcher.describe();
    Some(RoutePlan {
        identity: hash(&name).as_str().into(),
        name: name.as_str().into(),
        matcher,
        pool: 0,
        balance,
        aliases: BTreeMap::new(),
        allow: BTreeSet::new(),
        default_model: None,
    })
}

fn matcher(text: &mut Document<'_>, at: &Path, yaml: &yaml::Match) -> Matcher {
    let mut glob = |at: Path, written: &str| match Glob::new(written) {
        Ok(glob) => Some(glob),
        Err(error) => {
            let finding = text.at(&at, format!("{} is no glob: {error}", item(&at)));
            finding.allowed = Some("`*` for any text, `?` for one character, `[ab]`, `{this,that}`".into());
            None
        }
    };
    let model = yaml.model.as_deref().and_then(|model| glob(below(at, "model"), model));
    let path = yaml.path.as_deref().and_then(|path| glob(below(at, "path"), path));
    let mut headers = Vec::new();
    for (name, value) in &yaml.header {
        let header_at = below(&below(at, "header"), name);
        let value = glob(header_at, value);
        headers.extend(value.map(|value| (name.to_ascii_lowercase(), value)));
    }
    for name in yaml.header.keys().filter(|name| HeaderName::from_bytes(name.as_bytes()).is_err()) {
        text.at_key(&below(&below(at, "header"), name), format!("`{name}` is no header name"));
    }
    if let Some(path) = yaml.path.as_deref().filter(|path| !path.starts_with(['/', '*', '?', '[', '{'])) {
        let finding = text.at(&below(at, "path"), format!("no path matches `{path}`: paths begin with `/`"));
        finding.hint = Some(format!("write `/{path}` or `*{path}`"));
    }
    Matcher { model, path, headers }
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

fn pool(text: &mut Document<'_>, at: &Path, yaml: &yaml::Route, pools: &[PoolPlan]) -> Option<usize> {
    let pool_at = below(at, "pool");
    let Some(name) = &yaml.pool else {
        if !text.is_broken(&pool_at) {
            text.at(at, format!("{} has no `pool`", item(at))).allowed = Some(pool_names(pools));
        }
        return None;
    };
    let found = pools.iter().position(|pool| *pool.name == **name);
    if found.is_none() && !text.is_broken(&path(&["pools", name])) {
        let finding = text.at(&pool_at, format!("{} names no pool: there is no `{name}`", item(&pool_at)));
        finding.found = Some(name.clone());
        finding.allowed = Some(pool_names(pools));
    }
    found
}

fn pool_names(pools: &[PoolPlan]) -> String {
    if pools.is_empty() {
        return "the name of a pool".into();
    }
    pools.iter().map(|pool| &*pool.name).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ")
}

fn balance(
    text: &mut Document<'_>,
    at: &Path,
    yaml: Option<&yaml::Balance>,
    endpoints: &[EndpointPlan],
    modules: &[ModuleEntry],
) -> Option<BalancePlan> {
    let balance_at = below(at, "balance");
    let written = yaml.map_or("auto", |balance| &balance.module);
    let (name, why) = if written == "auto" { auto(endpoints) } else { (written, "configured") };
    let Some(module) = modules.iter().find(|module| module.name == name) else {
        let names: Vec<&str> = modules.iter().map(|module| module.name).chain(["auto"]).collect();
        let finding = text.at(&balance_at, format!("there is no module `{name}`"));
        finding.found = Some(written.into());
        finding.allowed = Some(names.join(", "));
        return None;
    };
    if yaml.is_some_and(|balance| balance.has_options) {
        if written == "auto" {
            text.at(&balance_at, "`auto` has no options").hint = Some("name a module to set its options".into());
            return None;
        }
        return (module.decode)(text, &below(&balance_at, name));
    }
    match (module.plain)() {
        Ok(balance) => Some(BalancePlan { why: why.into(), ..balance }),
        Err(error) => {
            text.at(&balance_at, format!("`{name}` needs options: {error}"));
            None
        }
    }
}

/// What `auto` stands for, and why.
fn auto(endpoints: &[EndpointPlan]) -> (&'static str, &'static str) {
    if !endpoints.is_empty() && endpoints.iter().all(|endpoint| endpoint.engine == EngineKind::Vllm) {
        ("least-connection", "auto: every endpoint is declared vllm, which keeps its one model loaded")
    } else {
        ("model-affinity", "auto: the engines may swap models")
    }
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
                finding.found = Some(name.clone());
                finding.allowed = Some(allow_names().collect::<Vec<_>>().join(", "));
            }
        }
    }
    allowed
}
