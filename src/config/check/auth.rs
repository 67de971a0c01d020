//! Client keys: a file with one `name:sha256` per line, the SHA-256 of the key in hex. `#` begins a comment.
//!
//! A line is never shown, because somebody may have written the key itself. Names and digests must differ: a digest
//! that stands twice would leave open who asks.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::file::read;
use super::{below, is_name, path};
use crate::config::document::Document;
use crate::config::places::Path;
use crate::config::plan::{AuthPlan, ClientKey};
use crate::config::wording::item;
use crate::config::yaml;

/// SHA-256 of nothing: what comes out when the variable with the key was not set.
const NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const LINE: &str = "`name:sha256`, the key's SHA-256 in 64 hex digits: `printf %s \"$KEY\" | sha256sum`";

/// `None` if there is no `auth`, or if it has a finding.
pub(super) fn check(main: &yaml::Config, text: &mut Document<'_>) -> Option<AuthPlan> {
    let auth = main.auth.as_ref()?;
    let at = path(&["auth"]);
    let file_at = below(&at, "keys_file");
    let Some(file) = &auth.keys_file else {
        if !text.is_broken(&file_at) {
            text.at(&at, "`auth` has no `keys_file`").allowed =
                Some(format!("a file with one line per client: {LINE}"));
        }
        return None;
    };
    let content = read(text, &file_at, file)?;
    let keys = keys(text, &file_at, file, &content)?;
    if keys.is_empty() {
        text.warn(
            &file_at,
            format!("{}: `{file}` names no client: every request that needs a key is refused", item(&file_at)),
        );
    }
    Some(AuthPlan { file: text.beside(file), keys })
}

/// All keys, or `None` if a line has a finding.
fn keys(text: &mut Document<'_>, at: &Path, file: &str, content: &str) -> Option<Vec<ClientKey>> {
    let mut keys = Vec::<ClientKey>::new();
    let (mut names, mut digests) = (BTreeMap::<Arc<str>, usize>::new(), BTreeMap::<[u8; 32], usize>::new());
    let mut sound = true;
    for (number, line) in (1..).zip(content.lines()) {
        let error = match client(line) {
            Ok(None) => continue,
            Ok(Some(key)) => {
                let first = names.get(&key.name).map(|first| (format!("client `{}`", key.name), *first));
                let first = first.or_else(|| digests.get(&key.sha256).map(|first| ("this key".to_string(), *first)));
                names.entry(key.name.clone()).or_insert(number);
                digests.entry(key.sha256).or_insert(number);
                keys.push(key);
                match first {
                    Some((what, first)) => format!("{what} is in line {first} already"),
                    None => continue,
                }
            }
            Err(error) => error,
        };
        sound = false;
        text.at(at, format!("`{file}` line {number}: {error}")).allowed = Some(LINE.into());
    }
    sound.then_some(keys)
}

/// The client of one line; `None` for an empty line or a comment.
fn client(line: &str) -> Result<Option<ClientKey>, String> {
    let mut words = line.split_whitespace();
    let Some(entry) = words.next().filter(|word| !word.starts_with('#')) else { return Ok(None) };
    if words.next().is_some_and(|word| !word.starts_with('#')) {
        return Err("there is more than one word".into());
    }
    let (name, hex) = entry.rsplit_once(':').ok_or("there is no `:`")?;
    if !is_name(name) {
        return Err("the name is empty, too long, or has a quote, `,`, `;`, `\\` or a sign beyond ASCII".into());
    }
    if hex.eq_ignore_ascii_case(NOTHING) {
        return Err("this is the SHA-256 of an empty key".into());
    }
    let sha256 = digest(hex).ok_or("what follows the name is not 64 hex digits")?;
    Ok(Some(ClientKey { name: name.into(), sha256 }))
}

fn digest(hex: &str) -> Option<[u8; 32]> {
    if hex.len() != 64 || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let bytes = (0..32).map(|index| u8::from_str_radix(hex.get(2 * index..2 * index + 2)?, 16).ok());
    bytes.collect::<Option<Vec<u8>>>()?.try_into().ok()
}
