//! Makes JSON bodies as clients, careless or hostile, may write them: odd spacing, escapes, doubled keys, wrong types,
//! broken numbers, broken Unicode, deep nesting.

use crate::input::{Dice, changed, plain_text, soup};

/// Keys that mean something, or nearly.
const KEYS: [&str; 30] = [
    "model",
    "stream",
    "max_tokens",
    "messages",
    "options",
    "stream_options",
    "keep_alive",
    "name",
    "prompt",
    "Model",
    "MODEL",
    "mod\\u0065l",
    "m\\u006Fdel",
    "model ",
    "mode\\u006c\\u0000",
    "Name",
    "n\\u0061me",
    "max_completion_tokens",
    "max_output_tokens",
    "num_ctx",
    "num_predict",
    "num_gpu",
    "use_mmap",
    "include_usage",
    "image_url",
    "data",
    "input",
    "",
    "str\\u0065am",
    "\\ud83d\\ude00",
];

const TEXTS: [&str; 18] = [
    "llama3.2",
    "",
    "qwen3:32b",
    "gpt-4o",
    "a\\u0062c",
    "\\\"quoted\\\"",
    "back\\\\slash",
    "\\/",
    "line\\nend",
    "\\u0000",
    "\\u007f",
    "\\ud83d\\ude00",
    "\\ud800",
    "\\ude00\\ud83d",
    "\u{fc}\u{4e16}\u{1f600}",
    "5m",
    "-1",
    "0123456789012345678901234567890123456789012345678901234567890123456789",
];

const SCALARS: [&str; 24] = [
    "true",
    "false",
    "null",
    "0",
    "1",
    "-1",
    "4096",
    "4096.0",
    "1e3",
    "0.5",
    "-0",
    "1E+2",
    "1e400",
    "18446744073709551616",
    "9223372036854775807",
    "01",
    "1.",
    ".5",
    "+1",
    "NaN",
    "-",
    "tru",
    "True",
    "1e",
];

/// What is put into broken places.
const WORDS: [&[u8]; 26] = [
    b"\"model\":\"x\",",
    b"\"model\"",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"\"",
    b"\\",
    b"\\u",
    b"\\ud800",
    b"null",
    b"true",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\x00",
    b"\x1f",
    b"//",
    b"/**/",
    b"'",
    b"0",
    b"-",
    b"e",
    b"\"options\":{\"num_ctx\":1}",
];

/// A body: the input itself, words in any order, or an object with a few changes.
pub(crate) fn body(input: &[u8]) -> Vec<u8> {
    if let Some(text) = plain_text(input) {
        return text.to_vec();
    }
    let mut dice = Dice::new(input);
    match dice.byte() % 8 {
        0 => soup(dice, &WORDS),
        mode => {
            let mut text = Vec::new();
            object(&mut dice, 0, &mut text);
            let most = if mode < 5 { 0 } else { 3 };
            changed(&text, most, &mut dice, &WORDS)
        }
    }
}

fn object(dice: &mut Dice<'_>, depth: usize, out: &mut Vec<u8>) {
    out.push(b'{');
    let count = dice.below(7);
    for place in 0..count {
        blank(dice, out);
        text(dice.pick(&KEYS), out);
        blank(dice, out);
        out.push(b':');
        value(dice, depth, out);
        out.extend_from_slice(if place + 1 < count { b"," } else { b"" });
    }
    blank(dice, out);
    out.push(b'}');
}

fn value(dice: &mut Dice<'_>, depth: usize, out: &mut Vec<u8>) {
    blank(dice, out);
    match dice.below(16) {
        0..8 => text(dice.pick(&TEXTS), out),
        8..11 => out.extend_from_slice(SCALARS[dice.below(12)].as_bytes()),
        11 => out.extend_from_slice(dice.pick(&SCALARS).as_bytes()),
        12 | 13 if depth < 6 && !dice.is_empty() => object(dice, depth + 1, out),
        14 if depth < 6 && !dice.is_empty() => {
            out.push(b'[');
            for place in 0..dice.below(4) {
                out.extend_from_slice(if place > 0 { b"," } else { b"" });
                value(dice, depth + 1, out);
            }
            out.push(b']');
        }
        15 => deep(dice, out),
        _ => long(dice, out),
    }
    blank(dice, out);
}

/// Lists or objects inside one another, around the limit of 128.
fn deep(dice: &mut Dice<'_>, out: &mut Vec<u8>) {
    let levels = if dice.one_in(4) { 120 + dice.below(12) } else { dice.below(20) };
    let (open, close): (&[u8], &[u8]) = if dice.one_in(2) { (b"{\"model\":", b"}") } else { (b"[", b"]") };
    out.extend(open.repeat(levels));
    out.push(b'1');
    out.extend(close.repeat(levels));
}

/// A string around the limits of a model's name.
fn long(dice: &mut Dice<'_>, out: &mut Vec<u8>) {
    let letter = dice.pick(&["a", "\\u0061", "\u{fc}", "\\n"]);
    let count = if dice.one_in(3) { 1020 + dice.below(8) } else { dice.below(70) };
    text(&letter.repeat(count), out);
}

fn text(inside: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(inside.as_bytes());
    out.push(b'"');
}

fn blank(dice: &mut Dice<'_>, out: &mut Vec<u8>) {
    let blanks: [&[u8]; 6] = [b"", b"", b"", b" ", b"\n\t", b"\r\n"];
    out.extend_from_slice(dice.pick(&blanks));
}
