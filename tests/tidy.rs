//! Repository habits as tests: file sizes, layout, dependency rules, spelling of names, nothing foreign in the tree.
//!
//! Every rule is a function from a path and its text to complaints; one test walks the tree, the others feed each rule
//! a text that must be refused, so that no rule can rot into one that never complains. Lengths are in lines.
#![expect(clippy::print_stdout, reason = "a file that nears the limit is named in the test's output")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const LINES_WARN: usize = 300;
const LINES_LIMIT: usize = 400;

/// Words that this project does not use for its own things (ARCHITECTURE.md has the ones it does use).
const FOREIGN_NAMES: [&str; 6] = ["backend", "worker", "cluster", "manager", "helper", "util"];

/// What a module or the core may link: data structures and (de)serialisation; nothing that runs, waits or reads a clock.
const PLAIN_CRATES: [&str; 13] = [
    "serde",
    "serde_json",
    "schemars",
    "thiserror",
    "fastrand",
    "foldhash",
    "xxhash-rust",
    "globset",
    "smallvec",
    "indexmap",
    "log",
    "parking_lot",
    "hashbrown",
];

/// What the simulated engines must not link: the proxy's framework.
const PROXY_CRATE: &str = "pingora";

/// Places under `src` that may name Pingora.
const PROXY_PLACES: [&str; 4] = ["src/proxy", "src/server", "src/upstream", "src/admin"];

/// The only file that may name a module's crate.
const REGISTRY: &str = "src/registry.rs";

type Complaints = Vec<String>;

fn complain_if(wrong: bool, text: impl FnOnce() -> String) -> Complaints {
    if wrong { vec![text()] } else { Vec::new() }
}

// ---- the tree -----------------------------------------------------------------------------------------------------

/// Paths of the project's own files, relative to the root, `/` between parts: what git would commit, or every file
/// outside build output where there is no git.
fn project_files() -> Vec<String> {
    let listed = Command::new("git")
        .args(["-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard"])
        .output()
        .ok()
        .filter(|output| output.status.success());
    let mut files: Vec<String> = match listed {
        Some(output) => String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect(),
        None => walk(Path::new(ROOT)).iter().map(|path| relative(path)).collect(),
    };
    files.retain(|file| Path::new(ROOT).join(file).is_file());
    files.sort();
    files
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let skipped = ["target", ".git", ".venv", "__pycache__"];
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a readable folder").flatten() {
        let path = entry.path();
        if path.is_file() {
            found.push(path);
        } else if !skipped.iter().any(|name| entry.file_name() == *name) {
            found.extend(walk(&path));
        }
    }
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(ROOT).unwrap_or(path).to_string_lossy().replace('\\', "/")
}

// ---- rules for any file -------------------------------------------------------------------------------------------

fn foreign_file_name(path: &str) -> Complaints {
    let lower = path.to_lowercase();
    let mut words = lower.split(|c: char| !c.is_alphanumeric());
    let found = words.find(|word| FOREIGN_NAMES.iter().any(|name| word.strip_suffix('s').unwrap_or(word) == *name));
    let lock = path.rsplit('/').next() == Some("package-lock.json");
    let mut complaints =
        complain_if(found.is_some(), || format!("{path}: named with a word that is not ours: {found:?}"));
    complaints.extend(complain_if(lock, || format!("{path}: Node's lock files are not kept here")));
    complaints
}

fn binary_file(path: &str, bytes: &[u8]) -> Complaints {
    complain_if(bytes.contains(&0), || format!("{path}: a binary file (holds NUL bytes)"))
}

fn open_ends(path: &str, text: &str) -> Complaints {
    let mark = concat!("TO", "DO");
    let named = |line: &str| line.split('#').skip(1).any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let mut complaints = Complaints::new();
    for (number, line) in (1..).zip(text.lines()) {
        let open = line.contains(mark) && !named(line);
        complaints.extend(complain_if(open, || format!("{path}:{number}: {mark} without an issue (#N)")));
    }
    complaints
}

fn trailing_blanks(path: &str, text: &str) -> Complaints {
    let generated = ["snap", "csv", "svg"].iter().any(|kind| path.ends_with(&format!(".{kind}")));
    if generated {
        return Complaints::new();
    }
    let lines = (1..).zip(text.lines()).filter(|(_, line)| line.ends_with([' ', '\t']));
    lines.map(|(number, _)| format!("{path}:{number}: trailing blank")).collect()
}

