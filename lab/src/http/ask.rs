//! From a request body to a job: the fields of the three APIs that matter to an engine, and errors in each API's shape.
//!
//! Output length = the smaller of the engine's natural length (or header `x-lab-tokens`) and the request's limit; with
//! `ignore_eos: true` the limit itself. A missing or negative limit does not limit.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::engine::Engine;
use super::spec::Flavour;
use super::text::{Words, tokens_of};
use crate::model::{Job, ModelIndex};

/// Longest output, tokens.
const MAX_OUTPUT: u32 = 1_000_000;
/// Tokens in one prefix block.
const BLOCK_TOKENS: usize = 16;

/// Whose error shape and defaults apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    Ollama,
    OpenAi,
    Anthropic,
}

impl Api {
    pub(crate) fn of(path: &str) -> Api {
        if path.starts_with("/api/") {
            Api::Ollama
        } else if path.starts_with("/v1/messages") {
            Api::Anthropic
        } else {
            Api::OpenAi
        }
    }

    /// An error reply in this API's shape.
    pub(crate) fn error(self, status: StatusCode, message: &str) -> Response {
        let kind = match status {
            StatusCode::NOT_FOUND => "not_found_error",
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::BAD_REQUEST => "invalid_request_error",
            StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
            _ => "api_error",
        };
        let body = match self {
            Api::Ollama => json!({ "error": message }),
            Api::OpenAi => {
                json!({ "error": { "message": message, "type": kind, "param": null, "code": status.as_u16() } })
            }
            Api::Anthropic => json!({ "type": "error", "error": { "type": kind, "message": message } }),
        };
        (status, Json(body)).into_response()
    }

    /// The refusal of a full pending queue.
    pub(crate) fn busy(self) -> Refusal {
        let message = "server busy, please try again.  maximum pending requests exceeded".to_owned();
        Refusal { api: self, status: StatusCode::SERVICE_UNAVAILABLE, message }
    }
}

/// Why a request gets no work done.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    api: Api,
    status: StatusCode,
    message: String,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        self.api.error(self.status, &self.message)
    }
}

/// A request understood.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) model: ModelIndex,
    /// As the client wrote it.
    pub(crate) name: String,
    pub(crate) words: Words,
    pub(crate) prompt_tokens: u32,
    pub(crate) output_tokens: u32,
    /// The limit, not the natural end, set the length.
    pub(crate) cut: bool,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    pub(crate) keep_alive: Option<Duration>,
    /// How many inputs an embedding request holds, and the text of each.
    pub(crate) inputs: Vec<String>,
    blocks: Vec<u64>,
}

impl Ask {
    /// Reads a body, or says what is wrong with it.
    pub(crate) fn parse(engine: &Arc<Engine>, api: Api, headers: &HeaderMap, body: &[u8]) -> Result<Ask, Refusal> {
        let refusal = |status, message: &str| Refusal { api, status, message: message.to_owned() };
        let bad = |message: &str| refusal(StatusCode::BAD_REQUEST, message);
        let value: Value = serde_json::from_slice(body).map_err(|error| bad(&format!("invalid JSON: {error}")))?;
        let name = value["model"].as_str().ok_or_else(|| bad("model is required"))?.to_owned();
        let Some(model) = find_model(engine, &name) else {
            let message = match engine.spec.flavour {
                Flavour::Ollama => format!("model '{name}' not found"),
                Flavour::Vllm | Flavour::Sglang | Flavour::OpenAi => format!("The model `{name}` does not exist."),
            };
            return Err(refusal(StatusCode::NOT_FOUND, &message));
        };
        *engine.stats.lock().per_model.entry(engine.spec.kind.models()[model].name.to_string()).or_default() += 1;

        let mut prompt = String::new();
        for key in ["system", "tools", "prompt", "messages"] {
            collect_text(&value[key], &mut prompt);
        }
        let inputs: Vec<String> = match &value["input"] {
            Value::Array(items) if items.iter().any(|item| !item.is_number()) => items.iter().map(text_of).collect(),
            Value::Null => Vec::new(),
            single => vec![text_of(single)],
        };
        inputs.iter().for_each(|input| prompt.push_str(input));

        let limit = ["max_completion_tokens", "max_tokens"].iter().find_map(|key| value[*key].as_i64());
        let limit = limit.or_else(|| value["options"]["num_predict"].as_i64());
        let limit = limit.and_then(|limit| u32::try_from(limit).ok()).filter(|&limit| limit > 0);
        let wished = headers.get("x-lab-tokens").and_then(|text| text.to_str().ok()?.parse::<u32>().ok());
        let natural = wished.unwrap_or(engine.spec.output_tokens).max(1);
        let ignore_eos = value["ignore_eos"] == json!(true);
        let output = limit.map_or(natural, |limit| if ignore_eos { limit } else { limit.min(natural) });
        Ok(Ask {
            model,
            words: Words::of(&name, &prompt),
            name,
            prompt_tokens: tokens_of(&prompt),
            output_tokens: output.min(MAX_OUTPUT),
            cut: limit.is_some_and(|limit| limit <= output),
            stream: value["stream"].as_bool().unwrap_or(api == Api::Ollama),
            include_usage: value["stream_options"]["include_usage"] == json!(true),
            keep_alive: keep_alive(&value["keep_alive"]),
            inputs,
            blocks: blocks_of(&prompt),
        })
    }

