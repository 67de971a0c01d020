//! What routing needs of a JSON body, found in one pass over its chunks.
//!
//! Only keys of the top object count (and those of `options` and `stream_options`). The model must be unambiguous: a
//! second `model`, or one that differs in case only, is refused, because engines disagree which of them counts. Of
//! every other key the last one counts. A key that is missing, `null` or of a wrong type leaves its field empty; an
//! empty model counts as missing. Prompt tokens are estimated as text bytes / 4.

use std::ops::Range;

use super::collect::Collector;
use super::json::Parser;

/// Bytes of a model's name: more is refused.
pub const MAX_MODEL: usize = 1024;
/// Why a body is refused. The text is meant for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// No body, or only white space.
    #[error("the request has no body; a JSON object is expected")]
    Empty,
    /// JSON, maybe, but not an object.
    #[error("the request body is not a JSON object")]
    NotAnObject,
    /// Not JSON.
    #[error("the request body is not valid JSON: unexpected byte at offset {offset}")]
    Syntax {
        /// Offset of the byte in the body, from 0.
        offset: usize,
    },
    /// The body ends too early.
    #[error("the request body is cut off: the JSON object is not complete")]
    Truncated,
    /// Something follows the object.
    #[error("the request body has more bytes after the JSON object")]
    Trailing,
    /// More than 128 levels.
    #[error("the request body nests deeper than 128 levels")]
    TooDeep,
    /// A key of more than 4 KiB.
    #[error("the request body has a key longer than 4096 bytes")]
    KeyTooLong,
    /// A key that is no text.
    #[error("the request body has a key that is not valid Unicode")]
    BadKey,
    /// `model` twice.
    #[error("the request body names the model more than once; write \"model\" exactly once")]
    DuplicateModel,
    /// `Model` and the like.
    #[error("the key \"{0}\" could be read as \"model\"; write it in lower case")]
    ModelCase(String),
    /// `model` is a number, a list, ...
    #[error("\"model\" must be a string")]
    ModelNotString,
    /// `model` of more than 1 KiB.
    #[error("\"model\" is longer than 1024 bytes")]
    ModelTooLong,
    /// `model` holds control characters or broken Unicode.
    #[error("\"model\" holds characters that no model name may have")]
    ModelCharacters,
}

/// The model's name and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelToken {
    /// The name, unescaped.
    pub name: String,
    /// Byte range of the string in the body, quotes included.
    pub range: Range<usize>,
}

/// What the body says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fields {
    /// The model; `None` if missing, `null` or empty.
    pub model: Option<ModelToken>,
    /// `stream`.
    pub stream: Option<bool>,
    /// The smallest positive bound on output tokens that the body gives.
    pub max_output: Option<u32>,
    /// Hash of the options for which Ollama reloads a model; 0 = none given.
    pub runner_key: u64,
    /// `keep_alive`, as written (a duration string without quotes, or a number).
    pub keep_alive: Option<String>,
    /// `stream_options.include_usage` is true.
    pub include_usage: bool,
    /// Bytes of prompt text (media left out, a token id counts 4).
    pub text_bytes: u64,
    /// Bytes of the whole body.
    pub body_bytes: u64,
}

impl Fields {
    /// Estimated prompt length in tokens.
    pub fn prompt_tokens(&self) -> u32 {
        u32::try_from(self.text_bytes / 4).unwrap_or(u32::MAX)
    }
}

/// Finds the fields of one body, chunk by chunk.
#[derive(Debug)]
pub struct Scanner {
    parser: Parser,
    found: Collector,
    failed: Option<FieldError>,
}

impl Scanner {
    /// A scanner for a request to `path` (as [`super::classify`] writes it): `/api/show` takes `name` for `model`.
    pub fn new(path: &str) -> Scanner {
        Scanner { parser: Parser::new(), found: Collector::new(path == "/api/show"), failed: None }
    }

    /// Takes the next bytes. An error is final: every later call repeats it.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), FieldError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.parser.push(chunk, &mut self.found).inspect_err(|error| self.failed = Some(error.clone()))
    }

    /// The fields of the whole body.
    pub fn finish(mut self) -> Result<Fields, FieldError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.parser.is_blank() {
            return Err(FieldError::Empty);
        }
        if !self.parser.is_done() {
            return Err(FieldError::Truncated);
        }
        let runner_key = self.found.runner_key();
        let fields = &mut self.found.fields;
        fields.body_bytes = self.parser.offset() as u64;
        fields.runner_key = runner_key;
        match (&fields.model, self.found.name) {
            (Some(model), Some(name)) if model.name != name.name => return Err(FieldError::DuplicateModel),
            (None, name) => fields.model = name,
            _ => {}
        }
        Ok(self.found.fields)
    }
}

/// Where a body has a `null` or an empty string for its model.
pub(super) fn blank_model(body: &[u8]) -> Option<Range<usize>> {
    let mut scanner = Scanner::new("");
    scanner.push(body).ok()?;
    scanner.found.blank_model
}

/// Scans a body that is there as a whole.
pub fn scan(path: &str, body: &[u8]) -> Result<Fields, FieldError> {
    let mut scanner = Scanner::new(path);
    scanner.push(body)?;
    scanner.finish()
}

#[cfg(test)]
mod tests;