/// Where packages come from is the business of whoever builds, not of a file in the tree.
fn registry_hosts(path: &str, text: &str) -> Complaints {
    if path == "Cargo.lock" {
        return Complaints::new();
    }
    let hosts = [["crates", "io"], ["pypi", "org"], ["npmjs", "org"], ["debian", "org"]].map(|host| host.join("."));
    let mut complaints = Complaints::new();
    for (number, line) in (1..).zip(text.lines()) {
        let found = hosts.iter().find(|host| line.contains(host.as_str()));
        complaints.extend(complain_if(found.is_some(), || format!("{path}:{number}: names a package registry's host")));
    }
    complaints
}

// ---- rules for Rust files -----------------------------------------------------------------------------------------

/// Lines that count: all but a closing `#[cfg(test)] mod tests { .. }`.
fn counted_lines(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let tests = (1..lines.len()).find(|&at| lines[at - 1] == "#[cfg(test)]" && lines[at].starts_with("mod tests {"));
    tests.map_or(lines.len(), |at| at - 1)
}

fn too_long(path: &str, text: &str) -> Complaints {
    let lines = counted_lines(text);
    if lines > LINES_WARN {
        println!("{path}: {lines} lines; from {LINES_WARN} on think of a second file");
    }
    complain_if(lines > LINES_LIMIT, || format!("{path}: {lines} lines, {LINES_LIMIT} at most"))
}

fn unnamed_job(path: &str, text: &str) -> Complaints {
    complain_if(!text.starts_with("//!"), || format!("{path}: does not open with `//!` and its one job"))
}

/// The words of a file's code: identifiers with their line, comments and one-line strings left out.
fn code_words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines()).flat_map(|(number, line)| {
        let code = if line.trim_start().starts_with("//") { "" } else { line.split(" // ").next().unwrap_or("") };
        let unquoted = code.split('"').step_by(2);
        unquoted.flat_map(|part| part.split(|c: char| !c.is_alphanumeric() && c != '_')).map(move |word| (number, word))
    })
}

fn names_proxy_crate(path: &str, text: &str) -> Complaints {
    let place =
        PROXY_PLACES.iter().any(|place| path.starts_with(&format!("{place}/")) || path == format!("{place}.rs"));
    let watched = ["src/", "modules/", "lab/"].iter().any(|folder| path.starts_with(folder));
    if place || !watched {
        return Complaints::new();
    }
    let words = code_words(text).filter(|(_, word)| *word == PROXY_CRATE || word.starts_with("pingora_"));
    words.map(|(number, _)| format!("{path}:{number}: only {PROXY_PLACES:?} name Pingora")).collect()
}

fn names_module_crate(path: &str, text: &str, modules: &BTreeSet<String>) -> Complaints {
    if path == REGISTRY || !(path.starts_with("src/") || path.starts_with("lab/src/")) {
        return Complaints::new();
    }
    let crates: BTreeSet<String> = modules.iter().map(|name| format!("arriero_{}", name.replace('-', "_"))).collect();
    let words = code_words(text).filter(|(_, word)| crates.contains(*word));
    words.map(|(number, word)| format!("{path}:{number}: only {REGISTRY} names {word}")).collect()
}

/// Modules and the core are told the time and do no I/O; only tests, and the contract suite for them, look at the world.
fn reads_the_world(path: &str, text: &str) -> Complaints {
    let for_tests = path.ends_with("/tests.rs") || path.starts_with("modules/core/src/contract");
    if for_tests || !(path.starts_with("modules/") && path.contains("/src/")) {
        return Complaints::new();
    }
    let own = text.lines().take(counted_lines(text)).collect::<Vec<_>>().join("\n");
    let mut complaints = Complaints::new();
    for (number, line) in (1..).zip(own.lines()).filter(|(_, line)| !line.trim_start().starts_with("//")) {
        let outside =
            ["std::net", "std::fs", "std::thread", "std::process", "std::env"].iter().any(|name| line.contains(name));
        let clock = line.contains("SystemTime") || (line.contains("std::time") && line.contains("Instant"));
        complaints.extend(complain_if(outside || clock, || format!("{path}:{number}: a clock or I/O inside the seam")));
    }
    complaints
}

