//! The commands and the request that each becomes.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::client::Request;
use crate::admin::control::{CapWord, EndpointChange, ExplainRequest, FileWord, NoneWord, State, WeightWord};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Everything at a glance: generation, pools, endpoints, routes.
    Status,
    /// The pools with their queues.
    Pools,
    /// All endpoints.
    Endpoints,
    /// The routes with their strategies.
    Routes,
    /// The pools' queues.
    Queues,
    /// Statistics with HAProxy's names.
    Stat {
        /// All columns, in HAProxy's CSV form.
        #[arg(long)]
        csv: bool,
    },
    /// One endpoint in full.
    Show {
        /// Its name.
        endpoint: String,
    },
    /// Set an endpoint's weight, cap or state. They survive reloads until they are given back with `file`.
    Set(SetArguments),
    /// Let an endpoint finish what runs; only requests that are pinned there still come.
    Drain {
        /// Its name.
        endpoint: String,
    },
    /// Send an endpoint nothing and check it no more.
    Maint {
        /// Its name.
        endpoint: String,
    },
    /// Let an endpoint serve again.
    Ready {
        /// Its name.
        endpoint: String,
    },
    /// Add an endpoint to a pool, until the next reload.
    Add(AddArguments),
    /// Take an endpoint out of its pool, until the next reload. It finishes what runs.
    Remove {
        /// Its name.
        endpoint: String,
    },
    /// Change a route's strategy, until the next reload.
    Balance {
        /// The route.
        route: String,
        /// A module's name, or JSON: {"hash": {"key": "model"}}.
        balance: String,
    },
    /// Where would a request go now, and why? Nothing is sent.
    Explain(ExplainArguments),
    /// Which keys are kept at which endpoint.
    Affinity {
        /// Only this pool's.
        #[arg(long)]
        pool: Option<String>,
        /// How many rows at most.
        #[arg(long, default_value_t = 1000)]
        limit: usize,
    },
    /// Forget affinity: of a pool, of a key, or all of it.
    ClearAffinity {
        /// Only this pool's.
        #[arg(long)]
        pool: Option<String>,
        /// Only this key, as `affinity` shows it.
        #[arg(long)]
        key: Option<String>,
    },
    /// Read the configuration again; answers when it is in force, or says what is wrong.
    Reload,
    /// Which configuration runs.
    Generation,
}

#[derive(Debug, Args)]
pub(super) struct SetArguments {
    /// The endpoint's name.
    endpoint: String,
    /// 0 to 256, or `file`.
    #[arg(long, value_name = "N|file", value_parser = weight)]
    weight: Option<WeightWord>,
    /// 1 or more, `none`, or `file`.
    #[arg(long, value_name = "N|none|file", value_parser = cap)]
    max_in_flight: Option<CapWord>,
    /// ready, drain or maint.
    #[arg(long, value_parser = state)]
    state: Option<State>,
}

#[derive(Debug, Args)]
pub(super) struct AddArguments {
    /// The pool.
    pool: String,
    /// The engine's URL.
    url: String,
    /// What it is called; without one, its URL.
    #[arg(long)]
    name: Option<String>,
    /// Another of its keys, as in the configuration: weight=5, engine=vllm, labels={"rack":"b"}. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct ExplainArguments {
    /// The request's path.
    #[arg(long, default_value = "/v1/chat/completions")]
    path: String,
    /// Its method.
    #[arg(long, default_value = "POST")]
    method: String,
    /// The model, in a small body.
    #[arg(long, conflicts_with = "body")]
    model: Option<String>,
    /// A file with the body; `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    /// A header: `name: value`. May be repeated.
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The listener it would come by.
    #[arg(long)]
    listener: Option<String>,
}

fn weight(word: &str) -> Result<WeightWord, String> {
    if word == "file" {
        return Ok(WeightWord::File(FileWord::File));
    }
    word.parse().map(WeightWord::Is).map_err(|_| "a number from 0 to 256, or file".into())
}

fn cap(word: &str) -> Result<CapWord, String> {
    match word {
        "file" => Ok(CapWord::File(FileWord::File)),
        "none" => Ok(CapWord::Unlimited(NoneWord::None)),
        number => number.parse().map(CapWord::Is).map_err(|_| "a number from 1, none, or file".into()),
    }
}

fn state(word: &str) -> Result<State, String> {
    serde_json::from_value(json!(word)).map_err(|_| "ready, drain or maint".into())
}

