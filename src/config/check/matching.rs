//! What routes take: globs, header names, listeners that exist; and a route that nothing is left for.

use std::sync::Arc;

use http::HeaderName;

use super::known::Known;
use super::{below, near};
use crate::config::document::Document;
use crate::config::matcher::{Glob, Matcher};
use crate::config::places::Path;
use crate::config::wording::item;
use crate::config::yaml::{self, OneOrMany};

/// The matcher of the route whose `match` is at `at`.
pub(super) fn matcher(text: &mut Document<'_>, at: &Path, yaml: &yaml::Match, known: &Known<'_>) -> Matcher {
    let mut glob = |at: Path, written: &str| match Glob::new(written) {
        Ok(glob) => Some(glob),
        Err(error) => {
            let finding = text.at(&at, format!("{} is no glob: {error}", item(&at)));
            finding.allowed = Some("`*` for any text, `?` for one character, `[ab]`, `{this,that}`".into());
            None
        }
    };
    let model = yaml.model.as_deref().and_then(|model| glob(below(at, "model"), model));
    let path = yaml.path.as_deref().and_then(|path| glob(below(at, "path"), path));
    let mut headers = Vec::new();
    for (name, value) in &yaml.header {
        let header_at = below(&below(at, "header"), name);
        let value = glob(header_at, value);
        headers.extend(value.map(|value| (name.to_ascii_lowercase(), value)));
    }
    for name in yaml.header.keys().filter(|name| HeaderName::from_bytes(name.as_bytes()).is_err()) {
        text.at_key(&below(&below(at, "header"), name), format!("`{name}` is no header name"));
    }
    if let Some(path) = yaml.path.as_deref().filter(|path| !path.starts_with(['/', '*', '?', '[', '{'])) {
        let finding = text.at(&below(at, "path"), format!("no path matches `{path}`: paths begin with `/`"));
        finding.hint = Some(format!("write `/{path}` or `*{path}`"));
    }
    let listeners = yaml.listener.as_ref().map(|names| listeners(text, &below(at, "listener"), names, known));
    Matcher { model, path, headers, listeners }
}

/// The listeners that exist, of those that are named.
fn listeners(text: &mut Document<'_>, at: &Path, yaml: &OneOrMany<String>, known: &Known<'_>) -> Vec<Arc<str>> {
    let placed: Vec<(Path, &String)> = match yaml {
        OneOrMany::One(name) => vec![(at.clone(), name)],
        OneOrMany::Many(names) => {
            if names.is_empty() && !text.is_damaged(at) {
                text.at(at, format!("{} is empty", item(at))).hint = Some("leave it out for every listener".into());
            }
            let indices = text.sound_items(at).into_iter();
            indices.map(|index| below(at, &index.to_string())).zip(names).collect()
        }
    };
    let mut found = Vec::<Arc<str>>::new();
    for (at, name) in placed {
        if !known.listeners.contains(name) {
            if !known.is_damaged(&["listeners", name]) && !known.is_damaged(&["listen"]) {
                let finding = text.at(&at, format!("{} names no listener: there is no `{name}`", item(&at)));
                near(finding, name, known.listeners.iter().map(String::as_str), "the name of a listener");
            }
        } else if !found.iter().any(|other| **other == **name) {
            found.push(name.as_str().into());
        }
    }
    found
}

/// The routes so far.
#[derive(Default)]
pub(super) struct Earlier(Vec<(String, String, Matcher)>);

impl Earlier {
    /// Reports a route for which, on each of its listeners, one of the earlier ones takes everything.
    pub(super) fn check(&mut self, text: &mut Document<'_>, at: &Path, name: &str, own: &Matcher, known: &Known<'_>) {
        let mut heard: Vec<&str> = known.listeners.iter().map(String::as_str).filter(|name| own.hears(name)).collect();
        let unread = known.is_damaged(&["listeners"]) || known.is_damaged(&["listen"]);
        if own.listeners.is_none() && (unread || heard.is_empty()) {
            heard.push("");
        }
        let takes_all =
            |listener: &&str| self.0.iter().find(|(_, _, earlier)| earlier.hears(listener) && earlier.covers(own));
        let takers: Option<Vec<_>> = heard.iter().map(takes_all).collect();
        if let Some(mut takers) = takers.filter(|takers| !takers.is_empty()) {
            takers.dedup_by_key(|(_, place, _)| place.as_str());
            let named: Vec<String> = takers.iter().map(|(name, place, _)| format!("`{name}` at {place}")).collect();
            let finding = text.at(at, format!("{} is never reached", item(at)));
            finding.found = Some(match &named[..] {
                [only] => format!("route {only} takes everything that it would"),
                _ => format!("routes {} take everything that it would", named.join(", ")),
            });
            finding.hint = Some("the first match wins: put the narrower route first".into());
        }
        self.0.push((name.into(), text.line_of(at), own.clone()));
    }
}
