//! One endpoint: its URL, ranges, models, headers and the files with its secrets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arriero_core::endpoint::{EndpointSpec, SlowStart};
use http::{HeaderName, HeaderValue};

use super::file::read;
use super::{Unique, below, check_name, range, tls, url};
use crate::config::document::Document;
use crate::config::places::Path;
use crate::config::plan::{EndpointPlan, defaults};
use crate::config::secret::Secret;
use crate::config::wording::item;
use crate::config::yaml::{self, Endpoint, Models};

/// What must differ over all pools.
#[derive(Default)]
pub(super) struct Fleet {
    urls: Unique,
    names: Unique,
}

impl Fleet {
    /// Notes an endpoint that is there already.
    pub(super) fn add(&mut self, endpoint: &EndpointPlan, place: &str) {
        if let Ok(url) = url::parse(&endpoint.url) {
            self.urls.0.insert(url.key(), place.into());
        }
        self.names.0.insert(endpoint.spec.name.to_string(), place.into());
    }
}

/// Headers that Arriero or the connection sets itself.
const RESERVED: [&str; 8] =
    ["connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "proxy-connection"];

/// The longest slow start.
const LONGEST_RAMP: Duration = Duration::from_secs(24 * 3600);

/// One endpoint of the pool at `pool`; where a value came from decides where its finding is placed.
pub(super) struct Origin<'p> {
    pub(super) endpoint: &'p Path,
    pool: &'p Path,
}

impl Origin<'_> {
    /// Where the value under this key was written: at the endpoint, or in the pool's defaults.
    pub(super) fn of(&self, text: &Document<'_>, key: &[&str]) -> Path {
        let own: Path = key.iter().fold(self.endpoint.clone(), |path, step| below(&path, step));
        let common = key.iter().fold(below(self.pool, "defaults"), |path, step| below(&path, step));
        if !text.has(&own) && text.has(&common) { common } else { own }
    }
}

pub(super) fn check(
    text: &mut Document<'_>,
    at: &Path,
    pool: &Path,
    yaml: Endpoint,
    fleet: &mut Fleet,
) -> Option<EndpointPlan> {
    let origin = Origin { endpoint: at, pool };
    ranges(text, &origin, &yaml);
    let headers = headers(text, &origin, &yaml);
    let api_key = api_key(text, &origin, &yaml);
    let models = yaml.models.as_ref().map(|models| check_models(text, &origin, models));
    let slow_start = yaml.slow_start.and_then(|slow_start| ramp(text, &origin, slow_start));
    let own_url = below(at, "url");
    let url_at = if text.has(&own_url) { own_url } else { at.clone() };
    let Some(written) = &yaml.url else {
        if !text.is_broken(&url_at) && !text.is_broken(&below(at, "url")) {
            text.at(at, format!("{} has no `url`", item(at))).allowed = Some(url::ALLOWED.into());
        }
        return None;
    };
    let url = match url::parse(written) {
        Ok(url) => url,
        Err(error) => {
            let finding = text.at(&url_at, format!("{} is no endpoint's URL: {error}", item(&url_at)));
            finding.allowed = Some(url::ALLOWED.into());
            return None;
        }
    };
    let tls_options = tls::endpoint(text, &origin, &yaml, url.tls);
    let written = written.trim_end_matches('/');
    let twice = format!("{written} is an endpoint already; a URL belongs to one pool, once");
    let is_new = fleet.urls.check(text, &url_at, &url.key(), &twice);
    let short = written.split_once("://").map_or(written, |(_, rest)| rest);
    let name = yaml.name.as_deref().unwrap_or(short);
    let name_at = if yaml.name.is_some() { below(at, "name") } else { url_at };
    if is_new || yaml.name.is_some() {
        check_name(text, &name_at, "an endpoint", name);
        let called = format!("two endpoints are called `{name}`: give one another `name`");
        fleet.names.check(text, &name_at, name, &called);
    }
    if yaml.name.is_some() && name.contains("://") {
        text.at(&name_at, "an endpoint's name must not look like a URL").found = Some(name.into());
    }
    let identity = yaml.name.as_deref().unwrap_or(written);
    Some(EndpointPlan {
        spec: EndpointSpec {
            identity: identity.into(),
            name: name.into(),
            url: written.into(),
            weight: yaml.weight.unwrap_or(defaults::WEIGHT),
            backup: yaml.backup.unwrap_or(false),
            max_in_flight: yaml.max_in_flight.and_then(|cap| cap.0),
            slots: yaml.slots,
            vram: yaml.vram.map(|size| size.0),
            models,
            load_allowance: yaml.load_allowance.map_or(Duration::ZERO, |span| span.0),
            slow_start,
        },
        url: written.into(),
        tls: url.tls,
        tls_options,
        http2: yaml.http2.unwrap_or(false),
        resolve: yaml.resolve.map_or(defaults::RESOLVE, |span| span.0),
        host: url.host,
        port: url.port,
        base_path: url.base_path,
        engine: yaml.engine.unwrap_or_default(),
        headers,
        api_key,
        api_key_file: yaml.api_key_file,
        labels: yaml.labels,
    })
}

