//! `model` and `stream` in a form with files (`multipart/form-data`: transcriptions, image edits), and another model
//! name in the original bytes.
//!
//! Engines read forms with many different parsers, so only what all of them read alike is taken: no text before or
//! after the parts, CRLF line ends, the boundary nowhere but between parts, one quoted name per part, a model that is
//! plain text, and names it once. All else is refused. No `model`, or an empty one, is `None`. Bounds: 1000 parts,
//! 16 header lines and 4 KiB of header each. One pass, nothing is copied but the name.

use std::ops::Range;

use bytes::Bytes;
use memchr::memmem::Finder;

use super::errors::ErrorKind;
use super::fields::{Fields, MAX_MODEL, ModelToken};
use super::form_part::{self, Part};
use super::splice::Spliced;

/// Parts of a form: more are refused.
pub const MAX_PARTS: usize = 1000;

/// Why a form is refused. The text is meant for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// No boundary in the content type, several, or one that is not allowed.
    #[error("the content type has no valid boundary")]
    Boundary,
    /// The body does not begin with the boundary.
    #[error("the form does not begin with its boundary")]
    Start,
    /// The boundary stands where it must not.
    #[error("the form is malformed: unexpected bytes beside its boundary at offset {offset}")]
    Delimiter {
        /// Offset of the boundary in the body, from 0.
        offset: usize,
    },
    /// No last boundary.
    #[error("the form is cut off: its last boundary is missing")]
    Truncated,
    /// Something follows the last boundary.
    #[error("the form has more bytes after its last boundary")]
    Trailing,
    /// More than 1000.
    #[error("the form has more than 1000 parts")]
    TooManyParts,
    /// A part's header is malformed, too large, or can be read in several ways.
    #[error("the part of the form at offset {offset} has an invalid header")]
    Header {
        /// Offset of the part in the body, from 0.
        offset: usize,
    },
    /// `model` twice.
    #[error("the form names the model more than once; send one field \"model\"")]
    DuplicateModel,
    /// `Model` and the like.
    #[error("the field \"{0}\" could be read as \"model\"; write it in lower case")]
    ModelCase(String),
    /// `model` is a file, or encoded.
    #[error("the field \"model\" must be plain text")]
    ModelNotText,
    /// `model` of more than 1 KiB.
    #[error("the field \"model\" is longer than 1024 bytes")]
    ModelTooLong,
    /// `model` holds control characters or broken Unicode.
    #[error("the field \"model\" holds characters that no model name may have")]
    ModelCharacters,
}

impl From<&FormError> for ErrorKind {
    fn from(error: &FormError) -> ErrorKind {
        match error {
            FormError::DuplicateModel | FormError::ModelCase(_) => ErrorKind::DuplicateModel,
            _ => ErrorKind::InvalidRequest,
        }
    }
}

/// True if a body of this content type is a form that [`scan`] reads.
pub fn is_form(content_type: &str) -> bool {
    let media = content_type.split(';').next().unwrap_or_default();
    media.trim().eq_ignore_ascii_case("multipart/form-data")
}

/// The boundary that the content type names.
pub fn boundary(content_type: &str) -> Result<String, FormError> {
    let (media, parameters) = content_type.split_once(';').ok_or(FormError::Boundary)?;
    let parameters = form_part::parameters(parameters).ok_or(FormError::Boundary)?;
    // `boundary*0` is another way to write it, and some readers let it win
    let base = |name: &str| name.split('*').next().is_some_and(|name| name.eq_ignore_ascii_case("boundary"));
    let mut named = parameters.iter().filter(|parameter| base(parameter.name));
    match (named.next(), named.next()) {
        (Some(boundary), None) if boundary.name.contains('*') => Err(FormError::Boundary),
        (Some(boundary), None) if is_form(media) && is_boundary(boundary.raw) => Ok(boundary.raw.to_owned()),
        _ => Err(FormError::Boundary),
    }
}

/// 1 to 70 of the characters that RFC 2046 allows, no blank among them: no client uses one.
fn is_boundary(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&byte);
    (1..=70).contains(&text.len()) && text.bytes().all(allowed)
}

/// Reads a whole form. The model's range is that of its bare value.
pub fn scan(content_type: &str, body: &[u8]) -> Result<Fields, FormError> {
    let mut fields = Fields { body_bytes: body.len() as u64, ..Fields::default() };
    let mut has_model = false;
    for part in Parts::new(&boundary(content_type)?, body)? {
        let range = part?;
        let offset = range.start;
        let part = Part::of(&body[range]).ok_or(FormError::Header { offset })?;
        if part.name.eq_ignore_ascii_case("model") {
            if part.name != "model" {
                return Err(FormError::ModelCase(part.name.to_owned()));
            }
            if std::mem::replace(&mut has_model, true) {
                return Err(FormError::DuplicateModel);
            }
            let start = offset + part.value_at;
            fields.model = model(&part)?.map(|name| ModelToken { range: start..start + name.len(), name });
        } else if part.name == "stream" {
            fields.stream = switch(part.value);
        }
    }
    Ok(fields)
}