// ---- rules for manifests and folders ------------------------------------------------------------------------------

/// The crates of a manifest's tables, those for tests only when asked for.
fn dependencies(manifest: &str, of_tests: bool) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        if let Some(table) = line.strip_prefix('[') {
            let table = table.trim_end_matches(']');
            let (kind, name) = match table.split_once("dependencies.") {
                Some((before, name)) => (format!("{before}dependencies"), Some(name)),
                None => (table.to_owned(), None),
            };
            let wanted = kind.ends_with("dependencies") && !kind.starts_with("workspace");
            inside = wanted && kind.ends_with("dev-dependencies") == of_tests;
            found.extend(name.filter(|_| inside).map(str::to_owned));
            inside &= name.is_none();
        } else if inside && let Some((key, _)) = line.split_once('=') {
            let name = key.trim().split('.').next().unwrap_or_default();
            found.insert(name.trim_matches('"').to_owned());
        }
    }
    found
}

/// Dependency rules: the core on plain crates; a module on the core as well; the lab on anything but us and the proxy.
fn manifest_rules(path: &str, manifest: &str) -> Complaints {
    let Some(folder) = path.strip_suffix("/Cargo.toml") else { return Complaints::new() };
    let (seam, ours): (bool, &[&str]) = match folder.split_once('/') {
        Some(("modules", "core")) => (true, &[]),
        Some(("modules", "auto")) => (
            true,
            &[
                "arriero-core",
                "arriero-least-connection",
                "arriero-model-affinity",
                "arriero-prefix-affinity",
                "arriero-queue-aware",
            ],
        ),
        Some(("modules", _)) => (true, &["arriero-core"]),
        None if folder == "lab" => (false, &["arriero-core"]),
        _ => return Complaints::new(),
    };
    let allowed = |name: &str, of_tests: bool| match name.strip_prefix("arriero") {
        Some(_) => ours.contains(&name),
        None if of_tests || !seam => !name.starts_with(PROXY_CRATE),
        None => PLAIN_CRATES.contains(&name),
    };
    let mut complaints = Complaints::new();
    for of_tests in [false, true] {
        let wrong = dependencies(manifest, of_tests).into_iter().filter(|name| !allowed(name, of_tests));
        complaints.extend(wrong.map(|name| format!("{path}: may not depend on {name}")));
    }
    complaints
}

fn module_names(files: &[String]) -> BTreeSet<String> {
    let folders = files.iter().filter_map(|file| file.strip_prefix("modules/")?.strip_suffix("/Cargo.toml"));
    folders.filter(|name| !name.contains('/') && *name != "core").map(str::to_owned).collect()
}

fn module_folders(files: &[String]) -> Complaints {
    let mut complaints = Complaints::new();
    for module in module_names(files) {
        for part in ["README.md", "tests/contract.rs"] {
            let file = format!("modules/{module}/{part}");
            complaints.extend(complain_if(!files.contains(&file), || format!("{file}: missing")));
        }
    }
    complaints
}

fn file_rules(path: &str, bytes: &[u8], modules: &BTreeSet<String>) -> Complaints {
    let mut complaints = [foreign_file_name(path), binary_file(path, bytes)].concat();
    let text = String::from_utf8_lossy(bytes);
    complaints.extend([open_ends(path, &text), trailing_blanks(path, &text), registry_hosts(path, &text)].concat());
    if path.ends_with(".rs") {
        complaints.extend([too_long(path, &text), unnamed_job(path, &text), reads_the_world(path, &text)].concat());
        complaints.extend([names_proxy_crate(path, &text), names_module_crate(path, &text, modules)].concat());
    }
    complaints.extend(manifest_rules(path, &text));
    complaints
}

// ---- the tests ----------------------------------------------------------------------------------------------------

#[test]
fn the_tree_is_tidy() {
    let files = project_files();
    let modules = module_names(&files);
    assert!(files.iter().any(|file| file == "Cargo.toml"), "no project files found under {ROOT}");
    let mut complaints = module_folders(&files);
    for file in &files {
        let bytes = fs::read(Path::new(ROOT).join(file)).expect("a readable file");
        complaints.extend(file_rules(file, &bytes, &modules));
    }
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
}

