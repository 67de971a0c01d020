//! The YAML of one endpoint: a bare URL, or a mapping.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Serialize};

use super::{SlowStart, Table, TextMap};
use crate::config::units::{Size, Span};

/// What kind of engine answers at an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// Ask it.
    #[default]
    Auto,
    /// Ollama.
    Ollama,
    /// llama.cpp's server, single or router mode.
    LlamaCpp,
    /// vLLM.
    Vllm,
    /// SGLang.
    Sglang,
    /// Anything that speaks the OpenAI API.
    Openai,
}

impl Engine {
    /// Its name in YAML.
    pub fn name(self) -> &'static str {
        match self {
            Engine::Auto => "auto",
            Engine::Ollama => "ollama",
            Engine::LlamaCpp => "llama-cpp",
            Engine::Vllm => "vllm",
            Engine::Sglang => "sglang",
            Engine::Openai => "openai",
        }
    }
}

/// How an https endpoint is verified.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EndpointTls {
    /// A PEM file with the roots to trust for it, instead of the system's.
    pub ca: Option<String>,
    /// The name to ask for and to verify. Default: the URL's host.
    pub server_name: Option<String>,
    /// Take any certificate. Default false; `check` warns of it.
    pub insecure: Option<bool>,
}

macro_rules! endpoint_options {
    ($(#[$about:meta])* $name:ident { $($(#[$extra_about:meta])* $extra:ident: $extra_type:ty),* }) => {
        $(#[$about])*
        #[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[$extra_about])* pub $extra: $extra_type,)*
            /// The kind of engine. Default auto: it is asked.
            #[serde(default)]
            pub engine: Option<Engine>,
            /// Its share of the work, 0-256; 0 takes no new work. Default 1.
            #[serde(default)]
            #[schemars(range(max = 256))]
            pub weight: Option<u32>,
            /// Used only when no other endpoint can serve. Default false.
            #[serde(default)]
            pub backup: Option<bool>,
            /// Most requests at once, or `auto`. Default auto.
            #[serde(default)]
            pub max_in_flight: Option<InFlight>,
            /// How many requests the engine works on at once, where it does not tell.
            #[serde(default)]
            #[schemars(range(min = 1))]
            pub slots: Option<u32>,
            /// Memory for models, like `12GiB`.
            #[serde(default)]
            pub vram: Option<Size>,
            /// The models it serves: `[a, b]`, or `{ public: local }` where it names them differently. Left out: it is asked.
            #[serde(default)]
            pub models: Option<Models>,
            /// Extra time for the first byte while a model loads. Default 0s.
            #[serde(default)]
            pub load_allowance: Option<Span>,
            /// Weight and cap grow for this long after it came back up: `30s`; `{ over: 30s, new: true }` for endpoints that
            /// join a running pool, too; or `none`. Default none.
            #[serde(default)]
            pub slow_start: Option<SlowStart>,
            /// A file with the API key, beside the configuration file.
            #[serde(default)]
            pub api_key_file: Option<String>,
            /// Headers on every request to it. Masked wherever they are shown.
            #[serde(default)]
            pub headers: TextMap,
            /// A file with more headers, one `name: value` per line.
            #[serde(default)]
            pub headers_file: Option<String>,
            /// How TLS to it is verified; for https only.
            #[serde(default)]
            pub tls: Option<EndpointTls>,
            /// Speak HTTP/2 to it: negotiated with https, unasked with http. Default false.
            #[serde(default)]
            pub http2: Option<bool>,
            /// The longest that a resolved address is trusted, 1s or more. Default 30s.
            #[serde(default)]
            pub resolve: Option<Span>,
            /// Labels for logs and a route's `where`.
            #[serde(default)]
            pub labels: TextMap,
        }
    };
}

endpoint_options! {
    /// What a pool's `defaults` may hold.
    EndpointOptions {}
}

endpoint_options! {
    /// One endpoint.
    Endpoint {
        /// Scheme, host, port and base path, like `http://127.0.0.1:11434`. It belongs to one pool only. Required.
        #[schemars(required)]
        url: Option<String>,
        /// Its name in logs, headers and metrics, and its identity. Default: the URL.
        #[serde(default)]
        name: Option<String>
    }
}

impl Endpoint {
    /// Fills what it leaves out from the pool's defaults.
    pub fn or(self, defaults: &EndpointOptions) -> Endpoint {
        let join = |own: TextMap, more: &TextMap| {
            let mut all = more.clone();
            all.extend(own);
            all
        };
        Endpoint {
            url: self.url,
            name: self.name,
            engine: self.engine.or(defaults.engine),
            weight: self.weight.or(defaults.weight),
            backup: self.backup.or(defaults.backup),
            max_in_flight: self.max_in_flight.or(defaults.max_in_flight),
            slots: self.slots.or(defaults.slots),
            vram: self.vram.or(defaults.vram),
            models: self.models.or_else(|| defaults.models.clone()),
            load_allowance: self.load_allowance.or(defaults.load_allowance),
            slow_start: self.slow_start.or(defaults.slow_start),
            api_key_file: self.api_key_file.or_else(|| defaults.api_key_file.clone()),
            headers: join(self.headers, &defaults.headers),
            headers_file: self.headers_file.or_else(|| defaults.headers_file.clone()),
            tls: self.tls.or_else(|| defaults.tls.clone()),
            http2: self.http2.or(defaults.http2),
            resolve: self.resolve.or(defaults.resolve),
            labels: join(self.labels, &defaults.labels),
        }
    }
}

/// One endpoint as written.
#[derive(Clone, Debug)]
pub struct EndpointYaml(pub Endpoint);

impl<'de> Deserialize<'de> for EndpointYaml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UrlOrMapping).map(EndpointYaml)
    }
}