    /// The work behind a text reply.
    pub(crate) fn job(&self) -> Job {
        Job {
            id: 0,
            model: self.model,
            prompt_tokens: self.prompt_tokens.max(1),
            output_tokens: self.output_tokens,
            keep_alive: self.keep_alive,
            blocks: self.blocks.clone(),
        }
    }

    /// The work behind an embedding.
    pub(crate) fn embedding_job(&self) -> Job {
        Job { output_tokens: 0, blocks: Vec::new(), ..self.job() }
    }

    /// A load without any work.
    pub(crate) fn load_job(&self) -> Job {
        Job { prompt_tokens: 0, ..self.embedding_job() }
    }
}

/// The catalogue place of a name; `x` also means `x:latest` on Ollama.
pub(crate) fn find_model(engine: &Engine, name: &str) -> Option<ModelIndex> {
    let models = engine.spec.kind.models();
    let latest = format!("{name}:latest");
    let same = |entry: &str| entry == name || (engine.spec.flavour == Flavour::Ollama && entry == latest);
    models.iter().position(|entry| same(&entry.name))
}

/// All strings and numbers below a value, one after the other.
fn collect_text(value: &Value, text: &mut String) {
    match value {
        Value::String(string) => {
            text.push_str(string);
            text.push('\n');
        }
        Value::Number(number) => text.push_str(&format!("{number:<4}", number = number.to_string())),
        Value::Array(items) => items.iter().for_each(|item| collect_text(item, text)),
        Value::Object(fields) => fields.values().for_each(|item| collect_text(item, text)),
        Value::Null | Value::Bool(_) => {}
    }
}

fn text_of(value: &Value) -> String {
    let mut text = String::new();
    collect_text(value, &mut text);
    text
}

/// A number of seconds, or a text like `10m`, `90s`, `1h`, `500ms`; negative is for ever, nonsense is no wish.
fn keep_alive(value: &Value) -> Option<Duration> {
    let seconds = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => {
            let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
            let unit = match &text[digits.len()..] {
                "ms" => 0.001,
                "s" | "" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return None,
            };
            digits.parse::<f64>().ok()? * unit
        }
        _ => return None,
    };
    Some(if seconds < 0.0 { Duration::MAX } else { Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX) })
}

/// Chained hashes of the text's full blocks.
fn blocks_of(text: &str) -> Vec<u64> {
    let chain = |state: &mut u64, block: &[u8]| {
        *state = xxhash_rust::xxh3::xxh3_64_with_seed(block, *state);
        Some(*state)
    };
    text.as_bytes().chunks_exact(BLOCK_TOKENS * 4).scan(0, chain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keep_alive_takes_numbers_and_units() {
        let cases = [
            (json!(0), Some(Duration::ZERO)),
            (json!(90), Some(Duration::from_secs(90))),
            (json!("10m"), Some(Duration::from_secs(600))),
            (json!("500ms"), Some(Duration::from_millis(500))),
            (json!(-1), Some(Duration::MAX)),
            (json!("-1m"), Some(Duration::MAX)),
            (json!("soon"), None),
            (json!(""), None),
            (json!(null), None),
        ];
        for (value, wanted) in cases {
            assert_eq!(keep_alive(&value), wanted, "{value}");
        }
    }

    #[test]
    fn prompts_that_begin_alike_share_leading_blocks() {
        let begin = "x".repeat(3 * BLOCK_TOKENS * 4);
        let (first, second) = (blocks_of(&format!("{begin}{begin}")), blocks_of(&format!("{begin}{}", "y".repeat(64))));
        assert_eq!((first.len(), second.len()), (6, 4));
        assert_eq!(first[..3], second[..3]);
        assert_ne!(first[3], second[3]);
    }
}
