//! Picks the fields out of the parser's events: which key means what, and what its value is worth.
//!
//! Values of a wrong type leave their field empty, except the model's, which is refused. Nothing but keys, the model
//! and short scalars is kept in memory.

use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64;

use super::fields::{FieldError, Fields, MAX_MODEL, ModelToken};
use super::json::{Event, Sink};

/// A name as written may use six bytes per character, and has quotes.
const MAX_MODEL_RAW: usize = MAX_MODEL * 6 + 2;
/// Numbers, booleans and `keep_alive`: longer ones are left out.
const MAX_SCALAR: usize = 64;

/// Options for which Ollama reloads a model, sorted. Their places are the ones in [`Field::Runner`].
const RUNNER: [&str; 7] =
    ["draft_num_predict", "main_gpu", "num_batch", "num_ctx", "num_gpu", "num_thread", "use_mmap"];
const NUM_GPU: usize = 4;

/// Keys of the top object whose strings are prompt text.
const PROMPT: [&str; 9] =
    ["messages", "prompt", "input", "system", "tools", "instructions", "suffix", "query", "documents"];
/// Keys, at any depth of a prompt, whose strings are media or links.
const MEDIA: [&[u8]; 7] =
    [b"\"images\"", b"\"image\"", b"\"data\"", b"\"url\"", b"\"image_url\"", b"\"file_data\"", b"\"video\""];

/// What the key before a value stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Field {
    #[default]
    Other,
    Model,
    Name,
    Stream,
    MaxOutput,
    KeepAlive,
    Options,
    StreamOptions,
    Prompt,
    IncludeUsage,
    Runner(usize),
}

/// Takes the parser's events.
#[derive(Debug, Default)]
pub(super) struct Collector {
    pub(super) fields: Fields,
    pub(super) name: Option<ModelToken>,
    /// Where a `null` or an empty string stands for the model.
    pub(super) blank_model: Option<Range<usize>>,
    takes_name: bool,
    seen_model: bool,
    seen_name: bool,
    top: Field,
    sub: Field,
    media: bool,
    runner: [Option<i64>; RUNNER.len()],
}

impl Collector {
    /// `takes_name`: `name` stands for the model too.
    pub(super) fn new(takes_name: bool) -> Collector {
        Collector { takes_name, ..Collector::default() }
    }

    /// Hash of the runner options that were given, in the order of their names; 0 if none was.
    pub(super) fn runner_key(&self) -> u64 {
        let given = self.runner.iter().zip(0u8..).filter_map(|(value, place)| Some((place, (*value)?)));
        let set: Vec<u8> = given.flat_map(|(place, value)| std::iter::once(place).chain(value.to_le_bytes())).collect();
        if set.is_empty() { 0 } else { xxh3_64(&set) }
    }

    fn field(&self, depth: u32) -> Field {
        match depth {
            1 => self.top,
            2 if matches!(self.top, Field::Options | Field::StreamOptions) => self.sub,
            _ => Field::Other,
        }
    }

    fn key(&mut self, raw: &[u8], depth: u32) -> Result<(), FieldError> {
        if depth == 1 {
            self.top = self.top_field(&unescape(raw).ok_or(FieldError::BadKey)?)?;
            self.sub = Field::Other;
            self.media = false;
            self.forget(self.top);
        } else if self.top == Field::Prompt {
            self.media = MEDIA.contains(&raw);
        } else if depth == 2 {
            let key = unescape(raw).unwrap_or_default();
            self.sub = match (self.top, key.as_str()) {
                (Field::StreamOptions, "include_usage") => Field::IncludeUsage,
                (Field::Options, "num_predict") => Field::MaxOutput,
                (Field::Options, key) => RUNNER.iter().position(|o| *o == key).map_or(Field::Other, Field::Runner),
                _ => Field::Other,
            };
            self.forget(self.sub);
        }
        Ok(())
    }

    /// Of a key that stands twice the last one counts, also if its value is worth nothing.
    fn forget(&mut self, field: Field) {
        match field {
            Field::Stream => self.fields.stream = None,
            Field::KeepAlive => self.fields.keep_alive = None,
            Field::StreamOptions | Field::IncludeUsage => self.fields.include_usage = false,
            Field::Runner(place) => self.runner[place] = None,
            _ => {}
        }
    }

