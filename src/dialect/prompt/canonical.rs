//! One field of a prompt in its canonical form.
//!
//! Marks are bytes that no UTF-8 text holds, so no text can look like structure. A field is its mark, its name and its
//! value; the outermost brackets or quotes of the value are left out, so that a longer list of messages, or a longer
//! prompt, begins with all of the shorter one. Strings are unescaped; numbers and words stay as written; members named
//! `cache_control` are left out, because clients move them from message to message and engines do not read them.
//! Media (images, sound, files, links; by their key as for the estimate of tokens, or by looking like a `data:` URL with
//! base64) become their length and xxh3.

use memchr::memmem;
use xxhash_rust::xxh3::Xxh3;

use super::chain::Chain;
use super::text::{Head, Name, Take, unescape};
use super::walk::{end_of_scalar, end_of_string, end_of_value, skip_blank};

const FIELD: u8 = 0xf8;
const OBJECT: u8 = 0xf9;
const ARRAY: u8 = 0xfa;
const CLOSE: u8 = 0xfb;
const MEDIA: u8 = 0xfc;
const TEXT_END: u8 = 0xfd;
const SCALAR_END: u8 = 0xfe;

/// Keys whose strings are media or links.
const MEDIA_KEYS: [&str; 9] =
    ["images", "image", "data", "url", "image_url", "file_data", "video", "image_data", "multimodal_data"];
/// A member that says nothing of the prompt.
const LEFT_OUT: &str = "cache_control";

/// Writes the field `name`, whose value stands in `value`.
pub(super) fn write(name: &str, value: &[u8], to: &mut Chain) {
    to.take(&[FIELD]);
    to.take(name.as_bytes());
    to.take(&[TEXT_END]);
    let mut media = MEDIA_KEYS.contains(&name);
    let mut depth = 0u32;
    let mut at = 0;
    while !to.is_full() {
        let Some(&byte) = value.get(at) else { return };
        match byte {
            b'"' => {
                let Some(end) = end_of_string(value, at) else { return };
                let raw = &value[at + 1..end - 1];
                at = skip_blank(value, end);
                if value.get(at) != Some(&b':') {
                    text(raw, media, depth == 0, to);
                } else if let Some(next) = key(raw, to) {
                    media = next;
                } else {
                    let Some(end) = end_of_value(value, skip_blank(value, at + 1)) else { return };
                    at = end;
                }
            }
            b'{' | b'[' => {
                mark(if byte == b'{' { OBJECT } else { ARRAY }, depth == 0, to);
                depth = depth.saturating_add(1);
                at += 1;
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                mark(CLOSE, depth == 0, to);
                media = false;
                at += 1;
            }
            b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' => at += 1,
            _ => {
                let end = end_of_scalar(value, at);
                to.take(&value[at..end]);
                mark(SCALAR_END, depth == 0, to);
                at = end;
            }
        }
    }
}

/// A mark, unless it belongs to the outermost value.
fn mark(mark: u8, outermost: bool, to: &mut Chain) {
    if !outermost {
        to.take(&[mark]);
    }
}

/// Writes a key and says if its value is media. `None`: the member is left out, nothing was written.
fn key(raw: &[u8], to: &mut Chain) -> Option<bool> {
    let name = Name::of(raw);
    if name.is(LEFT_OUT) {
        return None;
    }
    unescape(raw, to);
    to.take(&[TEXT_END]);
    Some(MEDIA_KEYS.iter().any(|key| name.is(key)))
}

/// Writes a string value.
fn text(raw: &[u8], media: bool, outermost: bool, to: &mut Chain) {
    if media || is_data_url(raw) {
        let mut digest = Digest { hasher: Xxh3::new(), length: 0 };
        unescape(raw, &mut digest);
        to.take(&[MEDIA]);
        to.take(&digest.length.to_le_bytes());
        to.take(&digest.hasher.digest().to_le_bytes());
    } else {
        unescape(raw, to);
        mark(TEXT_END, outermost, to);
    }
}

/// True for `data:image/png;base64,...` and the like.
fn is_data_url(raw: &[u8]) -> bool {
    if !matches!(raw.first(), Some(b'd' | b'\\')) {
        return false;
    }
    let head = Head::<128>::of(raw);
    head.bytes().starts_with(b"data:") && memmem::find(head.bytes(), b";base64,").is_some()
}

/// Length and hash of what it takes.
struct Digest {
    hasher: Xxh3,
    length: u64,
}

impl Take for Digest {
    fn take(&mut self, bytes: &[u8]) -> bool {
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        true
    }
}
