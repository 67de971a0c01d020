//! One part of a form: its header lines, and what they say of name and kind.
//!
//! `None` = malformed, or such that two readers could differ: a name that is not quoted, written twice, encoded or
//! escaped; a quote escaped in any value; a second `Content-Disposition`.

use memchr::memmem;

/// Bytes of a part's header: more is refused.
pub(super) const MAX_HEADER: usize = 4096;
/// Lines of a part's header: more are refused.
const MAX_LINES: usize = 16;

/// A part as all readers see it.
#[derive(Debug)]
pub(super) struct Part<'a> {
    pub(super) name: &'a str,
    pub(super) value: &'a [u8],
    /// Where the value begins in the part.
    pub(super) value_at: usize,
    /// Neither a file, nor in another encoding than UTF-8.
    pub(super) is_plain_text: bool,
}

impl<'a> Part<'a> {
    /// Takes a part apart.
    pub(super) fn of(part: &'a [u8]) -> Option<Part<'a>> {
        let (header, value_at) = split_header(part)?;
        let header = std::str::from_utf8(header).ok()?;
        let mut disposition = None;
        let mut is_plain_text = true;
        for (count, line) in header.split("\r\n").enumerate() {
            let (name, value) = line.split_once(':')?;
            if count >= MAX_LINES || !is_token(name) || value.chars().any(|c| c.is_control() && c != '\t') {
                return None;
            }
            let value = value.trim_matches([' ', '\t']);
            match name.to_ascii_lowercase().as_str() {
                "content-disposition" if disposition.is_some() => return None,
                "content-disposition" => disposition = Some(value),
                "content-transfer-encoding" => is_plain_text &= is_identity(value),
                "content-type" => is_plain_text &= is_utf8(value),
                _ => {}
            }
        }
        let (kind, parameters) = disposition?.split_once(';')?;
        let parameters = parameters_of_form_data(kind, parameters)?;
        let name = single_name(&parameters)?;
        let is_file = parameters.iter().any(|parameter| parameter.name.to_ascii_lowercase().starts_with("filename"));
        Some(Part { name, value: &part[value_at..], value_at, is_plain_text: is_plain_text && !is_file })
    }
}

fn split_header(part: &[u8]) -> Option<(&[u8], usize)> {
    memmem::find(&part[..part.len().min(MAX_HEADER)], b"\r\n\r\n").map(|end| (&part[..end], end + 4))
}

fn parameters_of_form_data<'a>(kind: &str, text: &'a str) -> Option<Vec<Parameter<'a>>> {
    if kind.trim_ascii().eq_ignore_ascii_case("form-data") { parameters(text) } else { None }
}

/// The one `name`, quoted and without escapes.
fn single_name<'a>(parameters: &[Parameter<'a>]) -> Option<&'a str> {
    let base = |parameter: &Parameter<'_>| parameter.name.split('*').next().map(str::to_ascii_lowercase);
    let mut names = parameters.iter().filter(|parameter| base(parameter).as_deref() == Some("name"));
    let name = names.next().filter(|name| name.is_quoted && !name.name.contains('*') && !name.raw.contains('\\'))?;
    names.next().is_none().then_some(name.raw)
}

/// One `; name=value`.
#[derive(Debug)]
pub(super) struct Parameter<'a> {
    pub(super) name: &'a str,
    /// The value without its quotes, escapes as written.
    pub(super) raw: &'a str,
    is_quoted: bool,
}

/// The parameters after a value's first `;`.
pub(super) fn parameters(text: &str) -> Option<Vec<Parameter<'_>>> {
    let mut found = Vec::new();
    let mut rest = text.trim_ascii();
    loop {
        let (name, after) = rest.split_once('=')?;
        let (raw, after, is_quoted) = match after.strip_prefix('"') {
            Some(quoted) => {
                let end = closing_quote(quoted)?;
                (&quoted[..end], &quoted[end + 1..], true)
            }
            None => {
                let end = after.find([';', ' ', '\t']).unwrap_or(after.len());
                (&after[..end], &after[end..], false)
            }
        };
        if !is_token(name) || (!is_quoted && (raw.is_empty() || raw.contains(['"', '\\', '=']))) {
            return None;
        }
        found.push(Parameter { name, raw, is_quoted });
        rest = match after.trim_ascii() {
            "" => return Some(found),
            more => more.strip_prefix(';')?.trim_ascii(),
        };
    }
}

/// Where a quoted value ends. `\"` is refused: to some readers it ends the value, to others it does not.
fn closing_quote(text: &str) -> Option<usize> {
    let end = text.find('"')?;
    let escapes = text[..end].bytes().rev().take_while(|byte| *byte == b'\\').count();
    (escapes % 2 == 0).then_some(end)
}

fn is_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

fn is_identity(encoding: &str) -> bool {
    ["7bit", "8bit", "binary"].iter().any(|plain| encoding.eq_ignore_ascii_case(plain))
}

/// No character set is UTF-8, too.
fn is_utf8(content_type: &str) -> bool {
    let Some((_, text)) = content_type.split_once(';') else { return true };
    let plain = |parameter: &Parameter<'_>| {
        let is_known = ["utf-8", "utf8", "us-ascii"].iter().any(|name| parameter.raw.eq_ignore_ascii_case(name));
        is_known || !parameter.name.to_ascii_lowercase().starts_with("charset")
    };
    parameters(text).is_some_and(|parameters| parameters.iter().all(plain))
}
