//! What an answer tells about its cost, read from its last bytes, and whether an event carries output.
//!
//! The bytes may begin in the middle of anything (only the tail is kept), so a figure is looked up by the last place
//! where its key stands: a quoted key followed by a colon cannot be part of a string's text. Nanoseconds (Ollama) become
//! milliseconds. A figure that the engine does not give stays `None`.

use arriero_core::Usage;
use memchr::memmem;
use serde::Deserialize;
use serde_json::Value;

use super::paths::Dialect;

/// A key that is found this often with no fitting value is given up.
const MAX_LOOKS: usize = 8;

/// The figures in the last bytes of an answer. `start` is the usage in the first event of an Anthropic stream: it
/// tells the prompt's tokens, its output tokens are a place holder.
pub(super) fn read(dialect: Dialect, start: &Value, tail: &[u8]) -> Usage {
    if dialect == Dialect::Ollama {
        return ollama(tail);
    }
    if dialect == Dialect::OpenAi
        && let Some(figures) = plain_openai(tail)
    {
        return figures;
    }
    let usage = last_object(tail, "usage").filter(|usage| usage != start).unwrap_or_default();
    let figures = match dialect {
        Dialect::Anthropic => overlay(Usage { output_tokens: None, ..anthropic(start) }, anthropic(&usage)),
        _ => openai(&usage),
    };
    last_object(tail, "timings").map_or(figures, |timings| overlay(llama_cpp(&timings), figures))
}

/// `over`, with the gaps filled from `under`.
fn overlay(under: Usage, over: Usage) -> Usage {
    Usage {
        prompt_tokens: over.prompt_tokens.or(under.prompt_tokens),
        cached_tokens: over.cached_tokens.or(under.cached_tokens),
        output_tokens: over.output_tokens.or(under.output_tokens),
        estimated: over.estimated,
        load_ms: over.load_ms.or(under.load_ms),
        prefill_ms: over.prefill_ms.or(under.prefill_ms),
        decode_ms: over.decode_ms.or(under.decode_ms),
    }
}

/// Chat and completions (`prompt_tokens` ...) or Responses (`input_tokens` ...): the cached ones are among the prompt's.
fn openai(usage: &Value) -> Usage {
    let either = |chat: &str, responses: &str| count(&usage[chat]).or_else(|| count(&usage[responses]));
    let details = ["prompt_tokens_details", "input_tokens_details"];
    Usage {
        prompt_tokens: either("prompt_tokens", "input_tokens"),
        output_tokens: either("completion_tokens", "output_tokens"),
        cached_tokens: details.iter().find_map(|details| count(&usage[*details]["cached_tokens"])),
        ..Usage::default()
    }
}

/// The usual usage object, read without making a tree of it. `None`: it is not there, or not so, or llama.cpp's timings
/// are to be looked for.
fn plain_openai(tail: &[u8]) -> Option<Usage> {
    #[derive(Deserialize)]
    struct Plain {
        prompt_tokens: u32,
        completion_tokens: Option<u32>,
        prompt_tokens_details: Option<Details>,
    }
    #[derive(Deserialize)]
    struct Details {
        cached_tokens: Option<u32>,
    }
    if memmem::find(tail, b"\"timings\"").is_some() {
        return None;
    }
    let place = memmem::rfind(tail, b"\"usage\"")? + b"\"usage\"".len();
    let object = tail[place..].trim_ascii_start().strip_prefix(b":")?;
    let usage: Plain = serde_json::Deserializer::from_slice(object).into_iter().next()?.ok()?;
    Some(Usage {
        prompt_tokens: Some(usage.prompt_tokens),
        output_tokens: usage.completion_tokens,
        cached_tokens: usage.prompt_tokens_details.and_then(|details| details.cached_tokens),
        ..Usage::default()
    })
}

/// Anthropic counts cached tokens beside `input_tokens`: the prompt is the sum.
fn anthropic(usage: &Value) -> Usage {
    let cached = count(&usage["cache_read_input_tokens"]);
    let written = count(&usage["cache_creation_input_tokens"]);
    let sum = |input: u32| [cached, written].into_iter().flatten().fold(input, u32::saturating_add);
    Usage {
        prompt_tokens: count(&usage["input_tokens"]).map(sum),
        cached_tokens: cached,
        output_tokens: count(&usage["output_tokens"]),
        ..Usage::default()
    }
}