struct UrlOrMapping;

impl<'de> Visitor<'de> for UrlOrMapping {
    type Value = Endpoint;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a URL, or a mapping with a url")
    }

    fn visit_str<E: Error>(self, url: &str) -> Result<Endpoint, E> {
        Ok(Endpoint { url: Some(url.into()), ..Endpoint::default() })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Endpoint, A::Error> {
        Endpoint::deserialize(MapAccessDeserializer::new(map))
    }
}

impl JsonSchema for EndpointYaml {
    fn schema_name() -> Cow<'static, str> {
        "UrlOrEndpoint".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let endpoint = generator.subschema_for::<Endpoint>();
        json_schema!({ "anyOf": [{ "type": "string", "description": "The endpoint's URL." }, endpoint] })
    }
}

/// `max_in_flight`: a number, or `auto` = `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InFlight(pub Option<u32>);

impl<'de> Deserialize<'de> for InFlight {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_u32(NumberOrAuto)
    }
}

struct NumberOrAuto;

impl Visitor<'_> for NumberOrAuto {
    type Value = InFlight;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a whole number from 1, or auto")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<InFlight, E> {
        match u32::try_from(number) {
            Ok(number) if number > 0 => Ok(InFlight(Some(number))),
            _ => Err(E::invalid_value(Unexpected::Unsigned(number), &self)),
        }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<InFlight, E> {
        let wrong = Unexpected::Signed(number);
        u64::try_from(number)
            .map_err(|_| E::invalid_value(wrong, &self))
            .and_then(|number| NumberOrAuto.visit_u64(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<InFlight, E> {
        if text == "auto" { Ok(InFlight(None)) } else { Err(E::invalid_value(Unexpected::Str(text), &self)) }
    }
}

impl JsonSchema for InFlight {
    fn schema_name() -> Cow<'static, str> {
        "InFlight".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "integer", "minimum": 1 }, { "const": "auto" }] })
    }
}

/// `models`: public name and the engine's own name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Models(pub Vec<(String, String)>);

impl<'de> Deserialize<'de> for Models {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListOrMapping)
    }
}

struct ListOrMapping;

impl<'de> Visitor<'de> for ListOrMapping {
    type Value = Models;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a list of models, or a mapping of public to local names")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Models, A::Error> {
        let mut models = Vec::new();
        while let Some(model) = items.next_element::<String>()? {
            models.push((model.clone(), model));
        }
        Ok(Models(models))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Models, A::Error> {
        Table::<String>::deserialize(MapAccessDeserializer::new(map)).map(|table| Models(table.0))
    }
}

impl JsonSchema for Models {
    fn schema_name() -> Cow<'static, str> {
        "Models".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "array", "items": { "type": "string" } },
            { "type": "object", "additionalProperties": { "type": "string" } },
        ] })
    }
}
