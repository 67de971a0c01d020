//! The canonical prompt by the plain way: read it all, write it all. Keys must be in the order of `serde_json`.

use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

const MEDIA: [&str; 9] =
    ["images", "image", "data", "url", "image_url", "file_data", "video", "image_data", "multimodal_data"];

/// The canonical prompt of a body with these fields.
pub(super) fn canonical(body: &Value, fields: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let blank = |value: &Value| {
        matches!(value, Value::Null)
            || value.as_str() == Some("")
            || value.as_array().is_some_and(Vec::is_empty)
            || value.as_object().is_some_and(serde_json::Map::is_empty)
    };
    for field in fields {
        let Some(value) = body.get(field).filter(|value| !blank(value)) else { continue };
        bytes.push(0xf8);
        bytes.extend_from_slice(field.as_bytes());
        bytes.push(0xfd);
        write(value, MEDIA.contains(field), true, &mut bytes);
    }
    bytes
}

fn write(value: &Value, media: bool, outermost: bool, bytes: &mut Vec<u8>) {
    let mark = |bytes: &mut Vec<u8>, mark| bytes.extend((!outermost).then_some(mark));
    match value {
        Value::String(text) if media || (text.starts_with("data:") && text.contains(";base64,")) => {
            bytes.push(0xfc);
            bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
            bytes.extend_from_slice(&xxh3_64(text.as_bytes()).to_le_bytes());
        }
        Value::String(text) => {
            bytes.extend_from_slice(text.as_bytes());
            mark(bytes, 0xfd);
        }
        Value::Array(values) => {
            mark(bytes, 0xfa);
            let mut media = media;
            for value in values {
                write(value, media, false, bytes);
                media &= !(value.is_array() || value.is_object()); // a bracket that closes ends it
            }
            mark(bytes, 0xfb);
        }
        Value::Object(members) => {
            mark(bytes, 0xf9);
            for (key, value) in members.iter().filter(|(key, _)| *key != "cache_control") {
                bytes.extend_from_slice(key.as_bytes());
                bytes.push(0xfd);
                write(value, MEDIA.contains(&key.as_str()), false, bytes);
            }
            mark(bytes, 0xfb);
        }
        scalar => {
            bytes.extend_from_slice(scalar.to_string().as_bytes());
            mark(bytes, 0xfe);
        }
    }
}

/// The value as JSON with every character of its strings and keys escaped.
pub(super) fn escaped(value: &Value) -> String {
    let text = |text: &str| {
        let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
        format!("\"{units}\"")
    };
    match value {
        Value::String(string) => text(string),
        Value::Array(values) => format!("[{}]", values.iter().map(escaped).collect::<Vec<_>>().join(" ,")),
        Value::Object(members) => {
            let members = members.iter().map(|(key, value)| format!("{} :{}", text(key), escaped(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(",\n"))
        }
        scalar => scalar.to_string(),
    }
}
