//! Ids that an engine made and only it knows: responses and conversations of OpenAI's Responses API. A request that
//! names one belongs to that engine. An answer's own id is found in its first bytes, streamed or not.

use serde::Deserialize;

use super::top::TopFields;

/// Bytes of an answer's beginning in which its id stands, if it has one.
pub const HEAD: usize = 4096;

/// Bytes of an id: longer ones are none.
const LONGEST: usize = 256;

/// True if answers to this path carry an id that later requests may name.
pub fn makes_ids(path: &str) -> bool {
    path == "/v1/responses" || path == "/v1/conversations"
}

/// The id that a request names, in its path or its body.
pub fn asked(path: &str, body: &[u8]) -> Option<String> {
    let in_path = ["/v1/responses/", "/v1/conversations/"].iter().find_map(|prefix| path.strip_prefix(prefix));
    let id = match in_path {
        Some(rest) => rest.split('/').next().map(str::to_owned),
        None if path == "/v1/responses" => in_body(body),
        None => None,
    };
    id.filter(|id| (1..=LONGEST).contains(&id.len()))
}

fn in_body(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Conversation {
        id: String,
    }
    let fields = TopFields::of(body, &["previous_response_id", "conversation"]);
    fields.value("previous_response_id").or_else(|| {
        let conversation = fields.value("conversation")?;
        Some(serde_json::from_str::<Conversation>(&conversation).map_or(conversation, |object| object.id))
    })
}

/// The id in an answer's first bytes: the value of the first `id` in them. `None`: not there, or not yet whole.
pub fn made(head: &[u8]) -> Option<&str> {
    let after_key = memchr::memmem::find(head, b"\"id\"")? + 4;
    let value = head[after_key..].trim_ascii_start().strip_prefix(b":")?.trim_ascii_start().strip_prefix(b"\"")?;
    let id = &value[..memchr::memchr(b'"', value)?];
    let sane = (1..=LONGEST).contains(&id.len()) && id.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'\\');
    std::str::from_utf8(id).ok().filter(|_| sane)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_name_ids_in_path_or_body() {
        assert_eq!(asked("/v1/responses/resp_1", b"").as_deref(), Some("resp_1"));
        assert_eq!(asked("/v1/responses/resp_1/cancel", b"").as_deref(), Some("resp_1"));
        assert_eq!(asked("/v1/conversations/conv_1/items", b"").as_deref(), Some("conv_1"));
        let body = |json: &str| asked("/v1/responses", json.as_bytes());
        assert_eq!(body(r#"{"model":"m","previous_response_id":"resp_2"}"#).as_deref(), Some("resp_2"));
        assert_eq!(body(r#"{"conversation":"conv_2"}"#).as_deref(), Some("conv_2"));
        assert_eq!(body(r#"{"conversation":{"id":"conv_3"}}"#).as_deref(), Some("conv_3"));
        for none in [r#"{"model":"m"}"#, r#"{"previous_response_id":null}"#, r#"{"previous_response_id":""}"#] {
            assert_eq!(body(none), None, "{none}");
        }
        assert_eq!(asked("/v1/chat/completions", br#"{"previous_response_id":"x"}"#), None);
        assert_eq!(asked("/v1/responses/", b""), None);
    }

    #[test]
    fn answers_begin_with_their_id() {
        assert_eq!(made(br#"{"id":"resp_1","object":"response"}"#), Some("resp_1"));
        let event =
            "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\": \"resp_2\",\"o";
        assert_eq!(made(event.as_bytes()), Some("resp_2"));
        for none in [r#"{"id":"resp_"#, r#"{"id":7}"#, r#"{"id":""}"#, "{}", r#"{"id":"a b"}"#] {
            assert_eq!(made(none.as_bytes()), None, "{none}");
        }
        assert_eq!(made(format!("{{\"id\":\"{}\"}}", "x".repeat(300)).as_bytes()), None);
    }
}
