//! Steps through JSON that was checked before: where a value ends, which members the outermost object has.
//!
//! It looks at quotes, brackets, colons and commas only. Text that is no JSON is walked somehow, or gives `None`.

use crate::dialect::json::skip::end_of_text;

/// The first place from `at` on that holds no white space.
pub(super) fn skip_blank(text: &[u8], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count()
}

/// The place behind the string whose opening quote stands at `at`.
pub(super) fn end_of_string(text: &[u8], at: usize) -> Option<usize> {
    let end = end_of_text(text.get(at + 1..)?, false).ok()?;
    Some(at + 1 + end)
}

/// The place behind the number or word that begins at `at`.
pub(super) fn end_of_scalar(text: &[u8], at: usize) -> usize {
    let ends =
        |byte: &u8| matches!(byte, b',' | b':' | b'"' | b'{' | b'}' | b'[' | b']' | b' ' | b'\t' | b'\n' | b'\r');
    let rest = text.get(at..).unwrap_or_default();
    at + rest.iter().position(ends).unwrap_or(rest.len())
}

/// The place behind the value that begins at `at`.
pub(super) fn end_of_value(text: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0u32;
    loop {
        match text.get(at)? {
            b'"' => at = end_of_string(text, at)?,
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                at += 1;
            }
            _ if depth == 0 => return Some(end_of_scalar(text, at)),
            _ => at += 1,
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

/// Gives each member of the object that `body` is to `take`: its key without quotes and its value, both as written.
/// `None` if it is no object, or ends too early.
pub(super) fn members<'b>(body: &'b [u8], mut take: impl FnMut(&'b [u8], &'b [u8])) -> Option<()> {
    let mut at = skip_blank(body, 0);
    if *body.get(at)? != b'{' {
        return None;
    }
    at = skip_blank(body, at + 1);
    if *body.get(at)? == b'}' {
        return Some(());
    }
    loop {
        if *body.get(at)? != b'"' {
            return None;
        }
        let end = end_of_string(body, at)?;
        let key = &body[at + 1..end - 1];
        at = skip_blank(body, end);
        if *body.get(at)? != b':' {
            return None;
        }
        at = skip_blank(body, at + 1);
        let end = end_of_value(body, at)?;
        take(key, &body[at..end]);
        at = skip_blank(body, end);
        match *body.get(at)? {
            b',' => at = skip_blank(body, at + 1),
            b'}' => return Some(()),
            _ => return None,
        }
    }
}

/// True if a value says nothing: `null`, or an empty string, array or object. Engines treat them like a missing field.
pub(super) fn is_blank(value: &[u8]) -> bool {
    match value {
        [] | b"null" | b"\"\"" => true,
        [b'[' | b'{', rest @ ..] => matches!(rest.get(skip_blank(rest, 0)), Some(b']' | b'}')),
        _ => false,
    }
}
