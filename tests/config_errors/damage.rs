//! Damaged texts: loading never panics, always says something, and says it where there is something.

use std::sync::LazyLock;

use proptest::prelude::*;

use crate::{folder, load_in, load_text};

/// One folder for all of them: texts are read from memory.
static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(folder);

const TEXTS: [&str; 3] = [include_str!("../../conf/home.yaml"), crate::edge::EDGE, crate::keeping::KEEPING];

const SCRAPS: [&str; 16] = [
    "*",
    "&a ",
    "<<: *a",
    "- ",
    ": ",
    "{",
    "}",
    "[",
    "]",
    "\t",
    "\"",
    "${X}",
    "\n",
    "!!int ",
    "null",
    "routes: [{ pool: home }]\n",
];

fn damaged(text: &str, cuts: &[(usize, usize, usize)]) -> String {
    let mut text: Vec<char> = text.chars().collect();
    for (start, len, scrap) in cuts {
        let start = start % (text.len() + 1);
        let end = (start + len).min(text.len());
        text.splice(start..end, SCRAPS[scrap % SCRAPS.len()].chars());
    }
    text.into_iter().collect()
}

fn check(text: &str) {
    let Err(findings) = load_in(text, FOLDER.path()) else { return };
    assert!(!findings.is_empty());
    let lines: Vec<&str> = text.split('\n').collect();
    for finding in findings {
        assert!(finding.line <= lines.len(), "{finding}\nin\n{text}");
        let shown = finding.to_string();
        assert!(!finding.message.is_empty() && shown.starts_with(&finding.file), "{shown}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_configuration_never_panics(cuts in prop::collection::vec((0..2000usize, 0..12usize, 0..16usize), 1..6)) {
        TEXTS.iter().for_each(|text| check(&damaged(text, &cuts)));
    }

    #[test]
    fn noise_never_panics(text in "[a-z:{}\\[\\]\\-*&!\"' \n\t$#|>%@0-9é]{0,80}") {
        check(&text);
    }
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let below = format!("*a{}, ", level - 1).repeat(9);
        text.push_str(&format!("a{level}: &a{level} [{below}x]\n"));
    }
    assert!(load_text(&text).is_err());
}

#[test]
fn a_hundred_findings_are_enough() {
    let wrong: String = (0..500).map(|index| format!("wrong{index}: 1\n")).collect();
    let findings = load_text(&wrong).expect_err("five hundred unknown keys");
    assert!((100..=102).contains(&findings.len()), "{}", findings.len());
}
