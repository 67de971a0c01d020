//! The configuration in force, as YAML that loads again: defaults filled, secrets masked, routes in order, `auto`
//! resolved with its reason as a comment.
//!
//! Masked: every header value. A key file stays a file name. `$` is written `$$`, because loading expands variables.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_yaml::{CommentPosition, Commented};

use crate::config::matcher::Glob;
use crate::config::plan::{
    AccessLogPlan, BalancePlan, EndpointPlan, EngineKind, HeadersPlan, HealthPlan, Plan, PoolPlan, RoutePlan,
};
use crate::config::units::{Size, Span, SpanOrNone};

impl Plan {
    /// The configuration in force, as YAML.
    pub fn dump(&self) -> String {
        let options = serde_yaml::ser_options! { comment_position: CommentPosition::Above };
        serde_yaml::to_string_with_options(&self.effective(), options)
            .unwrap_or_else(|error| format!("# this configuration cannot be shown: {error}\n"))
    }

    /// The same as JSON, for scripts.
    pub fn dump_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(&self.effective())
    }

    fn effective(&self) -> Dump<'_> {
        Dump {
            listeners: Rows(
                self.listeners
                    .iter()
                    .map(|one| (&*one.name, Bind { bind: one.bind.to_string(), h2c: one.h2c }))
                    .collect(),
            ),
            admin: self.admin.map(|bind| Bind { bind: bind.to_string(), h2c: false }),
            pools: Rows(self.pools.iter().map(|pool| (&*pool.name, Pool::of(pool))).collect()),
            routes: self.routes.iter().map(|route| Route::of(route, &self.pools)).collect(),
            headers: Headers::of(self.headers),
            access_log: AccessLog::of(&self.access_log),
            limits: Limits {
                body: Size(self.limits.body),
                bodies: Size(self.limits.bodies),
                header: Size(self.limits.header),
            },
            timeouts: ClientTimeouts {
                header: Span(self.timeouts.header),
                client_stall: Span(self.timeouts.client_stall),
            },
        }
    }
}

/// A mapping in the plan's order.
struct Rows<'p, T>(Vec<(&'p str, T)>);

impl<T: Serialize> Serialize for Rows<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

fn text(plain: &str) -> String {
    plain.replace('$', "$$")
}

fn is_empty<T>(list: &[T]) -> bool {
    list.is_empty()
}

#[derive(Serialize)]
struct Dump<'p> {
    listeners: Rows<'p, Bind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    admin: Option<Bind>,
    pools: Rows<'p, Pool<'p>>,
    routes: Vec<Route<'p>>,
    headers: Headers,
    access_log: AccessLog,
    limits: Limits,
    timeouts: ClientTimeouts,
}

#[derive(Serialize)]
struct Bind {
    bind: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    h2c: bool,
}

#[derive(Serialize)]
struct Headers {
    endpoint: bool,
    route: bool,
    reason: bool,
}

