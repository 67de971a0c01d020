//! The dump of one route: what `auto` stands for is told in a comment.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_yaml::Commented;

use super::{Rows, is_empty, text};
use crate::config::matcher::Glob;
use crate::config::plan::{BalancePlan, ClientsPlan, PoolPlan, RoutePlan};

#[derive(Serialize)]
pub(super) struct Route<'p> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(rename = "match", skip_serializing_if = "Match::is_everything")]
    matches: Match<'p>,
    pool: Pools<'p>,
    #[serde(rename = "where", skip_serializing_if = "BTreeMap::is_empty")]
    among: BTreeMap<&'p str, String>,
    #[serde(skip_serializing_if = "Clone::clone")]
    caps: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    clients: Option<Clients<'p>>,
    balance: Choice<'p>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    aliases: BTreeMap<&'p str, String>,
    #[serde(skip_serializing_if = "is_empty")]
    allow: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_model: Option<String>,
}

/// The module with its options.
#[derive(Serialize)]
#[serde(untagged)]
enum Choice<'p> {
    /// In YAML: with the reason as a comment.
    Told(Commented<BTreeMap<&'static str, &'p serde_json::Value>>),
    /// In JSON, which knows no comments.
    Plain(BTreeMap<&'static str, &'p serde_json::Value>),
}

#[derive(Serialize)]
#[serde(untagged)]
enum Pools<'p> {
    One(&'p str),
    Split(Rows<'p, u32>),
}

impl<'p> Pools<'p> {
    fn of(plan: &[(usize, u32)], pools: &'p [PoolPlan]) -> Pools<'p> {
        let name = |place: usize| pools.get(place).map_or("", |pool| &pool.name);
        match plan {
            [(only, _)] => Pools::One(name(*only)),
            several => Pools::Split(Rows(several.iter().map(|(place, weight)| (name(*place), *weight)).collect())),
        }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Clients<'p> {
    Public(&'static str),
    Only(Vec<&'p str>),
}

impl<'p> Clients<'p> {
    fn of(plan: &'p ClientsPlan) -> Option<Clients<'p>> {
        match plan {
            ClientsPlan::Known => None,
            ClientsPlan::Only(names) => Some(Clients::Only(names.iter().map(|name| &**name).collect())),
            ClientsPlan::Public => Some(Clients::Public("public")),
        }
    }
}

#[derive(Serialize)]
struct Match<'p> {
    #[serde(skip_serializing_if = "is_empty")]
    listener: Vec<&'p str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    header: BTreeMap<&'p str, String>,
}

impl Match<'_> {
    fn is_everything(&self) -> bool {
        self.listener.is_empty() && self.model.is_none() && self.path.is_none() && self.header.is_empty()
    }
}

impl<'p> Route<'p> {
    pub(super) fn of(plan: &'p RoutePlan, pools: &'p [PoolPlan], comments: bool) -> Route<'p> {
        let glob = |glob: &Glob| text(glob.text());
        let matcher = &plan.matcher;
        let BalancePlan { module, options, why, .. } = &plan.balance;
        let module = BTreeMap::from([(*module, options)]);
        Route {
            name: (plan.name == plan.identity).then(|| text(&plan.name)),
            matches: Match {
                listener: matcher.listeners.iter().flatten().map(|name| &**name).collect(),
                model: matcher.model.as_ref().map(glob),
                path: matcher.path.as_ref().map(glob),
                header: matcher.headers.iter().map(|(name, value)| (name.as_str(), glob(value))).collect(),
            },
            pool: Pools::of(&plan.pools, pools),
            among: plan.among.iter().map(|(label, value)| (label.as_str(), text(value))).collect(),
            caps: plan.caps,
            clients: Clients::of(&plan.clients),
            balance: if comments { Choice::Told(Commented(module, why.clone())) } else { Choice::Plain(module) },
            aliases: plan.aliases.iter().map(|(from, to)| (&**from, text(to))).collect(),
            allow: plan.allow.iter().copied().collect(),
            default_model: plan.default_model.as_deref().map(text),
        }
    }
}
