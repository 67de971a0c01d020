//! The parser's errors in an operator's words: what item, what was found, what is allowed.

use serde_yaml::Error;

/// The words of one finding.
#[derive(Debug, Default)]
pub(crate) struct Wording {
    pub(crate) message: String,
    pub(crate) found: Option<String>,
    pub(crate) allowed: Option<String>,
    pub(crate) hint: Option<String>,
}

/// The words for a parser's error at a path; `kind` is what stands there.
pub(crate) fn wording(path: &[String], kind: &str, error: &Error) -> Wording {
    let item = item(path);
    match error.without_snippet() {
        Error::SerdeUnknownField { field, expected, .. } => Wording {
            message: format!("unknown key `{field}`{}", within(path)),
            allowed: Some(if expected.is_empty() { "no keys".into() } else { expected.join(", ") }),
            hint: did_you_mean(field, expected.iter().copied()),
            ..Wording::default()
        },
        Error::SerdeMissingField { field, .. } => {
            Wording { message: format!("{item} has no `{field}`"), ..Wording::default() }
        }
        Error::SerdeUnknownVariant { variant, expected, .. } => Wording {
            message: format!("{item} cannot be `{variant}`"),
            found: Some(variant.clone()),
            allowed: Some(expected.join(", ")),
            hint: did_you_mean(variant, expected.iter().copied()),
        },
        Error::SerdeInvalidType { unexpected, expected, .. }
        | Error::SerdeInvalidValue { unexpected, expected, .. } => wrong_value(item, unexpected, expected),
        Error::Unexpected { expected, .. } => Wording {
            message: format!("{item} cannot be {kind}"),
            found: Some(kind.into()),
            allowed: Some(plain_kind(expected).into()),
            ..Wording::default()
        },
        Error::NullIntoString { .. } => {
            Wording { message: format!("{item} is empty"), allowed: Some("a text".into()), ..Wording::default() }
        }
        Error::UnknownAnchor { .. } => {
            Wording { message: "there is no anchor for this alias".into(), ..Wording::default() }
        }
        Error::Message { msg, .. } if !path.is_empty() => {
            Wording { message: format!("{item}: {msg}"), ..Wording::default() }
        }
        other => Wording { message: without_place(&other.to_string()), ..Wording::default() },
    }
}

/// Bytes of the longest name that a nearest one is looked for: comparing takes the product of both lengths.
const LONGEST_NAME: usize = 100;

/// The name nearest to a misspelt one, if one is near: transposed, missing or wrong letters, `-` and `_` alike.
pub(crate) fn did_you_mean<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Option<String> {
    if name.len() > LONGEST_NAME {
        return None;
    }
    let plain = |name: &str| name.to_lowercase().replace('_', "-");
    let name = plain(name);
    let near = |other: &str| strsim::normalized_damerau_levenshtein(&name, &plain(other));
    let likeness = known.into_iter().map(|other| (near(other), other));
    let (likeness, best) = likeness.max_by(|(one, _), (other, _)| one.total_cmp(other))?;
    (likeness >= 0.6).then(|| format!("did you mean `{best}`?"))
}

fn wrong_value(item: String, unexpected: &str, expected: &str) -> Wording {
    let found = match unexpected {
        "map" => "a mapping".into(),
        "sequence" => "a list".into(),
        "unit value" => "empty".into(),
        other => other.replace("string \"", "\"").replace("integer `", "`").replace("floating point `", "`"),
    };
    let bare = found.trim_matches(['"', '`']);
    let share = expected.contains("share from").then(|| bare.parse::<f64>().ok()).flatten();
    let share = share.filter(|share| (0.0..=100.0).contains(share));
    let percent = share.map(|share| if share > 1.0 { share } else { (share * 1e4).round() / 1e2 });
    let unit = expected.contains("with a unit") && !bare.is_empty() && bare.chars().all(|sign| sign.is_ascii_digit());
    let hint = unit.then(|| {
        if expected.contains("size") {
            format!("{bare} has no unit: write {bare}MiB, for example")
        } else {
            format!("{bare} has no unit: write {bare}s or {bare}ms, for example")
        }
    });
    Wording {
        message: format!(
            "{item} cannot be {}",
            if unit { format!("{bare}, a number without a unit") } else { found.clone() }
        ),
        found: Some(found),
        allowed: Some(plain_kind(expected).into()),
        hint: hint.or(percent.map(|percent| format!("write {percent}%"))),
    }
}

fn plain_kind(expected: &str) -> &str {
    match expected {
        "mapping start" => "a mapping of keys to values",
        "sequence start" => "a list",
        "string scalar" | "scalar" | "a string" => "a text",
        "a boolean" => "true or false",
        "u32" | "u64" | "u16" | "u8" | "usize" => "a whole number, 0 or more",
        "i16" | "i32" | "i64" => "a whole number",
        "f64" | "f32" => "a number",
        other => other.strip_prefix("struct ").map_or(other, |_| "a mapping of keys to values"),
    }
}

/// `pools.home.endpoints[1].url`, in backquotes.
pub(crate) fn item(path: &[String]) -> String {
    if path.is_empty() { "the configuration".into() } else { format!("`{}`", dotted(path)) }
}

fn within(path: &[String]) -> String {
    match path.split_last() {
        Some((_, parent)) if !parent.is_empty() => format!(" in `{}`", dotted(parent)),
        _ => String::new(),
    }
}

fn dotted(path: &[String]) -> String {
    let mut out = String::new();
    for step in path {
        if step.bytes().all(|byte| byte.is_ascii_digit()) && !out.is_empty() {
            out.push_str(&format!("[{step}]"));
        } else {
            let dot = if out.is_empty() { "" } else { "." };
            out.push_str(&format!("{dot}{step}"));
        }
    }
    out
}

fn without_place(text: &str) -> String {
    text.rsplit_once(" at line ").map_or(text, |(message, _)| message).to_string()
}