impl Headers {
    fn of(plan: HeadersPlan) -> Headers {
        Headers { endpoint: plan.endpoint, route: plan.route, reason: plan.reason }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum AccessLog {
    Stdout,
    None,
    File(String),
}

impl AccessLog {
    fn of(plan: &AccessLogPlan) -> AccessLog {
        match plan {
            AccessLogPlan::Stdout => AccessLog::Stdout,
            AccessLogPlan::Off => AccessLog::None,
            AccessLogPlan::File(file) => AccessLog::File(text(&file.display().to_string())),
        }
    }
}

#[derive(Serialize)]
struct Limits {
    body: Size,
    bodies: Size,
    header: Size,
}

#[derive(Serialize)]
struct ClientTimeouts {
    header: Span,
    client_stall: Span,
}

#[derive(Serialize)]
struct Pool<'p> {
    endpoints: Vec<Endpoint<'p>>,
    health: Health,
    queue: Queue,
    retries: u32,
    timeouts: Timeouts,
    poll: String,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Health {
    None(&'static str),
    Checks { every: Span, rise: u32, fall: u32, timeout: Span },
}

#[derive(Serialize)]
struct Queue {
    max_requests: u32,
    max_bytes: Size,
    timeout: Span,
}

#[derive(Serialize)]
struct Timeouts {
    connect: Span,
    first_byte: SpanOrNone,
    between_chunks: SpanOrNone,
    total: SpanOrNone,
}

impl<'p> Pool<'p> {
    fn of(plan: &'p PoolPlan) -> Pool<'p> {
        let health = |HealthPlan { every, timeout, rise, fall }| Health::Checks {
            every: Span(every),
            rise,
            fall,
            timeout: Span(timeout),
        };
        Pool {
            endpoints: plan.endpoints.iter().map(Endpoint::of).collect(),
            health: plan.health.map_or(Health::None("none"), health),
            queue: Queue {
                max_requests: plan.queue.max_requests,
                max_bytes: Size(plan.queue.max_bytes),
                timeout: Span(plan.queue.timeout),
            },
            retries: plan.retries,
            timeouts: Timeouts {
                connect: Span(plan.timeouts.connect),
                first_byte: SpanOrNone(plan.timeouts.first_byte),
                between_chunks: SpanOrNone(plan.timeouts.between_chunks),
                total: SpanOrNone(plan.timeouts.total),
            },
            poll: plan.poll.map_or("auto".into(), |span| Span(span).to_string()),
        }
    }
}

#[derive(Serialize)]
struct Endpoint<'p> {
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    engine: EngineKind,
    weight: u32,
    backup: bool,
    max_in_flight: InFlight,
    #[serde(skip_serializing_if = "Option::is_none")]
    slots: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vram: Option<Size>,
    #[serde(skip_serializing_if = "Option::is_none")]
    models: Option<Rows<'p, String>>,
    load_allowance: Span,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key_file: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<&'p str, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<&'p str, String>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum InFlight {
    Cap(u32),
    Auto(&'static str),
}

fn models_of(models: &[(Arc<str>, Arc<str>)]) -> Rows<'_, String> {
    Rows(models.iter().map(|(public, local)| (&**public, text(local))).collect())
}

impl<'p> Endpoint<'p> {
    fn of(plan: &'p EndpointPlan) -> Endpoint<'p> {
        let spec = &plan.spec;
        Endpoint {
            url: text(&plan.url),
            name: (spec.identity == spec.name).then(|| text(&spec.name)),
            engine: plan.engine,
            weight: spec.weight,
            backup: spec.backup,
            max_in_flight: spec.max_in_flight.map_or(InFlight::Auto("auto"), InFlight::Cap),
            slots: spec.slots,
            vram: spec.vram.map(Size),
            models: spec.models.as_deref().map(models_of),
            load_allowance: Span(spec.load_allowance),
            api_key_file: plan.api_key_file.as_deref().map(text),
            headers: plan.headers.iter().map(|(name, value)| (name.as_str(), value.to_string())).collect(),
            labels: plan.labels.iter().map(|(name, value)| (name.as_str(), text(value))).collect(),
        }
    }
}

#[derive(Serialize)]
struct Route<'p> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(rename = "match", skip_serializing_if = "Match::is_everything")]
    matches: Match<'p>,
    pool: &'p str,
    balance: Commented<BTreeMap<&'static str, &'p serde_json::Value>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    aliases: BTreeMap<&'p str, String>,
    #[serde(skip_serializing_if = "is_empty")]
    allow: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_model: Option<String>,
}

#[derive(Serialize)]
struct Match<'p> {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    header: BTreeMap<&'p str, String>,
}

impl Match<'_> {
    fn is_everything(&self) -> bool {
        self.model.is_none() && self.path.is_none() && self.header.is_empty()
    }
}

impl<'p> Route<'p> {
    fn of(plan: &'p RoutePlan, pools: &'p [PoolPlan]) -> Route<'p> {
        let glob = |glob: &Glob| text(glob.text());
        let matcher = &plan.matcher;
        let BalancePlan { module, options, why, .. } = &plan.balance;
        Route {
            name: (plan.name == plan.identity).then(|| text(&plan.name)),
            matches: Match {
                model: matcher.model.as_ref().map(glob),
                path: matcher.path.as_ref().map(glob),
                header: matcher.headers.iter().map(|(name, value)| (name.as_str(), glob(value))).collect(),
            },
            pool: pools.get(plan.pool).map_or("", |pool| &pool.name),
            balance: Commented(BTreeMap::from([(*module, options)]), why.clone()),
            aliases: plan.aliases.iter().map(|(from, to)| (&**from, text(to))).collect(),
            allow: plan.allow.iter().copied().collect(),
            default_model: plan.default_model.as_deref().map(text),
        }
    }
}
