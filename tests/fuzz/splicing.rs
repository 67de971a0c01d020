//! A model's name put into a body: the result is JSON with that name, and nothing else has changed.
//!
//! Wherever the scanner finds a model its string is exchanged; where it finds none, a `null` or an empty string in its
//! place is, or a pair is put in front. All are read again by the scanner and by serde_json.

use arriero::dialect::fields::{Fields, scan};
use arriero::dialect::splice::{Spliced, insert, splice};
use bytes::Bytes;
use serde_json::Value;

use crate::input::{Dice, seed_of};
use crate::json_text::body;

const PATH: &str = "/v1/chat/completions";

const NAMES: [&str; 12] = [
    "qwen3:32b",
    "a",
    "hf.co/unsloth/Qwen3-GGUF:Q4_K_M",
    "quote\"d",
    "back\\slash",
    "\u{1f600} \u{4e16}",
    "tab\tline\n",
    "\u{0}\u{1f}\u{7f}\u{80}",
    "\u{2028}\u{feff}\u{fffd}",
    "}{],\":",
    "/etc/models/x",
    "\\u0041",
];

pub(crate) fn check(input: &[u8]) {
    let text = Bytes::from(body(input));
    let seed = seed_of(input).to_le_bytes();
    let name = Dice::new(&seed).pick(&NAMES);
    match scan(PATH, &text) {
        Ok(before) => match &before.model {
            Some(model) => {
                let spliced = splice(&text, &model.range, name);
                assert_eq!(spliced.parts[0], text[..model.range.start], "before the name");
                assert_eq!(spliced.parts[2], text[model.range.end..], "after the name");
                same_but_the_model(&text, &before, &spliced, name);
            }
            None => named_by_insertion(&text, &before, name),
        },
        // never asked for, and must not panic
        Err(_) => drop(insert(&text, name)),
    }
    let any = usize::from(seed[0])..usize::from(seed[1]);
    let spliced = splice(&text, &any, name);
    assert_eq!(spliced.len(), spliced.parts.concat().len());
}

fn named_by_insertion(text: &Bytes, before: &Fields, name: &str) {
    let spliced = insert(text, name);
    let [first, _, last] = &spliced.parts;
    let inside = text.strip_prefix(&first[..]).and_then(|rest| rest.strip_suffix(&last[..]));
    let blank: [&[u8]; 3] = [b"", b"null", b"\"\""];
    assert!(inside.is_some_and(|inside| blank.contains(&inside)), "around the name");
    same_but_the_model(text, before, &spliced, name);
}

fn same_but_the_model(text: &[u8], before: &Fields, spliced: &Spliced, name: &str) {
    let whole = spliced.parts.concat();
    assert_eq!((spliced.len(), spliced.is_empty()), (whole.len(), whole.is_empty()), "the length");
    let old = serde_json::from_slice::<Value>(text);
    let new = serde_json::from_slice::<Value>(&whole);
    assert_eq!(old.is_ok(), new.is_ok(), "JSON before and after: {:?}", new.err());
    if let (Ok(mut old), Ok(new)) = (old, new) {
        assert_eq!(new["model"], name, "the model");
        old["model"] = name.into();
        assert_eq!(old, new, "the other values");
    }
    // a name with control characters is put in, but would not be taken from a client
    if name.chars().any(char::is_control) {
        return;
    }
    let after = scan(PATH, &whole).expect("still a good body");
    assert_eq!(after.model.as_ref().map(|model| model.name.as_str()), Some(name), "the model as scanned");
    assert_eq!(after.body_bytes, whole.len() as u64);
    let known = |fields: &Fields| Fields { model: None, body_bytes: 0, ..fields.clone() };
    assert_eq!(known(&after), known(before), "the other fields");
}
