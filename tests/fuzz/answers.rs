//! Whole answers as engines give them, in the form of each API, with what they cost.
//!
//! Line ends, spaces, comments, pings and the order of the figures differ from engine to engine; so they do here.

use arriero::dialect::Dialect;
use serde_json::{Value, json};

use crate::input::Dice;
use crate::stream_tail::Kind;

/// What is put into broken places.
pub(crate) const WORDS: [&[u8]; 28] = [
    b"data:",
    b"data: ",
    b"event: ",
    b"event: ping\n",
    b"\n",
    b"\n\n",
    b"\r\n",
    b"\r",
    b"\r\n\r\n",
    b": ping\n",
    b"[DONE]",
    b"data: [DONE]\n\n",
    b"{",
    b"}",
    b"\"usage\":",
    b"\"usage\":{\"prompt_tokens\":1}",
    b"\"usage\":null",
    b"\"timings\":{}",
    b"\"done\":true",
    b"{\"response\":\"x\"}\n",
    b"data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n",
    b"\\",
    b"\"",
    b"\xff",
    b"\xc3",
    b"\x00",
    b"{\"error\":\"x\"}\n",
    b"data: {\"type\":\"message_start\",\"message\":{\"usage\":{}}}\n\n",
];

const TEXTS: [&str; 8] =
    ["Hello", " w\u{f6}rld", "\n\n", "\"usage\":{\"prompt_tokens\":7}", "data: x\r\n", "\u{1f600}", "\\", "[DONE]"];

/// One answer.
pub(crate) struct Answer {
    kind: Kind,
    pub(crate) text: Vec<u8>,
    /// Prompt tokens, as it says.
    pub(crate) prompt: Option<u32>,
    /// Output tokens: as it says, else its events with content.
    pub(crate) output: Option<u32>,
    pub(crate) estimated: bool,
}

impl Answer {
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }
}

/// What all forms share.
struct Parts<'t> {
    texts: Vec<&'t str>,
    prompt: u32,
    cached: u32,
    output: u32,
    with_usage: bool,
}

/// An answer by choice.
pub(crate) fn answer(dice: &mut Dice<'_>) -> Answer {
    let form = dice.below(6);
    let number = |dice: &mut Dice<'_>| match dice.below(4) {
        0 => u32::from(dice.byte()),
        1 => 0,
        _ => dice.below(60_000) as u32,
    };
    let (prompt, cached, output, with_usage) = (number(dice), number(dice), number(dice), !dice.one_in(3));
    let much = if dice.one_in(16) { 400 } else { 1 };
    let texts = (0..(1 + dice.below(6)) * much).map(|_| dice.pick(&TEXTS)).collect();
    let parts = Parts { texts, prompt, cached, output, with_usage };
    match form {
        0 => chat(&parts, dice),
        1 => responses(&parts, dice),
        2 => anthropic(&parts, dice),
        3 => ollama(&parts, dice),
        4 => document(&parts, dice),
        _ => llama_cpp(&parts, dice),
    }
}

impl Parts<'_> {
    fn whole(&self, dialect: Dialect, content_type: &'static str, text: Vec<u8>) -> Answer {
        let streamed = content_type != "application/json";
        let events = streamed.then_some(self.texts.len() as u32);
        let output = if self.with_usage { Some(self.output) } else { events };
        let prompt = self.with_usage.then_some(self.prompt);
        let estimated = !self.with_usage && streamed;
        Answer { kind: (dialect, Some(content_type), streamed), text, prompt, output, estimated }
    }

    /// As chat completions count: the cached tokens are among the prompt's.
    fn usage(&self) -> Value {
        json!({ "prompt_tokens": self.prompt, "completion_tokens": self.output, "total_tokens": 1,
            "prompt_tokens_details": { "cached_tokens": self.cached } })
    }
}

/// Writes server-sent events as one engine does.
struct Sse {
    text: Vec<u8>,
    line_end: &'static str,
    space: &'static str,
    comments: bool,
}

impl Sse {
    fn new(dice: &mut Dice<'_>) -> Sse {
        let (line_end, space) = (dice.pick(&["\n", "\r\n"]), dice.pick(&[" ", ""]));
        Sse { text: Vec::new(), line_end, space, comments: dice.one_in(3) }
    }

    fn event(&mut self, name: Option<&str>, data: &str) {
        let Sse { line_end, space, .. } = self;
        let comment = if self.comments { format!(": ping{line_end}{line_end}") } else { String::new() };
        let name = name.map_or(String::new(), |name| format!("event:{space}{name}{line_end}"));
        self.text.extend(format!("{comment}{name}data:{space}{data}{line_end}{line_end}").bytes());
    }

    /// An event that is named as its type.
    fn typed(&mut self, data: Value) {
        let name = data["type"].as_str().unwrap_or_default().to_owned();
        self.event(Some(&name), &data.to_string());
    }

    fn choice(&mut self, delta: Value, more: Value) {
        let mut chunk = json!({ "object": "chat.completion.chunk", "choices": [{ "index": 0, "delta": delta }] });
        if let (Some(chunk), Value::Object(more)) = (chunk.as_object_mut(), more) {
            chunk.extend(more);
        }
        self.event(None, &chunk.to_string());
    }
}