    fn top_field(&mut self, key: &str) -> Result<Field, FieldError> {
        let is_name = self.takes_name && key.eq_ignore_ascii_case("name");
        if key.eq_ignore_ascii_case("model") || is_name {
            if key != "model" && key != "name" {
                return Err(FieldError::ModelCase(key.to_owned()));
            }
            let seen = if is_name { &mut self.seen_name } else { &mut self.seen_model };
            if std::mem::replace(seen, true) {
                return Err(FieldError::DuplicateModel);
            }
            return Ok(if is_name { Field::Name } else { Field::Model });
        }
        Ok(match key {
            "stream" => Field::Stream,
            "max_tokens" | "max_completion_tokens" | "max_output_tokens" => Field::MaxOutput,
            "keep_alive" => Field::KeepAlive,
            "options" => Field::Options,
            "stream_options" => Field::StreamOptions,
            _ if PROMPT.contains(&key) => Field::Prompt,
            _ => Field::Other,
        })
    }

    fn text(&mut self, raw: Option<&[u8]>, token: Range<usize>, depth: u32) -> Result<(), FieldError> {
        match self.field(depth) {
            field @ (Field::Model | Field::Name) => {
                let model = model_token(raw, token.clone())?;
                if field == Field::Model {
                    self.blank_model = model.is_none().then_some(token);
                    self.fields.model = model;
                } else {
                    self.name = model;
                }
            }
            Field::KeepAlive => self.fields.keep_alive = raw.and_then(unescape),
            _ if self.top == Field::Prompt && !self.media => {
                self.fields.text_bytes += (token.len() as u64).saturating_sub(2);
            }
            _ => {}
        }
        Ok(())
    }

    fn scalar(&mut self, raw: Option<&[u8]>, start: usize, depth: u32) -> Result<(), FieldError> {
        let text = raw.and_then(|raw| std::str::from_utf8(raw).ok()).unwrap_or("");
        match self.field(depth) {
            Field::Model | Field::Name if text != "null" => return Err(FieldError::ModelNotString),
            Field::Model => self.blank_model = Some(start..start + "null".len()),
            Field::Stream => self.fields.stream = text.parse().ok(),
            Field::IncludeUsage => self.fields.include_usage = text == "true",
            Field::KeepAlive => self.fields.keep_alive = (text != "null").then(|| text.to_owned()),
            Field::Runner(place) => self.runner[place] = whole(text).filter(|n| place != NUM_GPU || *n >= 0),
            Field::MaxOutput => {
                let bound = whole(text).filter(|n| *n > 0).map(|n| u32::try_from(n).unwrap_or(u32::MAX));
                self.fields.max_output = self.fields.max_output.into_iter().chain(bound).min();
            }
            _ if self.top == Field::Prompt => self.fields.text_bytes += 4,
            _ => {}
        }
        Ok(())
    }
}

impl Sink for Collector {
    fn wants(&self, depth: u32) -> usize {
        match self.field(depth) {
            Field::Model | Field::Name => MAX_MODEL_RAW,
            Field::Other | Field::Options | Field::StreamOptions | Field::Prompt => 0,
            _ => MAX_SCALAR,
        }
    }

    fn event(&mut self, event: Event<'_>) -> Result<(), FieldError> {
        match event {
            Event::Key { raw, depth } => self.key(raw, depth),
            Event::Text { raw, token, depth } => self.text(raw, token, depth),
            Event::Scalar { raw, start, depth } => self.scalar(raw, start, depth),
            Event::Open { depth } if matches!(self.field(depth), Field::Model | Field::Name) => {
                Err(FieldError::ModelNotString)
            }
            Event::Open { .. } => Ok(()),
        }
    }
}

/// The text of a string as written, quotes included; `None` if it is no valid Unicode.
fn unescape(raw: &[u8]) -> Option<String> {
    serde_json::from_slice(raw).ok()
}

fn model_token(raw: Option<&[u8]>, range: Range<usize>) -> Result<Option<ModelToken>, FieldError> {
    let name = unescape(raw.ok_or(FieldError::ModelTooLong)?).ok_or(FieldError::ModelCharacters)?;
    if name.len() > MAX_MODEL {
        return Err(FieldError::ModelTooLong);
    }
    if name.chars().any(char::is_control) {
        return Err(FieldError::ModelCharacters);
    }
    Ok((!name.is_empty()).then_some(ModelToken { name, range }))
}

/// A number as a whole one (`4096.0` is 4096), a boolean as 0 or 1.
fn whole(text: &str) -> Option<i64> {
    match text {
        "true" => Some(1),
        "false" => Some(0),
        _ => text.parse().ok().or_else(|| text.parse::<f64>().ok().map(|number| number as i64)),
    }
}