/// llama.cpp's `timings`: `prompt_n` leaves the cached ones out.
fn llama_cpp(timings: &Value) -> Usage {
    let cached = count(&timings["cache_n"]);
    Usage {
        prompt_tokens: count(&timings["prompt_n"]).map(|fresh| fresh.saturating_add(cached.unwrap_or(0))),
        cached_tokens: cached,
        output_tokens: count(&timings["predicted_n"]),
        prefill_ms: millis(&timings["prompt_ms"], 1.0),
        decode_ms: millis(&timings["predicted_ms"], 1.0),
        ..Usage::default()
    }
}

/// Ollama's last object, whole if it is, else key by key.
fn ollama(tail: &[u8]) -> Usage {
    let line = tail.rsplit(|byte| *byte == b'\n').find(|line| !line.trim_ascii().is_empty()).unwrap_or_default();
    let last = serde_json::from_slice::<Value>(line).ok().filter(Value::is_object);
    let figure = |key: &str| match &last {
        Some(last) => last[key].clone(),
        None => last_value(tail, key, Value::is_number).unwrap_or_default(),
    };
    Usage {
        prompt_tokens: count(&figure("prompt_eval_count")),
        output_tokens: count(&figure("eval_count")),
        load_ms: millis(&figure("load_duration"), 1e-6),
        prefill_ms: millis(&figure("prompt_eval_duration"), 1e-6),
        decode_ms: millis(&figure("eval_duration"), 1e-6),
        ..Usage::default()
    }
}

fn count(value: &Value) -> Option<u32> {
    value.as_u64().map(|count| u32::try_from(count).unwrap_or(u32::MAX))
}

fn millis(value: &Value, unit: f64) -> Option<f64> {
    value.as_f64().map(|time| time * unit).filter(|time| time.is_finite() && *time >= 0.0)
}

fn last_object(tail: &[u8], key: &str) -> Option<Value> {
    last_value(tail, key, Value::is_object)
}

/// The value at the last place where `key` stands with a value that fits.
fn last_value(tail: &[u8], key: &str, fits: fn(&Value) -> bool) -> Option<Value> {
    let key = format!("\"{key}\"").into_bytes();
    let finder = memmem::FinderRev::new(&key);
    let mut end = tail.len();
    for _ in 0..MAX_LOOKS {
        let place = finder.rfind(&tail[..end])?;
        let value = tail[place + key.len()..].trim_ascii_start().strip_prefix(b":").and_then(first_value);
        if let Some(value) = value.filter(fits) {
            return Some(value);
        }
        end = place;
    }
    None
}

/// The JSON value that `bytes` begin with.
fn first_value(bytes: &[u8]) -> Option<Value> {
    serde_json::Deserializer::from_slice(bytes).into_iter().next()?.ok()
}

/// True if the event carries output: text, reasoning or a tool call.
pub(super) fn has_content(event: &Value) -> bool {
    let kind = event["type"].as_str().unwrap_or("");
    if kind == "content_block_delta" || (kind.starts_with("response.") && kind.ends_with(".delta")) {
        return filled(&event["delta"]);
    }
    let choices = event["choices"].as_array().map_or(&[][..], Vec::as_slice);
    let message = &event["message"];
    choices.iter().any(|choice| carries(&choice["delta"]) || carries(&choice["message"]) || filled(&choice["text"]))
        || (message["role"] == "assistant" && kind.is_empty() && carries(message))
        || ["response", "content", "thinking"].iter().any(|key| event[*key].is_string() && filled(&event[*key]))
}

fn carries(message: &Value) -> bool {
    let keys =
        ["content", "reasoning_content", "reasoning", "thinking", "refusal", "tool_calls", "function_call", "audio"];
    keys.iter().any(|key| filled(&message[*key]))
}

fn filled(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => false,
    }
}
