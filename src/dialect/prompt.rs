//! What two requests' prompts have in common: chained hashes of the blocks of a prompt, from the bytes of its JSON body.
//!
//! The canonical prompt is the body's prompt fields in the order in which engines lay them out (tools, instructions,
//! messages; [`fields_of`]), each written by `canonical`: no white space, strings unescaped, object keys in the order as
//! written, media as length and hash, `cache_control` left out. It is cut into blocks of [`BLOCK_BYTES`]:
//! `h(i) = xxh3(block(i), seed h(i-1))`, `h(0)` = [`salt`]. So equal leading hashes mean equal leading text, and of a
//! conversation that goes on all earlier full blocks stay. The last block, if not full, has no hash.
//! At most [`MAX_BLOCKS`] hashes: 256 KiB of prompt, about 65 000 tokens. What comes later is not read.
//!
//! The body was taken by `fields` before. One that was not is no danger: it gives hashes of no meaning, or none.
//! No memory beyond a few KiB and the result; media are hashed where they stand.

mod canonical;
mod chain;
mod text;
mod walk;

use std::sync::Arc;

pub use arriero_core::BLOCK_BYTES;
use arriero_core::PathClass;
use xxhash_rust::xxh3::Xxh3;

use self::chain::Chain;
use self::text::Name;

/// Hashes of one prompt at most.
pub const MAX_BLOCKS: usize = 256;

/// The most fields that any family has.
const MOST_FIELDS: usize = 13;

/// OpenAI's chats and completions with what vLLM, SGLang and llama.cpp add: salts and adapters make caches of their own.
const OPENAI: [&str; MOST_FIELDS] = [
    "cache_salt",
    "lora_path",
    "lora",
    "tools",
    "functions",
    "messages",
    "input_extra",
    "input_prefix",
    "prompt",
    "input_suffix",
    "text",
    "inputs",
    "input_ids",
];
/// OpenAI's responses; what came before an id is part of the prompt.
const RESPONSES: [&str; 6] = ["cache_salt", "previous_response_id", "conversation", "instructions", "tools", "input"];
/// Ollama's chats and generations.
const OLLAMA: [&str; 8] = ["context", "template", "tools", "system", "messages", "images", "prompt", "suffix"];
/// Anthropic's messages.
const ANTHROPIC: [&str; 3] = ["tools", "system", "messages"];

/// The prompt fields of a family, in the order in which they count. None for families that generate no text.
fn fields_of(class: PathClass) -> &'static [&'static str] {
    match class {
        PathClass::OpenAi | PathClass::LlamaCpp => &OPENAI,
        PathClass::Responses => &RESPONSES,
        PathClass::Ollama => &OLLAMA,
        PathClass::Anthropic => &ANTHROPIC,
        PathClass::Embeddings | PathClass::Rerank | PathClass::Media | PathClass::Tokens | PathClass::Other => &[],
    }
}

/// What keeps apart the blocks of prompts that share no cache: the model as the engine knows it (an adapter is one), and
/// the tenant. `None` differs from any name.
pub fn salt(model: Option<&str>, tenant: Option<&str>) -> u64 {
    let mut hasher = Xxh3::new();
    for name in [model, tenant] {
        // no length is u64::MAX
        hasher.update(&name.map_or(u64::MAX, |name| name.len() as u64).to_le_bytes());
        hasher.update(name.unwrap_or("").as_bytes());
    }
    hasher.digest()
}

/// The chained hashes of the full blocks of the prompt in `body`, a JSON object that `fields` has taken. Empty if there
/// is no full block, or the body is no such object. Of a field that stands twice the last counts.
pub fn blocks(class: PathClass, body: &[u8], salt: u64) -> Arc<[u64]> {
    let names = fields_of(class);
    let mut values: [&[u8]; MOST_FIELDS] = [&[]; MOST_FIELDS];
    let mut take = |key: &[u8], value| {
        let name = Name::of(key);
        if let Some(place) = names.iter().position(|field| name.is(field)) {
            values[place] = value;
        }
    };
    if names.is_empty() || walk::members(body, &mut take).is_none() {
        return Arc::default();
    }
    let mut chain = Chain::new(salt);
    for (name, value) in names.iter().zip(values) {
        if !chain.is_full() && !walk::is_blank(value) {
            canonical::write(name, value, &mut chain);
        }
    }
    chain.hashes().into()
}

#[cfg(test)]
mod tests;