impl Command {
    /// What is asked of the API.
    pub(super) fn request(&self) -> Result<Request, String> {
        Ok(match self {
            Command::Status => Request::get("/api/status"),
            Command::Pools => Request::get("/api/pools"),
            Command::Endpoints => Request::get("/api/endpoints"),
            Command::Routes => Request::get("/api/routes"),
            Command::Queues => Request::get("/api/queues"),
            Command::Stat { csv: true } => Request::get("/api/stats.csv"),
            Command::Stat { csv: false } => Request::get("/api/stats"),
            Command::Show { endpoint } => Request::get(&at(endpoint)),
            Command::Set(arguments) => arguments.request()?,
            Command::Drain { endpoint } => change(endpoint, &EndpointChange::to_state(State::Drain))?,
            Command::Maint { endpoint } => change(endpoint, &EndpointChange::to_state(State::Maint))?,
            Command::Ready { endpoint } => change(endpoint, &EndpointChange::to_state(State::Ready))?,
            Command::Add(arguments) => arguments.request()?,
            Command::Remove { endpoint } => Request::new("DELETE", &at(endpoint), None),
            Command::Balance { route, balance } => {
                Request::new("PUT", &format!("/api/routes/{}/balance", encoded(route)), Some(as_balance(balance)?))
            }
            Command::Explain(arguments) => arguments.request()?,
            Command::Affinity { pool, limit } => {
                Request::get(&with_query("/api/affinity", &[("pool", pool), ("limit", &Some(limit.to_string()))]))
            }
            Command::ClearAffinity { pool, key } => {
                Request::new("DELETE", &with_query("/api/affinity", &[("pool", pool), ("key", key)]), None)
            }
            Command::Reload => Request::new("POST", "/api/reload", None),
            Command::Generation => Request::get("/api/generation"),
        })
    }
}

/// Bytes of a name that need no encoding in a path or a query.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

fn encoded(name: &str) -> String {
    utf8_percent_encode(name, PLAIN).to_string()
}

fn at(endpoint: &str) -> String {
    format!("/api/endpoints/{}", encoded(endpoint))
}

fn with_query(path: &str, fields: &[(&str, &Option<String>)]) -> String {
    let given = fields.iter().filter_map(|(name, value)| Some(format!("{name}={}", encoded(value.as_deref()?))));
    let query = given.collect::<Vec<_>>().join("&");
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

fn change(endpoint: &str, change: &EndpointChange) -> Result<Request, String> {
    change.check().map_err(|error| error.in_words())?;
    let body = serde_json::to_value(change).map_err(|error| error.to_string())?;
    Ok(Request::new("PATCH", &at(endpoint), Some(body)))
}

fn as_balance(word: &str) -> Result<Value, String> {
    if !word.trim_start().starts_with('{') {
        return Ok(json!(word));
    }
    serde_json::from_str(word).map_err(|error| format!("the balance is no JSON: {error}"))
}

impl SetArguments {
    fn request(&self) -> Result<Request, String> {
        let wanted = EndpointChange { weight: self.weight, max_in_flight: self.max_in_flight, state: self.state };
        if wanted == EndpointChange::default() {
            return Err("nothing to set: --weight, --max-in-flight or --state".into());
        }
        change(&self.endpoint, &wanted)
    }
}

impl AddArguments {
    fn request(&self) -> Result<Request, String> {
        let mut endpoint = Map::from_iter([("url".to_owned(), json!(self.url))]);
        endpoint.extend(self.name.as_ref().map(|name| ("name".to_owned(), json!(name))));
        for pair in &self.set {
            let (key, value) = pair.split_once('=').ok_or_else(|| format!("--set {pair}: KEY=VALUE is wanted"))?;
            // What is no JSON is a text: weight=5 is a number, engine=vllm and slow_start=30s are words.
            let value = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
            if endpoint.insert(key.trim().to_owned(), value).is_some() {
                return Err(format!("--set {pair}: `{}` is given twice", key.trim()));
            }
        }
        let path = format!("/api/pools/{}/endpoints", encoded(&self.pool));
        Ok(Request::new("POST", &path, Some(Value::Object(endpoint))))
    }
}

impl ExplainArguments {
    fn request(&self) -> Result<Request, String> {
        let has_body = !["GET", "HEAD", "DELETE"].contains(&self.method.to_ascii_uppercase().as_str());
        let body = match &self.body {
            Some(file) => Some(Value::String(read(file)?)),
            None if has_body || self.model.is_some() => Some(small_body(self.model.as_deref())),
            None => None,
        };
        let mut headers = BTreeMap::new();
        for header in &self.headers {
            let (name, value) =
                header.split_once(':').ok_or_else(|| format!("--header {header}: `name: value` is wanted"))?;
            headers.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
        let request = ExplainRequest {
            listener: self.listener.clone(),
            method: self.method.to_ascii_uppercase(),
            path: self.path.clone(),
            headers,
            body,
        };
        let body = serde_json::to_value(&request).map_err(|error| error.to_string())?;
        Ok(Request::new("POST", "/api/explain", Some(body)))
    }
}

fn small_body(model: Option<&str>) -> Value {
    let mut body = json!({ "messages": [{ "role": "user", "content": "hi" }] });
    if let Some(model) = model {
        body["model"] = json!(model);
    }
    body
}

fn read(file: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = if file == Path::new("-") {
        std::io::stdin().read_to_end(&mut bytes).map(drop)
    } else {
        std::fs::read(file).map(|all| bytes = all)
    };
    read.map_err(|error| format!("{}: {error}", file.display()))?;
    String::from_utf8(bytes).map_err(|_| format!("{}: the body is no text", file.display()))
}