fn ranges(text: &mut Document<'_>, origin: &Origin<'_>, yaml: &Endpoint) {
    if let Some(weight) = yaml.weight.filter(|weight| *weight > 256) {
        let at = origin.of(text, &["weight"]);
        range(text, &at, &weight.to_string(), "0 to 256");
    }
    if yaml.slots == Some(0) {
        let at = origin.of(text, &["slots"]);
        range(text, &at, "0", "1 or more");
    }
    if yaml.vram.is_some_and(|size| size.0 == 0) {
        let at = origin.of(text, &["vram"]);
        range(text, &at, "0B", "more than 0B");
    }
    if let Some(span) = yaml.resolve.filter(|span| span.0 < Duration::from_secs(1)) {
        let at = origin.of(text, &["resolve"]);
        range(text, &at, &span.to_string(), "1s or more");
    }
}

/// How it comes in; the time stands under `over`, or alone.
fn ramp(text: &mut Document<'_>, origin: &Origin<'_>, yaml: yaml::SlowStart) -> Option<SlowStart> {
    let yaml::SlowStart::Ramp(ramp) = yaml else { return None };
    let at = origin.of(text, &["slow_start"]);
    let over_at = below(&at, "over");
    let Some(over) = ramp.over else {
        if !text.is_broken(&over_at) {
            text.at(&at, format!("{} has no `over`", item(&at))).allowed =
                Some("a time, `{ over: 30s, new: true }`, or none".into());
        }
        return None;
    };
    let over_at = if text.has(&over_at) { over_at } else { at };
    if over.0.is_zero() || over.0 > LONGEST_RAMP {
        range(text, &over_at, &over.to_string(), "more than 0s, up to 24h; or none");
    }
    Some(SlowStart { over: over.0, new: ramp.new })
}

fn check_models(text: &mut Document<'_>, origin: &Origin<'_>, models: &Models) -> Vec<(Arc<str>, Arc<str>)> {
    let at = origin.of(text, &["models"]);
    if models.0.is_empty() && !text.is_damaged(&at) {
        text.at(&at, format!("{} is empty", item(&at))).hint = Some("leave it out to ask the engine".into());
    }
    let mut seen = BTreeMap::new();
    for (public, local) in &models.0 {
        if public.is_empty() || local.is_empty() {
            text.at(&at, format!("{} has an empty name", item(&at)));
        } else if seen.insert(public, local).is_some() {
            text.at(&at, format!("{} names `{public}` twice", item(&at)));
        }
    }
    models.0.iter().map(|(public, local)| (public.as_str().into(), local.as_str().into())).collect()
}

/// Values are never shown in a finding.
fn headers(text: &mut Document<'_>, origin: &Origin<'_>, yaml: &Endpoint) -> Vec<(String, Secret)> {
    let mut all = BTreeMap::new();
    for (name, value) in &yaml.headers {
        let at = origin.of(text, &["headers", name]);
        match header(name, value) {
            Ok((name, value)) => {
                all.insert(name, value);
            }
            Err(error) => {
                text.at_key(&at, error);
            }
        }
    }
    if let Some(file) = &yaml.headers_file {
        let at = origin.of(text, &["headers_file"]);
        let content = read(text, &at, file).unwrap_or_default();
        for (index, line) in content.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let pair = line.split_once(':').ok_or_else(|| "it is not `name: value`".to_string());
            match pair.and_then(|(name, value)| header(name.trim(), value.trim())) {
                Ok((name, value)) => {
                    all.insert(name, value);
                }
                Err(error) => {
                    text.at(&at, format!("line {} of `{file}`: {error}", index + 1));
                }
            }
        }
    }
    if yaml.api_key_file.is_some() && all.contains_key("authorization") {
        let at = origin.of(text, &["api_key_file"]);
        let finding = text.at(&at, "an API key and an `authorization` header are given");
        finding.allowed = Some("one of them: the key is sent as `authorization: Bearer KEY`".into());
    }
    all.into_iter().collect()
}

fn header(name: &str, value: &str) -> Result<(String, Secret), String> {
    let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` is no header name"))?;
    if RESERVED.contains(&header.as_str()) {
        return Err(format!("header `{name}` belongs to the connection and cannot be set"));
    }
    HeaderValue::from_str(value)
        .map_err(|_| format!("the value of header `{name}` has characters that a header cannot hold"))?;
    Ok((header.as_str().to_string(), Secret::new(value)))
}

fn api_key(text: &mut Document<'_>, origin: &Origin<'_>, yaml: &Endpoint) -> Option<Secret> {
    let file = yaml.api_key_file.as_ref()?;
    let at = origin.of(text, &["api_key_file"]);
    let content = read(text, &at, file)?;
    let key = content.trim();
    if key.is_empty() || HeaderValue::from_str(key).is_err() {
        let what = if key.is_empty() {
            "is empty"
        } else {
            "holds more than one line, or characters that a header cannot hold"
        };
        text.at(&at, format!("key file `{file}` {what}")).allowed = Some("the key, on one line".into());
        return None;
    }
    Some(Secret::new(key))
}
