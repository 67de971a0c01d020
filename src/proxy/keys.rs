//! The key by which a strategy keeps requests together: the first of its sources that the request has, hashed.

use arriero_core::KeySource;
use pingora::http::RequestHeader;
use xxhash_rust::xxh3::xxh3_64;

use super::ctx::Ctx;
use crate::config::PriorityPlan;
use crate::dialect::top::TopFields;
use crate::edge::keys::presented_key;

/// Headers that name a session, in the order in which they count; before any field of the body.
const SESSION_HEADERS: [&str; 3] = ["x-session-id", "x-conversation-id", "session-id"];

/// The hash of the key; `None` if the request has none of the sources.
pub fn hash_key(sources: &[KeySource], head: &RequestHeader, ctx: &Ctx, model: Option<&str>) -> Option<u64> {
    sources.iter().find_map(|source| value(source, head, ctx, model)).map(|value| xxh3_64(&value))
}

fn value(source: &KeySource, head: &RequestHeader, ctx: &Ctx, model: Option<&str>) -> Option<Vec<u8>> {
    let header = |name: &str| head.headers.get(name).map(|value| value.as_bytes().to_vec());
    let body: &[u8] = if ctx.has_json { &ctx.body } else { b"" };
    let value = match source {
        KeySource::Source => ctx.client?.to_string().into_bytes(),
        KeySource::Header(name) => header(name)?,
        KeySource::Cookie(name) => cookie(head, name)?,
        KeySource::Path { depth } => first_segments(head.uri.path(), *depth).as_bytes().to_vec(),
        KeySource::Query(name) => parameter(head.uri.query()?, name)?,
        KeySource::Model => model?.as_bytes().to_vec(),
        KeySource::ApiKey => presented_key(&head.headers)?.to_vec(),
        KeySource::Session => {
            let named = SESSION_HEADERS.iter().find_map(|name| header(name).filter(|value| !value.is_empty()));
            named.or_else(|| TopFields::of_session(body).session().map(String::into_bytes))?
        }
        KeySource::Prompt { bytes } => TopFields::of_prompt(body).prompt(*bytes as usize),
        KeySource::Body(field) => TopFields::of(body, &[field]).value(field)?.into_bytes(),
        _ => return None,
    };
    (!value.is_empty()).then_some(value)
}

pub(super) fn cookie(head: &RequestHeader, name: &str) -> Option<Vec<u8>> {
    let lines = head.headers.get_all(http::header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value.as_bytes().to_vec())
}

/// A parameter of the query, as it is written.
fn parameter(query: &str, name: &str) -> Option<Vec<u8>> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value.as_bytes().to_vec())
}

/// The first `depth` segments of a path.
fn first_segments(path: &str, depth: Option<u32>) -> &str {
    let Some(depth) = depth else { return path };
    let ends = path.match_indices('/').map(|(at, _)| at).skip(1);
    ends.take(depth as usize).nth(depth.saturating_sub(1) as usize).map_or(path, |end| &path[..end])
}

/// The request's class in the queue.
pub fn class(plan: &PriorityPlan, head: &RequestHeader, ctx: &Ctx) -> i16 {
    match plan {
        PriorityPlan::Fixed(class) => *class,
        PriorityPlan::Header { name, .. } => {
            plan.class(head.headers.get(name.as_ref()).and_then(|value| value.to_str().ok()))
        }
        PriorityPlan::Body { field, .. } => {
            let body: &[u8] = if ctx.has_json { &ctx.body } else { b"" };
            plan.class(TopFields::of(body, &[field]).value(field).as_deref())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn segments_are_counted_from_the_front() {
        assert_eq!(first_segments("/v1/chat/completions", Some(1)), "/v1");
        assert_eq!(first_segments("/v1/chat/completions", Some(2)), "/v1/chat");
        assert_eq!(first_segments("/v1/chat/completions", Some(9)), "/v1/chat/completions");
        assert_eq!(first_segments("/v1", None), "/v1");
    }

    #[test]
    fn cookies_and_parameters_are_found_by_their_whole_name() {
        let mut head = RequestHeader::build("GET", b"/?ab=0&a=1&a=2", None).unwrap();
        head.append_header("cookie", "xa=0; a=1").unwrap();
        head.append_header("cookie", "b=2").unwrap();
        assert_eq!(cookie(&head, "a").as_deref(), Some(&b"1"[..]));
        assert_eq!(cookie(&head, "b").as_deref(), Some(&b"2"[..]));
        assert_eq!(cookie(&head, "c"), None);
        assert_eq!(parameter(head.uri.query().unwrap(), "a").as_deref(), Some(&b"1"[..]));
    }
}
