//! The dump of one endpoint: headers masked, a key file as its name.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::{Rows, file, text};
use crate::config::plan::{EndpointPlan, EndpointTlsPlan, EngineKind};
use crate::config::units::{Size, Span};

#[derive(Serialize)]
pub(super) struct Endpoint<'p> {
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
    slow_start: Option<SlowStart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<Tls>,
    http2: bool,
    resolve: Span,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key_file: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<&'p str, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<&'p str, String>,
}

#[derive(Serialize)]
struct SlowStart {
    over: Span,
    new: bool,
}

#[derive(Serialize)]
struct Tls {
    #[serde(skip_serializing_if = "Option::is_none")]
    ca: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_name: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    insecure: bool,
}

impl Tls {
    fn of(plan: &EndpointTlsPlan) -> Option<Tls> {
        let EndpointTlsPlan { ca, server_name, insecure } = plan;
        let written =
            Tls { ca: ca.as_deref().map(file), server_name: server_name.as_deref().map(text), insecure: *insecure };
        (*plan != EndpointTlsPlan::default()).then_some(written)
    }
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
    pub(super) fn of(plan: &'p EndpointPlan) -> Endpoint<'p> {
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
            slow_start: spec.slow_start.map(|ramp| SlowStart { over: Span(ramp.over), new: ramp.new }),
            tls: Tls::of(&plan.tls_options),
            http2: plan.http2,
            resolve: Span(plan.resolve),
            api_key_file: plan.api_key_file.as_deref().map(text),
            headers: plan.headers.iter().map(|(name, value)| (name.as_str(), value.to_string())).collect(),
            labels: plan.labels.iter().map(|(name, value)| (name.as_str(), text(value))).collect(),
        }
    }
}
