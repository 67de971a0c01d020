//! The page for those who come from HAProxy holds what it promises: every YAML block of the documents loads, every
//! HAProxy block is a configuration that HAProxy takes (where it is installed), every keyword of the lists below has a
//! row, every command is one that `arriero ctl` knows, every link leads somewhere.
//!
//! Files that a block names are put beside it. What is true of every YAML block also goes through the binary, in
//! `tests/conf.rs`; here it is the library, which tells all findings.
#![allow(clippy::expect_used, clippy::print_stderr, missing_docs, unreachable_pub)]

mod words;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use arriero::config::{Plan, Source, load, render};
use arriero::registry::builtin;
use words::{BALANCE, COLUMNS, LINES, SERVER, SOCKET};

const PAGE: &str = "docs/coming-from-haproxy.md";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn page() -> String {
    fs::read_to_string(root().join(PAGE)).expect("the page")
}

/// Fenced blocks of one language, each with the line of its beginning.
fn blocks(document: &str, language: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, bool, String)> = None;
    for (number, line) in (1..).zip(document.lines()) {
        let mark = line.trim().strip_prefix("```");
        match (&mut open, mark) {
            (None, Some(kind)) => open = Some((number + 1, kind == language, String::new())),
            (Some(_), Some("")) => {
                let (number, wanted, text) = open.take().expect("an open block");
                blocks.extend(wanted.then_some((number, text)));
            }
            (Some((_, _, text)), _) => *text += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

/// Markdown files at or below a place, sorted.
fn documents(place: &Path) -> Vec<PathBuf> {
    if place.is_file() {
        return vec![place.to_path_buf()];
    }
    let entries = fs::read_dir(place).expect("a folder").flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = entries
        .flat_map(|path| if path.is_dir() { documents(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|kind| kind == "md"))
        .collect();
    found.sort();
    found
}

/// Loads a configuration in a folder with the files that it names.
fn loaded(place: &str, text: &str) -> Plan {
    const FILES: [(&str, &str); 7] = [
        ("api_key_file:", "sk-dummy"),
        ("token_file:", "0123456789abcdef"),
        ("headers_file:", "x-dummy: 1"),
        (
            "keys_file:",
            "nightly:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae\n\
             web:fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9\n",
        ),
        (" cert:", "a chain"),
        (" key:", "its key"),
        (" ca:", "roots"),
    ];
    let folder = tempfile::tempdir().expect("a folder");
    for (key, content) in FILES {
        for rest in text.split(key).skip(1) {
            let name =
                rest.trim_start().split([',', '}', '\n', '#']).next().unwrap_or_default().trim().trim_matches('"');
            let plain = |sign: char| sign.is_ascii_alphanumeric() || "-_.".contains(sign);
            if !name.is_empty() && name.chars().all(plain) {
                fs::write(folder.path().join(name), content).expect("a file");
            }
        }
    }
    load(&Source::new(place, text, folder.path()), &builtin())
        .unwrap_or_else(|findings| panic!("{place}:\n{}", render(&findings)))
}

/// The first cells of the tables below a heading, up to the next one of its kind.
fn first_cells(page: &str, heading: &str) -> Vec<String> {
    let section = page.split(&format!("\n{heading}\n")).nth(1).unwrap_or_else(|| panic!("no {heading}"));
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    rows.map(str::to_owned).collect()
}

/// True if one of the cells has the word in code, whole or with its arguments.
fn has_row(cells: &[String], word: &str) -> bool {
    let quoted = cells.iter().flat_map(|cell| cell.split('`').skip(1).step_by(2));
    quoted
        .filter_map(|code| code.strip_prefix(word))
        .any(|rest| !rest.starts_with(|sign: char| sign.is_ascii_alphanumeric() || sign == '-' || sign == '_'))
}

fn assert_rows(heading: &str, words: &[&str]) {
    let cells = first_cells(&page(), heading);
    let missing: Vec<_> = words.iter().filter(|word| !has_row(&cells, word)).collect();
    assert!(missing.is_empty(), "{PAGE} has no row for {missing:?} in {heading}");
}

#[test]
fn every_yaml_block_of_the_documents_loads() {
    let places = documents(&root().join("docs")).into_iter().chain([root().join("README.md")]);
    let mut seen = 0;
    for document in places {
        for (line, text) in blocks(&fs::read_to_string(&document).expect("a document"), "yaml") {
            loaded(&format!("{}:{line}", document.display()), &text);
            seen += 1;
        }
    }
    assert!(seen >= 8, "{seen} blocks");
}

#[test]
fn the_page_shows_both_side_by_side() {
    let page = page();
    let (theirs, ours) = (blocks(&page, "haproxy"), blocks(&page, "yaml"));
    assert!(theirs.len() >= 5, "{} blocks", theirs.len());
    let lines = |blocks: &[(usize, String)]| blocks.iter().map(|(line, _)| *line).collect::<Vec<_>>();
    let (theirs, ours) = (lines(&theirs), lines(&ours));
    assert_eq!(theirs.len(), ours.len(), "each HAProxy block has ours after it");
    assert!(theirs.iter().zip(&ours).all(|(one, other)| one < other), "{theirs:?} {ours:?}");
    assert!(theirs.iter().skip(1).zip(&ours).all(|(next, other)| other < next), "{theirs:?} {ours:?}");
}

#[test]
fn the_first_example_says_the_same_twice() {
    let page = page();
    let theirs = &blocks(&page, "haproxy")[0].1;
    let plan = loaded(PAGE, &blocks(&page, "yaml")[0].1);
    let pool = &plan.pools[0];
    let health = pool.health.as_ref().expect("checks");
    let ejection = pool.ejection.as_ref().expect("ejection");
    let specs: Vec<_> = pool.endpoints.iter().map(|endpoint| &endpoint.spec).collect();
    for (words, same) in [
        ("balance leastconn", plan.routes[0].balance.module == "least-connection"),
        (" maxconn 16", specs.iter().all(|spec| spec.max_in_flight == Some(16))),
        ("    maxconn 20000", plan.listeners[0].max_connections == Some(20_000)),
        ("slowstart 30s", specs.iter().all(|spec| spec.slow_start.is_some_and(|ramp| ramp.over.as_secs() == 30))),
        ("gpu0 10.0.0.10:8000 weight 100", &*specs[0].name == "gpu0" && specs[0].weight == 100),
        ("gpu1 10.0.0.11:8000 weight 50", &*specs[1].url == "http://10.0.0.11:8000" && specs[1].weight == 50),
        ("spare 10.0.0.12:8000 backup", specs[2].backup && !specs[0].backup && !pool.backup_one),
        ("inter 2s fastinter 500ms downinter 5s", {
            let millis = [health.every, health.fast_every, health.down_every].map(|span| span.as_millis());
            millis == [2000, 500, 5000]
        }),
        ("rise 2 fall 3", (health.rise, health.fall) == (2, 3)),
        ("uri /health", health.check.as_ref().is_some_and(|check| check.path == "/health")),
        ("expect status 200", health.check.as_ref().is_some_and(|check| check.statuses == [(200, 200)])),
        ("error-limit 3", ejection.failures == 3),
        ("retries 2", pool.retry.count == 2),
        ("response-timeout 502 503 504", pool.retry.on.first_byte && pool.retry.on.s504 && !pool.retry.on.s429),
        ("timeout queue 30s", pool.queue.timeout.as_secs() == 30),
        ("timeout connect 1s", pool.timeouts.connect.as_secs() == 1),
        ("timeout server 120s", pool.timeouts.first_byte.is_some_and(|span| span.as_secs() == 120)),
        ("timeout client 60s", plan.timeouts.client_stall.as_secs() == 60),
        ("timeout http-request 10s", plan.timeouts.header.as_secs() == 10),
    ] {
        assert!(theirs.contains(words), "the HAProxy block does not hold `{words}`");
        assert!(same, "the YAML block says something else than `{words}`");
    }
}

#[test]
fn every_keyword_has_a_row() {
    assert_rows("## `balance`", &BALANCE);
    assert_rows("## Server options", &SERVER.split_whitespace().collect::<Vec<_>>());
    for (heading, words) in LINES {
        assert_rows(heading, words);
    }
    assert_rows("## The runtime socket", &SOCKET);
    assert_rows("## Statistics", &COLUMNS);
    let cells = first_cells(&page(), "## `balance`");
    assert!(!has_row(&cells, "least") && !has_row(&cells, "roundrobi") && !has_row(&cells, "fastest"));
}

#[test]
fn every_end_code_of_ours_is_one_that_there_is() {
    let source = fs::read_to_string(root().join("src/proxy/ctx.rs")).expect("the codes");
    let known: Vec<&str> = source.split("End = End(\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(known.len() > 10, "{known:?}");
    let page = page();
    let section = page.split("\n## Logs\n").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("the section");
    let codes = section.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").nth(1));
    let codes = codes.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let codes: Vec<&str> = codes.filter(|code| code.len() == 2 && *code != "id").collect();
    assert!(codes.len() > 8, "{codes:?}");
    assert!(codes.iter().all(|code| known.contains(code)), "{codes:?} {known:?}");
}

#[test]
fn haproxy_takes_its_blocks() {
    let Ok(version) = Command::new("haproxy").arg("-v").output() else {
        eprintln!("SKIPPED: haproxy is not installed");
        return;
    };
    assert!(version.status.success());
    let folder = tempfile::tempdir().expect("a folder");
    for (line, text) in blocks(&page(), "haproxy") {
        assert!(
            text.starts_with("global\n") || text.starts_with("defaults\n"),
            "{PAGE}:{line} is no whole configuration"
        );
        let file = folder.path().join("haproxy.cfg");
        fs::write(&file, &text).expect("a file");
        let checked =
            Command::new("haproxy").args(["-c", "-f"]).arg(&file).stdin(Stdio::null()).output().expect("haproxy");
        let said = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success() && !said.contains("[WARNING]"), "{PAGE}:{line}: {said}");
    }
    fs::write(folder.path().join("haproxy.cfg"), "defaults\n    balance fastest\n").expect("a file");
    let wrong = Command::new("haproxy").args(["-c", "-f"]).arg(folder.path().join("haproxy.cfg")).output();
    assert!(!wrong.expect("haproxy").status.success(), "a wrong keyword passes");
}

#[test]
fn arriero_knows_the_commands_of_the_page() {
    let Some(binary) = option_env!("CARGO_BIN_EXE_arriero") else {
        eprintln!("SKIPPED: built without the binary");
        return;
    };
    let page = page();
    let lines = page.split("arriero ctl ").skip(1).filter_map(|rest| rest.split(['`', ' ', '\n', ';']).next());
    let mut commands: Vec<&str> =
        lines.filter(|word| word.starts_with(|sign: char| sign.is_ascii_lowercase())).collect();
    commands.sort_unstable();
    commands.dedup();
    assert!(commands.len() > 12, "{commands:?}");
    for command in commands {
        let told = Command::new(binary).args(["ctl", command, "--help"]).output().expect("the binary");
        assert!(told.status.success(), "arriero ctl {command}: {}", String::from_utf8_lossy(&told.stderr));
    }
}

#[test]
fn every_link_of_the_page_leads_somewhere() {
    let page = page();
    let anchor = |heading: &str| {
        let plain = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = plain.chars().filter(|sign| sign.is_alphanumeric() || matches!(sign, ' ' | '-' | '_'));
        kept.map(|sign| if sign == ' ' { '-' } else { sign }).collect::<String>()
    };
    let mut links = 0;
    for link in page.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        let (file, part) = link.split_once('#').unwrap_or((link, ""));
        let target = if file.is_empty() { root().join(PAGE) } else { root().join("docs").join(file) };
        let text = fs::read_to_string(&target).unwrap_or_else(|error| panic!("{link}: {error}"));
        let mut headings = text.lines().filter(|line| line.starts_with('#'));
        assert!(part.is_empty() || headings.any(|heading| anchor(heading) == part), "{link}");
        links += 1;
    }
    assert!(links > 10, "{links} links");
}
