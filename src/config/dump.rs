//! The configuration in force, as YAML that loads again: defaults filled, secrets masked, routes in order, `auto`
//! resolved with its reason as a comment.
//!
//! Masked: every header value. A key or token file stays a file name. `$` is written `$$`, because loading expands variables.

mod endpoint;
mod pool;
mod route;

use std::path::Path;

use pool::Pool;
use route::Route;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_yaml::CommentPosition;

use crate::config::plan::{AccessLogPlan, AdminPlan, HeadersPlan, ListenerPlan, Plan};
use crate::config::units::{Share, Size, Span};

impl Plan {
    /// The configuration in force, as YAML.
    pub fn dump(&self) -> String {
        let options = serde_yaml::ser_options! { comment_position: CommentPosition::Above };
        serde_yaml::to_string_with_options(&self.effective(true), options)
            .unwrap_or_else(|error| format!("# this configuration cannot be shown: {error}\n"))
    }

    /// The same as JSON, for scripts.
    pub fn dump_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(&self.effective(false))
    }

    fn effective(&self, comments: bool) -> Dump<'_> {
        Dump {
            listeners: Rows(self.listeners.iter().map(|one| (&*one.name, Listener::of(one))).collect()),
            admin: self.admin.as_ref().map(Admin::of),
            auth: self.auth.as_ref().map(|auth| Auth { keys_file: file(&auth.file) }),
            pools: Rows(self.pools.iter().map(|pool| (&*pool.name, Pool::of(pool))).collect()),
            routes: self.routes.iter().map(|route| Route::of(route, &self.pools, comments)).collect(),
            headers: Headers::of(self.headers),
            access_log: AccessLog::of(&self.access_log),
            log_decisions: (self.log_decisions > 0.0).then_some(Share(self.log_decisions)),
            learned_file: self.learned_file.as_deref().map(file),
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

fn file(path: &Path) -> String {
    text(&path.display().to_string())
}

fn is_empty<T>(list: &[T]) -> bool {
    list.is_empty()
}

#[derive(Serialize)]
struct Dump<'p> {
    listeners: Rows<'p, Listener>,
    #[serde(skip_serializing_if = "Option::is_none")]
    admin: Option<Admin>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth: Option<Auth>,
    pools: Rows<'p, Pool<'p>>,
    routes: Vec<Route<'p>>,
    headers: Headers,
    access_log: AccessLog,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_decisions: Option<Share>,
    #[serde(skip_serializing_if = "Option::is_none")]
    learned_file: Option<String>,
    limits: Limits,
    timeouts: ClientTimeouts,
}

#[derive(Serialize)]
struct Listener {
    bind: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    h2c: bool,
    #[serde(skip_serializing_if = "is_empty")]
    tls: Vec<Cert>,
    #[serde(skip_serializing_if = "is_empty")]
    trusted_proxies: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_connections: Option<u32>,
}

#[derive(Serialize)]
struct Cert {
    cert: String,
    key: String,
}

impl Listener {
    fn of(plan: &ListenerPlan) -> Listener {
        let certs = plan.tls.iter().map(|one| Cert { cert: file(&one.cert), key: file(&one.key) });
        Listener {
            bind: plan.bind.to_string(),
            h2c: plan.h2c,
            tls: certs.collect(),
            trusted_proxies: plan.trusted_proxies.iter().map(ToString::to_string).collect(),
            max_connections: plan.max_connections,
        }
    }
}

#[derive(Serialize)]
struct Admin {
    bind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_file: Option<String>,
}

impl Admin {
    fn of(plan: &AdminPlan) -> Admin {
        Admin { bind: text(&plan.bind.to_string()), token_file: plan.token_file.as_deref().map(file) }
    }
}

#[derive(Serialize)]
struct Auth {
    keys_file: String,
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
            AccessLogPlan::File(path) => AccessLog::File(file(path)),
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
