//! What the YAML means together: ranges, references, names, files. Every finding is kept; none stops the others.
//!
//! What was left out because it could not be read (it has its finding already) is never reported again as missing or
//! unknown.

mod admin;
mod affinity;
mod auth;
mod balance;
mod endpoint;
mod file;
mod health;
mod known;
mod listener;
mod matching;
mod pool;
mod priority;
mod retry;
mod route;
mod single;
mod target;
mod tls;
mod url;

use std::collections::{BTreeMap, BTreeSet};

use self::known::Known;
pub use self::single::{check_balance, check_endpoint};
use crate::config::diagnostic::Diagnostic;
use crate::config::document::Document;
use crate::config::places::Path;
use crate::config::plan::{AccessLogPlan, ClientTimeoutsPlan, HeadersPlan, LimitsPlan, Plan, defaults};
use crate::config::units::{Size, Span};
use crate::config::wording::{did_you_mean, item};
use crate::config::yaml;
use crate::registry::ModuleEntry;

/// An item and the text that it stands in: the place in the list of texts, and the item's path there.
pub(crate) struct Item<T> {
    pub(crate) text: usize,
    pub(crate) path: Path,
    pub(crate) yaml: T,
}

/// Everything that was read, from all texts; the first text is the configuration file itself.
#[derive(Default)]
pub(crate) struct Parts {
    pub(crate) main: yaml::Config,
    pub(crate) listeners: Vec<Item<yaml::Listener>>,
    pub(crate) pools: Vec<Item<yaml::Pool>>,
    pub(crate) routes: Vec<Item<yaml::Route>>,
}

/// The texts, to report to.
pub(crate) type Texts<'t, 'e> = &'t mut [Document<'e>];

/// Checks everything. The plan is of use only if no text has a finding.
pub(crate) fn check(parts: Parts, texts: Texts<'_, '_>, modules: &[ModuleEntry]) -> Plan {
    let Parts { main, listeners, pools, routes } = parts;
    let listener_names = listener::names(&main, &listeners);
    let listeners = listener::check(&main, listeners, texts);
    let admin = admin::check(&main, &listeners, &mut texts[0]);
    let listeners = listeners.into_iter().map(|(_, listener)| listener).collect();
    let auth = auth::check(&main, &mut texts[0]);
    let pools = pool::check(pools, texts);
    let known = Known {
        listeners: listener_names,
        pools: &pools,
        auth: auth.as_ref(),
        auth_written: main.auth.is_some() || texts[0].is_damaged(&path(&["auth"])),
        modules,
        broken: Known::broken(texts),
    };
    let routes = route::check(routes, main.routes.is_some(), texts, &known);
    let main_text = &mut texts[0];
    Plan {
        listeners,
        admin,
        auth,
        pools,
        routes,
        headers: headers(&main),
        limits: limits(&main, main_text),
        timeouts: timeouts(&main, main_text),
        access_log: access_log(&main, main_text),
        log_decisions: main.log_decisions.map_or(0.0, |share| share.0),
        learned_file: main
            .learned_file
            .as_deref()
            .map(|written| writable(main_text, &["learned_file"], written, "what was learned cannot be kept there")),
        warnings: Vec::new(),
    }
}

fn headers(main: &yaml::Config) -> HeadersPlan {
    let (yaml, normal) = (&main.headers, defaults::HEADERS);
    HeadersPlan {
        endpoint: yaml.endpoint.unwrap_or(normal.endpoint),
        route: yaml.route.unwrap_or(normal.route),
        reason: yaml.reason.unwrap_or(normal.reason),
    }
}

fn limits(main: &yaml::Config, text: &mut Document<'_>) -> LimitsPlan {
    let (yaml, normal) = (&main.limits, defaults::LIMITS);
    let bytes = |size: Option<Size>, normal: u64| size.map_or(normal, |size| size.0);
    let limits = LimitsPlan {
        body: bytes(yaml.body, normal.body),
        bodies: bytes(yaml.bodies, normal.bodies),
        header: bytes(yaml.header, normal.header),
    };
    if limits.body == 0 {
        too_small(text, &["limits", "body"], "1B or more");
    }
    if limits.bodies < limits.body {
        let (body, bodies) = (Size(limits.body), Size(limits.bodies));
        let key = if yaml.bodies.is_some() { "bodies" } else { "body" };
        text.at(&path(&["limits", key]), format!("all bodies together ({bodies}) hold less than one body ({body})"))
            .allowed = Some("limits.bodies at least limits.body".into());
    }
    if !(1024..=1 << 20).contains(&limits.header) {
        out_of_range(text, &["limits", "header"], &Size(limits.header).to_string(), "1KiB to 1MiB");
    }
    limits
}