fn model(part: &Part<'_>) -> Result<Option<String>, FormError> {
    if !part.is_plain_text {
        return Err(FormError::ModelNotText);
    }
    if part.value.len() > MAX_MODEL {
        return Err(FormError::ModelTooLong);
    }
    let name = std::str::from_utf8(part.value).map_err(|_| FormError::ModelCharacters)?;
    if name.chars().any(char::is_control) {
        return Err(FormError::ModelCharacters);
    }
    Ok((!name.is_empty()).then(|| name.to_owned()))
}

/// A boolean as forms have it.
fn switch(value: &[u8]) -> Option<bool> {
    let is = |names: [&str; 4]| names.iter().any(|name| value.eq_ignore_ascii_case(name.as_bytes()));
    if is(["true", "1", "on", "yes"]) { Some(true) } else { is(["false", "0", "off", "no"]).then_some(false) }
}

/// Puts `name` in the place of the value at `range`, as [`scan`] found it. A range beyond the body is cut to it.
pub fn splice(body: &Bytes, range: &Range<usize>, name: &str) -> Spliced {
    let end = range.end.min(body.len());
    let start = range.start.min(end);
    Spliced { parts: [body.slice(..start), Bytes::copy_from_slice(name.as_bytes()), body.slice(end..)] }
}

/// Puts a model into a form that names none: in the place of an empty `model`, else as the first part.
pub fn insert(content_type: &str, body: &Bytes, name: &str) -> Result<Spliced, FormError> {
    let boundary = boundary(content_type)?;
    for part in Parts::new(&boundary, body)? {
        let range = part?;
        if let Some(part) = Part::of(&body[range.clone()]).filter(|part| part.name == "model") {
            return Ok(splice(body, &(range.start + part.value_at..range.end), name));
        }
    }
    let part = format!("--{boundary}\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n{name}\r\n");
    Ok(Spliced { parts: [Bytes::new(), Bytes::from(part), body.clone()] })
}

/// The ranges of a form's parts, headers included: from after a delimiter's line to before the next one's.
struct Parts<'a> {
    body: &'a [u8],
    finder: Finder<'static>,
    /// Where the part at hand begins; `None` = nothing comes any more.
    start: Option<usize>,
    count: usize,
}

impl<'a> Parts<'a> {
    fn new(boundary: &str, body: &'a [u8]) -> Result<Parts<'a>, FormError> {
        let delimiter = format!("--{boundary}");
        if !body.starts_with(delimiter.as_bytes()) {
            return Err(FormError::Start);
        }
        let finder = Finder::new(delimiter.as_bytes()).into_owned();
        let mut parts = Parts { body, finder, start: None, count: 0 };
        parts.start = parts.after_delimiter(0)?;
        Ok(parts)
    }

    /// What follows the delimiter at `offset`: the start of a part, or nothing.
    fn after_delimiter(&self, offset: usize) -> Result<Option<usize>, FormError> {
        let end = offset + self.finder.needle().len();
        match &self.body[end..] {
            [b'\r', b'\n', ..] => Ok(Some(end + 2)),
            [b'-', b'-'] | [b'-', b'-', b'\r', b'\n'] => Ok(None),
            [b'-', b'-', b'\r', b'\n', ..] => Err(FormError::Trailing),
            [] | [b'\r' | b'-'] => Err(FormError::Truncated),
            _ => Err(FormError::Delimiter { offset }),
        }
    }

    fn part(&mut self, start: usize) -> Result<Range<usize>, FormError> {
        self.count += 1;
        if self.count > MAX_PARTS {
            return Err(FormError::TooManyParts);
        }
        let found = self.finder.find(&self.body[start..]).ok_or(FormError::Truncated)?;
        let offset = start + found;
        let Some(end) = offset.checked_sub(2).filter(|end| *end >= start && self.body[*end..].starts_with(b"\r\n"))
        else {
            return Err(FormError::Delimiter { offset });
        };
        self.start = self.after_delimiter(offset)?;
        Ok(start..end)
    }
}

impl Iterator for Parts<'_> {
    type Item = Result<Range<usize>, FormError>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.start.take()?;
        Some(self.part(start))
    }
}

#[cfg(test)]
mod tests;
