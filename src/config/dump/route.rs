//! The dump of one route: what `auto` stands for is told in a comment.

use std::collections::BTreeMap;

use arriero_core::Keys;
use serde::Serialize;
use serde_yaml::Commented;

use super::{Rows, is_empty, text};
use crate::config::matcher::Glob;
use crate::config::plan::{
    AffinityBy, AffinityPlan, BalancePlan, ClientsPlan, PoolPlan, PriorityPlan, PriorityRange, RoutePlan,
};
use crate::config::units::Span;

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
    #[serde(skip_serializing_if = "Option::is_none")]
    shadow: Option<Choice<'p>>,
    #[serde(skip_serializing_if = "Priority::is_default")]
    priority: Priority,
    #[serde(skip_serializing_if = "Option::is_none")]
    affinity: Option<Affinity>,
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

#[derive(PartialEq, Serialize)]
#[serde(untagged)]
enum Priority {
    Fixed(i16),
    Header { header: String, min: i16, max: i16, default: i16 },
    Body { body: String, min: i16, max: i16, default: i16 },
}

impl Priority {
    fn of(plan: &PriorityPlan) -> Priority {
        match plan {
            PriorityPlan::Fixed(class) => Priority::Fixed(*class),
            PriorityPlan::Header { name, range: PriorityRange { min, max, default } } => {
                Priority::Header { header: text(name), min: *min, max: *max, default: *default }
            }
            PriorityPlan::Body { field, range: PriorityRange { min, max, default } } => {
                Priority::Body { body: text(field), min: *min, max: *max, default: *default }
            }
        }
    }

    fn is_default(&self) -> bool {
        *self == Priority::Fixed(0)
    }
}

#[derive(Serialize)]
struct Affinity {
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    insert_cookie: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entries: Option<usize>,
    hard: bool,
}

impl Affinity {
    fn of(AffinityPlan { by, hard }: &AffinityPlan) -> Affinity {
        let nothing = Affinity { by: None, insert_cookie: None, ttl: None, entries: None, hard: *hard };
        match by {
            AffinityBy::Keys { by, ttl, entries } => {
                let by = serde_json::to_value(Keys(by.to_vec())).unwrap_or_default();
                Affinity { by: Some(in_texts(by)), ttl: Some(Span(*ttl)), entries: Some(*entries), ..nothing }
            }
            AffinityBy::Cookie { name, ttl } => {
                Affinity { insert_cookie: Some(text(name)), ttl: ttl.map(Span), ..nothing }
            }
        }
    }
}

/// `$` as `$$` in every text: a key's name may hold one.
fn in_texts(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::String(plain) => text(&plain).into(),
        Value::Array(items) => items.into_iter().map(in_texts).collect(),
        Value::Object(entries) => entries.into_iter().map(|(key, value)| (key, in_texts(value))).collect(),
        other => other,
    }
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
            shadow: plan
                .shadow
                .as_ref()
                .map(|shadow| Choice::Plain(BTreeMap::from([(shadow.module, &shadow.options)]))),
            priority: Priority::of(&plan.priority),
            affinity: plan.affinity.as_ref().map(Affinity::of),
            aliases: plan.aliases.iter().map(|(from, to)| (&**from, text(to))).collect(),
            allow: plan.allow.iter().copied().collect(),
            default_model: plan.default_model.as_deref().map(text),
        }
    }
}
