//! The YAML as written: one struct per mapping, nothing checked but names and types, nothing filled in.
//!
//! Every key is here with its one line of help: the JSON Schema is made from these comments. A key that is not here
//! is refused. What the keys mean together is checked in [`crate::config::check`].

mod affinity;
mod endpoint;
mod forms;
mod health;
mod listener;
mod priority;
mod retry;
mod route;
mod slow_start;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

pub use affinity::{Affinity, Keeping};
pub use endpoint::{Endpoint, EndpointOptions, EndpointTls, EndpointYaml, Engine, InFlight, Models};
pub use forms::{CanBeNone, NoneOr, OneOrMany, OneOrManyOf, Poll, Table};
pub use health::{Checks, Ejecting, Ejection, Health, Last, Statuses};
pub use listener::{Auth, Cert, Listener};
pub use priority::{AskedPriority, Priority};
pub use retry::{Backup, Cause, OnDown, Retries, RetriesYaml, Reuse};
pub use route::{Balance, Clients, Match, PoolChoice, Route};
pub use slow_start::{Ramp, SlowStart};

use crate::config::units::{Share, Size, Span, SpanOrNone};

/// A configuration file.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Short form for one listener: the address to listen on, like `0.0.0.0:11434`.
    pub listen: Option<String>,
    /// Listeners by name.
    pub listeners: Table<Listener>,
    /// The admin listener; off unless given. `{}` listens on 127.0.0.1:9901.
    pub admin: Option<Admin>,
    /// Whose requests are served; without it everyone's.
    pub auth: Option<Auth>,
    /// Pools by name: endpoints that share a queue.
    pub pools: Table<Pool>,
    /// Routes, first match wins. Left out: everything goes to the only pool.
    pub routes: Option<Vec<Route>>,
    /// Headers that tell clients what was decided.
    pub headers: Headers,
    /// Where one JSON line per request goes: `stdout`, `none`, or `{ file: PATH }`.
    pub access_log: Option<AccessLog>,
    /// The share of requests whose line also tells the decision: every candidate with its priced terms. Default 0%.
    pub log_decisions: Option<Share>,
    /// A file that keeps what was learned of engines (speeds, lengths, load times) over restarts: read at the start,
    /// written every minute and at the end. Left out: a restart begins with nothing learned.
    pub learned_file: Option<String>,
    /// Bounds on memory.
    pub limits: Limits,
    /// Timeouts towards clients.
    pub timeouts: ClientTimeouts,
    /// More files with listeners, pools and routes: globs beside this file, read in the order of their names.
    pub include: Vec<String>,
}

/// What an included file may hold.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Included {
    /// Added to the listeners.
    pub listeners: Table<Listener>,
    /// Added to the pools.
    pub pools: Table<Pool>,
    /// Appended to the routes.
    pub routes: Vec<Route>,
}

/// The admin listener.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Address and port, or `unix:` and the path of a socket. Default 127.0.0.1:9901.
    pub bind: Option<String>,
    /// A file with the token that callers must send as `authorization: Bearer TOKEN`: one line, 16 characters or more.
    /// Required where `bind` is an address that others can reach.
    pub token_file: Option<String>,
}

/// Headers on answers.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Headers {
    /// `x-arriero-endpoint`: which endpoint answered. Default true.
    pub endpoint: Option<bool>,
    /// `x-arriero-route`: which route matched. Default true.
    pub route: Option<bool>,
    /// `x-arriero-reason`: why this endpoint. Default false.
    pub reason: Option<bool>,
}

/// The access log.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AccessLog {
    /// To standard output.
    Stdout,
    /// Off.
    None,
    /// Appended to this file.
    File(String),
}

/// Bounds on memory.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The largest request body. Default 32MiB.
    pub body: Option<Size>,
    /// All buffered bodies together. Default 1GiB.
    pub bodies: Option<Size>,
    /// The largest request header. Default 64KiB.
    pub header: Option<Size>,
}

/// Timeouts towards clients.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClientTimeouts {
    /// For the whole request header. Default 10s.
    pub header: Option<Span>,
    /// A client that takes no bytes for this long is cut off. Default 60s.
    pub client_stall: Option<Span>,
}

/// Endpoints that share a queue.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pool {
    /// The engines. A bare URL is short for `{ url: URL }`.
    pub endpoints: Vec<EndpointYaml>,
    /// Options for every endpoint that does not set them itself; headers and labels are joined key by key.
    pub defaults: EndpointOptions,
    /// Who serves where no normal endpoint can: `all` backups, or `one`, the first that can. Default all.
    pub backup: Option<Backup>,
    /// Active health checks, or `none`.
    pub health: Option<Health>,
    /// When an endpoint whose requests fail is left out for a time, or `none`.
    pub ejection: Option<Ejection>,
    /// True: where no endpoint is up, requests go to those that are down or ejected all the same. Default false.
    pub panic: Option<bool>,
    /// Where requests wait while no endpoint is free.
    pub queue: Queue,
    /// How often a request that failed before its first response byte is tried on another endpoint, or a mapping with
    /// more. Default 2.
    pub retries: Option<RetriesYaml>,
    /// Requests that run on an endpoint which turns down: `finish` them, or `cut` them. Default finish.
    pub on_down: Option<OnDown>,
    /// Kept connections to engines: `safe` (not for what must not be sent twice), `always` or `never`. Default safe.
    pub reuse: Option<Reuse>,
    /// Timeouts towards the engines.
    pub timeouts: PoolTimeouts,
    /// How often engines are asked for their load. Default `auto`: 2s, or 500ms for engines with a queue gauge.
    pub poll: Option<Poll>,
}

/// A pool's waiting queue.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Queue {
    /// Most waiting requests. 0 = nobody waits. Default 1000.
    pub max_requests: Option<u32>,
    /// Most bytes of waiting bodies. Default 256MiB.
    pub max_bytes: Option<Size>,
    /// The longest wait. Default 60s.
    pub timeout: Option<Span>,
}

/// Timeouts towards engines.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PoolTimeouts {
    /// To connect. Default 1s.
    pub connect: Option<Span>,
    /// Until the first byte of the answer. Default 300s.
    pub first_byte: Option<SpanOrNone>,
    /// Between two parts of the answer. Default 120s.
    pub between_chunks: Option<SpanOrNone>,
    /// For the whole request. Default none.
    pub total: Option<SpanOrNone>,
}

/// Text by text, sorted.
pub type TextMap = BTreeMap<String, String>;
