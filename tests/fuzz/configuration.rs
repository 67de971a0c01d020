//! Any text as configuration: no panic, findings that have a place, and plans that survive a dump.
//!
//! Three kinds of input: a text as it is, good configurations with a few changes, and words in any order. A text that
//! loads is dumped and loaded again: the second plan must equal the first (the reasons of `auto` aside, which a dump
//! has as comments), and no secret may be in the dump. Line 0 in a finding means the whole file; only a text without
//! content may have that.

use std::path::Path;
use std::sync::Arc;

use arriero::config::{Diagnostic, Plan, Source, from_urls, load, render};
use arriero::registry::builtin;

use crate::input::{Dice, changed, plain_text, soup};

/// Good ones; also in the corpus.
const GOOD: [&str; 4] = [
    include_str!("__fuzz__/configuration/corpus/full.yaml"),
    include_str!("__fuzz__/configuration/corpus/small.yaml"),
    include_str!("__fuzz__/configuration/corpus/anchors.yaml"),
    include_str!("../../conf/home.yaml"),
];

/// What the files beside the configuration hold, and no dump may show.
const SECRETS: [&str; 3] = ["key-for-tests", "value-for-tests", "0123456789abcdef0123456789abcdef"];

const WORDS: [&[u8]; 64] = [
    b"\n",
    b" ",
    b"  ",
    b"\n  ",
    b"\n    - ",
    b": ",
    b", ",
    b"- ",
    b"{ ",
    b" }",
    b"[",
    b"]",
    b"\"",
    b"'",
    b"#",
    b"&a ",
    b"*a",
    b"<<: *a",
    b"!!str ",
    b"|",
    b">",
    b"---\n",
    b"...\n",
    b"? ",
    b"~",
    b"null",
    b"true",
    b"yes",
    b"0",
    b"-1",
    b"1.5",
    b"99999999999",
    b"none",
    b"auto",
    b"1s",
    b"0s",
    b"32MiB",
    b"1m 30s",
    b"${HOST}",
    b"${NONE}",
    b"${NONE:-x}",
    b"$$",
    b"${",
    b"http://b:2",
    b"https://",
    b"listen",
    b"listeners",
    b"pools",
    b"endpoints",
    b"url",
    b"routes",
    b"match",
    b"model",
    b"balance",
    b"aliases",
    b"include",
    b"one.key",
    b"headers",
    b"\xff",
    b"\x00",
    b"\xc3\xbc",
    b"\t",
    b"\r\n",
    b"\xef\xbb\xbf",
];

pub(crate) fn check(input: &[u8]) {
    let text = match plain_text(input) {
        Some(text) => text.to_vec(),
        None => {
            let mut dice = Dice::new(input);
            match dice.byte() % 8 {
                0 => soup(dice, &WORDS),
                _ => changed(dice.pick(&GOOD).as_bytes(), 4, &mut dice, &WORDS),
            }
        }
    };
    let text = String::from_utf8_lossy(&text);
    // a device as an included file is the operator's own doing
    if ["/dev", "/proc", "/sys"].iter().any(|place| text.contains(place)) {
        return;
    }
    match loaded(&text) {
        Ok(plan) => survives_a_dump(&plan),
        Err(findings) => are_placed(&findings, &text),
    }
    if text.len() < 64 {
        let from_url = from_urls(&[text.clone().into_owned()], None, None, &builtin());
        from_url.map_or_else(|findings| assert!(!findings.is_empty()), |plan| survives_a_dump(&plan));
    }
}

fn loaded(text: &str) -> Result<Plan, Vec<Diagnostic>> {
    let env = |name: &str| match name {
        "HOST" => Some("127.0.0.1".to_string()),
        "PORT" => Some("1".to_string()),
        "EMPTY" => Some(String::new()),
        _ => None,
    };
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/files");
    let source = Source { name: "fuzz.yaml".into(), text: text.into(), dir, env: Arc::new(env) };
    load(&source, &builtin())
}

fn are_placed(findings: &[Diagnostic], text: &str) {
    assert!(!findings.is_empty(), "refused without a reason");
    assert!(!render(findings).is_empty());
    // to YAML a carriage return alone ends a line, too
    let lines = text.split(['\n', '\r']).count();
    for finding in findings {
        assert!(!finding.message.is_empty() && !finding.file.is_empty(), "{finding:?}");
        assert_eq!(finding.line == 0, finding.column == 0, "half a place: {finding:?}");
        if finding.file != "fuzz.yaml" {
            continue;
        }
        assert!(finding.line > 0 || is_without_content(text), "no place: {finding:?}");
        assert!(finding.line <= lines + 1, "behind the last line: {finding:?}");
    }
}

/// True if there is nothing in the text that a finding could point at.
fn is_without_content(text: &str) -> bool {
    let plain = |line: &str| {
        line.split('#').next().unwrap_or_default().trim_matches(|sign: char| !sign.is_alphanumeric()).to_owned()
    };
    text.lines().map(plain).all(|line| line.is_empty() || line == "null")
}

fn survives_a_dump(plan: &Plan) {
    assert!(!plan.listeners.is_empty() && !plan.pools.is_empty() && !plan.routes.is_empty(), "{plan:?}");
    for route in &plan.routes {
        assert!(route.pools.iter().all(|(pool, _)| *pool < plan.pools.len()), "no such pool");
        assert!(route.pools.iter().any(|(_, weight)| *weight > 0), "a route to nowhere");
        assert_eq!((route.balance.build)().options(), route.balance.options, "options of {}", route.balance.module);
    }
    let dump = plan.dump();
    for secret in SECRETS {
        assert!(!dump.contains(secret), "a secret in the dump");
    }
    let again = loaded(&dump).unwrap_or_else(|findings| panic!("{}\n{dump}", render(&findings)));
    assert_eq!(without_reasons(plan), without_reasons(&again), "loaded from its dump\n{dump}");
    let json = plan.dump_json().expect("a dump as JSON");
    let again = loaded(&json).unwrap_or_else(|findings| panic!("{}\n{json}", render(&findings)));
    assert_eq!(without_reasons(plan), without_reasons(&again), "loaded from its JSON\n{json}");
}

/// All of a plan in words, but for reasons and warnings: those are told, not configured. Secrets print masked.
fn without_reasons(plan: &Plan) -> String {
    let mut plan = plan.clone();
    plan.routes.iter_mut().for_each(|route| route.balance.why.clear());
    plan.warnings.clear();
    format!("{plan:#?}")
}