/// Asserts that a file with this content is refused, and with the better one accepted.
fn refuses(path: &str, wrong: &str, right: &str) {
    let modules = BTreeSet::from(["round-robin".to_owned()]);
    let complaints = file_rules(path, wrong.as_bytes(), &modules);
    assert_eq!(complaints.len(), 1, "{path} with {wrong:?}: {complaints:?}");
    let complaints = file_rules(path, right.as_bytes(), &modules);
    assert!(complaints.is_empty(), "{path} with {right:?}: {complaints:?}");
}

#[test]
fn rules_for_any_file_bite() {
    let mark = concat!("TO", "DO");
    refuses("a.md", &format!("{mark}: later"), &format!("{mark}(#12): later"));
    refuses("a.md", "blank \n", "no blank\n");
    refuses("a.md", &["see crates", "io"].join("."), "see the registry");
    refuses("a.md", "\0", "text");
    for name in ["src/util.rs", "src/pool_manager.rs", "docs/Backends.md", "web/package-lock.json"] {
        assert_eq!(foreign_file_name(name).len(), 1, "{name}");
    }
    assert!(foreign_file_name("src/utility.rs").is_empty());
}

#[test]
fn rules_for_rust_files_bite() {
    refuses("src/a.rs", "// no job\n", "//! Job.\n");
    refuses("src/a.rs", &format!("//! Job.\n{}", "x\n".repeat(400)), &format!("//! Job.\n{}", "x\n".repeat(399)));
    let tail = format!("//! Job.\n#[cfg(test)]\nmod tests {{\n{}}}\n", "x\n".repeat(500));
    assert_eq!(counted_lines(&tail), 1);
    refuses("src/a.rs", "//! Job.\nuse pingora::proxy::Session;\n", "//! Job.\n// pingora, and\nlog(\"pingora\");\n");
    refuses("lab/src/a.rs", "//! Job.\nuse pingora_core::Server;\n", "//! Job.\n");
    refuses("src/a.rs", "//! Job.\nuse arriero_round_robin::NAME;\n", "//! Job.\nuse arriero_core::Strategy;\n");
    refuses("modules/core/src/a.rs", "//! Job.\nuse std::time::Instant;\n", "//! Job.\nuse std::time::Duration;\n");
    refuses("modules/core/src/a.rs", "//! Job.\nstd::thread::yield_now();\n", "//! Job.\nstd::mem::drop(1);\n");
    for place in ["src/proxy/mod.rs", "src/server.rs", REGISTRY, "tests/black_box.rs"] {
        let text = if place == REGISTRY {
            "//! Job.\nuse arriero_round_robin::NAME;\n"
        } else {
            "//! Job.\nuse pingora::A;\n"
        };
        assert!(file_rules(place, text.as_bytes(), &BTreeSet::from(["round-robin".to_owned()])).is_empty(), "{place}");
    }
}

#[test]
fn rules_for_manifests_and_folders_bite() {
    let on = |name: &str| format!("[package]\nname = \"x\"\n[dependencies]\n{name}.workspace = true\n");
    refuses("modules/core/Cargo.toml", &on("tokio"), &on("serde"));
    refuses("modules/core/Cargo.toml", &on("arriero-lab"), &on("fastrand"));
    refuses("modules/hash/Cargo.toml", &on("arriero-first"), &on("arriero-core"));
    refuses(
        "modules/hash/Cargo.toml",
        "[dependencies.tokio]\nversion = \"1\"\n",
        "[dev-dependencies]\nproptest = \"1\"\n",
    );
    refuses(
        "modules/hash/Cargo.toml",
        "[dev-dependencies]\narriero = \"1\"\n",
        "[dev-dependencies]\narriero-core = \"1\"\n",
    );
    refuses("lab/Cargo.toml", &on("pingora"), &on("axum"));
    refuses("lab/Cargo.toml", &on("arriero"), &on("tokio"));
    let files = ["modules/core/Cargo.toml", "modules/hash/Cargo.toml", "modules/hash/README.md"].map(str::to_owned);
    assert_eq!(module_folders(&files), ["modules/hash/tests/contract.rs: missing"]);
}
