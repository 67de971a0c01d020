//! `${VAR}`, `${VAR:-default}` and `$$` in one scalar, after YAML is parsed: a value can never add structure.
//!
//! `$$` is a dollar sign; a `$` before anything but `{` or `$` stays. A variable that is not set and has no default
//! is an error, never an empty string; a default also replaces an empty value.

use std::borrow::Cow;

/// Looks up an environment variable.
pub(crate) type Env<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// The text with its variables filled in.
pub(crate) fn expand<'t>(text: &'t str, env: &Env<'_>) -> Result<Cow<'t, str>, String> {
    if !text.contains('$') {
        return Ok(Cow::Borrowed(text));
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        out.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let Some(end) = after.find('}') else {
                return Err(format!(
                    "`${{{after}` is not closed: write `${{VAR}}`, `${{VAR:-default}}`, or `$$` for `$`"
                ));
            };
            out.push_str(&value_of(&after[..end], env)?);
            rest = &after[end + 1..];
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    Ok(Cow::Owned(out))
}

fn value_of(inside: &str, env: &Env<'_>) -> Result<String, String> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    if name.is_empty() || !name.chars().all(plain) || name.starts_with(|letter: char| letter.is_ascii_digit()) {
        return Err(format!(
            "`${{{inside}}}` does not name a variable: letters, digits and `_`, then maybe `:-default`"
        ));
    }
    match (env(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_string()),
        (None, None) => {
            Err(format!("environment variable `{name}` is not set: set it, or write `${{{name}:-default}}`"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::expand;

    fn env(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("gpu".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn fills_variables_defaults_and_dollars() {
        for (text, wanted) in [
            ("plain", "plain"),
            ("http://${HOST}:1", "http://gpu:1"),
            ("${NONE:-x}-${EMPTY:-y}-${EMPTY}", "x-y-"),
            ("$$${HOST} $5 $", "$gpu $5 $"),
            ("$${HOST}", "${HOST}"),
            ("${HOST:-a}", "gpu"),
        ] {
            assert_eq!(expand(text, &env).as_deref(), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn refuses_what_it_cannot_fill() {
        for (text, part) in [
            ("${NONE}", "`NONE` is not set"),
            ("${HOST", "not closed"),
            ("${}", "does not name"),
            ("${1A}", "does not name"),
        ] {
            let error = expand(text, &env).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