fn timeouts(main: &yaml::Config, text: &mut Document<'_>) -> ClientTimeoutsPlan {
    let (yaml, normal) = (&main.timeouts, defaults::CLIENT_TIMEOUTS);
    for (key, span) in [("header", yaml.header), ("client_stall", yaml.client_stall)] {
        positive(text, &path(&["timeouts", key]), span);
    }
    ClientTimeoutsPlan {
        header: yaml.header.map_or(normal.header, |span| span.0),
        client_stall: yaml.client_stall.map_or(normal.client_stall, |span| span.0),
    }
}

fn access_log(main: &yaml::Config, text: &mut Document<'_>) -> AccessLogPlan {
    match &main.access_log {
        None | Some(yaml::AccessLog::Stdout) => AccessLogPlan::Stdout,
        Some(yaml::AccessLog::None) => AccessLogPlan::Off,
        Some(yaml::AccessLog::File(written)) => {
            let why = "the access log cannot be written there";
            AccessLogPlan::File(writable(text, &["access_log", "file"], written, why))
        }
    }
}

/// A file that is to be written, beside the configuration.
fn writable(text: &mut Document<'_>, at: &[&str], written: &str, why_not: &str) -> std::path::PathBuf {
    let file = text.beside(written);
    if !file.parent().is_some_and(std::path::Path::is_dir) || file.is_dir() {
        let found = text.at(&path(at), why_not);
        found.found = Some(written.into());
        found.allowed = Some("a file in a folder that exists".into());
    }
    file
}

/// A path from its parts.
fn path(parts: &[&str]) -> Path {
    parts.iter().map(|part| part.to_string()).collect()
}

/// A path one step on.
fn below(path: &[String], step: &str) -> Path {
    path.iter().cloned().chain([step.to_string()]).collect()
}

fn too_small(text: &mut Document<'_>, at: &[&str], allowed: &str) {
    out_of_range(text, at, "0", allowed);
}

fn out_of_range(text: &mut Document<'_>, at: &[&str], found: &str, allowed: &str) {
    range(text, &path(at), found, allowed);
}

/// A value that is outside of its range.
fn range(text: &mut Document<'_>, at: &[String], found: &str, allowed: &str) {
    let finding = text.at(at, format!("{} is {found}", item(at)));
    finding.found = Some(found.into());
    finding.allowed = Some(allowed.into());
}

/// A time must not be zero.
fn positive(text: &mut Document<'_>, at: &[String], span: Option<Span>) {
    if span.is_some_and(|span| span.0.is_zero()) {
        range(text, at, "0s", "more than 0s");
    }
}

/// Names go into headers, logs and metrics.
fn check_name(text: &mut Document<'_>, at: &[String], what: &str, name: &str) {
    if !is_name(name) {
        let finding = text.at_key(at, format!("`{name}` cannot be the name of {what}"));
        finding.allowed = Some("1 to 100 visible ASCII characters without blanks, quotes, `,`, `;` and `\\`".into());
    }
}

fn is_name(name: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_graphic() && !matches!(letter, '"' | '\\' | ',' | ';');
    !name.is_empty() && name.len() <= 100 && name.chars().all(plain)
}

/// True if a key is missing that is not there because it could not be read.
fn is_missing(text: &Document<'_>, at: &[String], key: &str) -> bool {
    !text.is_broken(&below(at, key))
}

/// Completes the finding of a name that is unknown: what there is (`what`, if there is nothing), and what is nearest.
fn near<'n>(finding: &mut Diagnostic, name: &str, known: impl Iterator<Item = &'n str>, what: &str) {
    let mut seen = BTreeSet::new();
    let known: Vec<&str> = known.filter(|name| seen.insert(*name)).collect();
    finding.found = Some(name.into());
    finding.allowed = Some(if known.is_empty() { what.into() } else { known.join(", ") });
    finding.hint = did_you_mean(name, known);
}

/// Names or URLs that must differ: reports the second use and points at the first.
#[derive(Default)]
struct Unique(BTreeMap<String, String>);

impl Unique {
    fn check(&mut self, text: &mut Document<'_>, at: &[String], key: &str, message: &str) -> bool {
        if let Some(first) = self.0.get(key) {
            let found = format!("the first one is at {first}");
            text.at(at, message).found = Some(found);
            return false;
        }
        self.0.insert(key.into(), text.line_of(at));
        true
    }
}