fn chat(parts: &Parts<'_>, dice: &mut Dice<'_>) -> Answer {
    let mut sse = Sse::new(dice);
    let key = dice.pick(&["content", "reasoning_content"]);
    if dice.one_in(2) {
        sse.choice(json!({ "role": "assistant", "content": "" }), json!({ "usage": null }));
    }
    for text in &parts.texts {
        sse.choice(json!({ key: text }), json!({}));
    }
    let usage = if parts.with_usage { parts.usage() } else { Value::Null };
    if dice.one_in(2) {
        sse.choice(json!({}), json!({ "finish_reason": "stop" }));
        sse.event(None, &json!({ "choices": [], "usage": usage }).to_string());
    } else {
        sse.choice(json!({}), json!({ "usage": usage }));
    }
    sse.event(None, "[DONE]");
    parts.whole(Dialect::OpenAi, "text/event-stream", sse.text)
}

fn llama_cpp(parts: &Parts<'_>, dice: &mut Dice<'_>) -> Answer {
    let mut sse = Sse::new(dice);
    for text in &parts.texts {
        sse.choice(json!({ "content": text }), json!({}));
    }
    let fresh = parts.prompt.saturating_sub(parts.cached);
    let timings = json!({ "cache_n": parts.prompt - fresh, "prompt_n": fresh, "prompt_ms": 12.5,
        "predicted_n": parts.output, "predicted_ms": 1e3 });
    sse.choice(json!({}), if parts.with_usage { json!({ "timings": timings }) } else { json!({}) });
    sse.event(None, "[DONE]");
    parts.whole(Dialect::OpenAi, "text/event-stream", sse.text)
}

fn responses(parts: &Parts<'_>, dice: &mut Dice<'_>) -> Answer {
    let mut sse = Sse::new(dice);
    sse.typed(json!({ "type": "response.created", "response": { "usage": null } }));
    for text in &parts.texts {
        sse.typed(json!({ "type": "response.output_text.delta", "delta": text }));
    }
    let text = parts.texts.concat();
    sse.typed(json!({ "type": "response.output_text.done", "text": if text.len() < 1000 { &text } else { "" } }));
    let usage = json!({ "input_tokens": parts.prompt, "output_tokens": parts.output });
    let usage = if parts.with_usage { usage } else { Value::Null };
    sse.typed(json!({ "type": "response.completed", "response": { "status": "completed", "usage": usage } }));
    parts.whole(Dialect::OpenAi, "text/event-stream", sse.text)
}

fn anthropic(parts: &Parts<'_>, dice: &mut Dice<'_>) -> Answer {
    let mut sse = Sse::new(dice);
    let cached = parts.cached.min(parts.prompt);
    let usage = json!({ "input_tokens": parts.prompt - cached, "cache_read_input_tokens": cached, "output_tokens": 1 });
    let usage = if parts.with_usage { usage } else { Value::Null };
    sse.typed(json!({ "type": "message_start", "message": { "role": "assistant", "content": [], "usage": usage } }));
    sse.typed(json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }));
    sse.typed(json!({ "type": "ping" }));
    for text in &parts.texts {
        let delta = json!({ "type": "text_delta", "text": text });
        sse.typed(json!({ "type": "content_block_delta", "index": 0, "delta": delta }));
    }
    sse.typed(json!({ "type": "content_block_stop", "index": 0 }));
    let usage = if parts.with_usage { json!({ "output_tokens": parts.output }) } else { Value::Null };
    sse.typed(json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" }, "usage": usage }));
    sse.typed(json!({ "type": "message_stop" }));
    parts.whole(Dialect::Anthropic, "text/event-stream", sse.text)
}

fn ollama(parts: &Parts<'_>, dice: &mut Dice<'_>) -> Answer {
    let chat = dice.one_in(2);
    let mut text = Vec::new();
    let mut line = |content: &str, more: Value| {
        let mut object = if chat {
            json!({ "model": "m", "done": false, "message": { "role": "assistant", "content": content } })
        } else {
            json!({ "model": "m", "done": false, "response": content })
        };
        if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
            object.extend(more);
        }
        text.extend(format!("{object}\n").bytes());
    };
    parts.texts.iter().for_each(|text| line(text, json!({})));
    if parts.with_usage {
        let figures = json!({ "done": true, "load_duration": 5_000_000_000u64, "eval_count": parts.output,
            "prompt_eval_count": parts.prompt, "prompt_eval_duration": 7, "eval_duration": 1_000_000 });
        line("", figures);
    } else {
        line("", json!({ "done": true }));
    }
    parts.whole(Dialect::Ollama, "application/x-ndjson", text)
}

/// One JSON document, not streamed.
fn document(parts: &Parts<'_>, dice: &mut Dice<'_>) -> Answer {
    let content = parts.texts.concat();
    let message = json!({ "role": "assistant", "content": content });
    let usage = if parts.with_usage { parts.usage() } else { Value::Null };
    let document = json!({ "choices": [{ "message": message }], "object": "chat.completion", "usage": usage });
    let text = if dice.one_in(2) { document.to_string() } else { format!("{document:#}\n") };
    parts.whole(Dialect::OpenAi, "application/json", text.into_bytes())
}
