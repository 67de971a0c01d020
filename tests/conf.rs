//! What people copy must work: every file in `conf/` and every YAML block of the documents passes `arriero check`, the
//! files in `conf/` send each model to the engine that has it, and the tables in README.md name what there is.
//!
//! A key file that a configuration names is put beside it with a dummy key. A block of a module's README is the inside
//! of a route.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use arriero_lab::http::{LabEngine, LabSpec};
use arriero_lab::model::{ModelSpec, OllamaSpec, VllmSpec};
use common::{Proxy, reqwest_client};
use serde_json::{Value, json};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const KEY: &str = "dummy-key";

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Files below a folder with this ending, sorted.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a readable folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The fenced YAML blocks of a document, each with the line where it begins.
fn yaml_blocks(document: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in (1..).zip(document.lines()) {
        match (&mut open, line.trim_end()) {
            (None, "```yaml") => open = Some((number + 1, String::new())),
            (Some(_), "```") => blocks.extend(open.take()),
            (Some((_, block)), line) => *block += &format!("{line}\n"),
            (None, _) => {}
        }
    }
    assert!(open.is_none(), "a YAML block is not closed");
    blocks
}

/// Puts the files that a configuration names as its secrets into `folder`.
fn write_secrets(folder: &Path, config: &str) {
    let secrets = [
        ("api_key_file:", KEY),
        ("headers_file:", "x-dummy: 1"),
        ("token_file:", "0123456789abcdef"),
        ("keys_file:", CLIENTS),
        (" cert:", ""),
        (" key:", ""),
    ];
    for (key, content) in secrets {
        for rest in config.split(key).skip(1) {
            let name = rest.trim_start().split([',', '}', '\n']).next().unwrap_or_default();
            fs::write(folder.join(name.trim().trim_matches('"')), content).unwrap();
        }
    }
}

/// A keys file with the clients that the files in `conf/` name.
const CLIENTS: &str = "nightly:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae\n\
    web:fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9\n";

/// `arriero check` over a text, in a folder that holds its secrets.
fn check(config: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    write_secrets(folder.path(), config);
    let mut command = Command::new(env!("CARGO_BIN_EXE_arriero"));
    command.args(["check", "-c", "-"]).current_dir(folder.path()).env_remove("ARRIERO_CONFIG");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(config.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn assert_good(place: &str, config: &str) {
    let output = check(config);
    assert!(output.status.success(), "{place}:\n{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_file_in_conf_is_good() {
    let found = files(&Path::new(ROOT).join("conf"), ".yaml");
    let names: Vec<_> = found.iter().filter_map(|path| path.file_name()?.to_str()).collect();
    assert!(
        ["from-haproxy.yaml", "home.yaml", "study.yaml", "team.yaml", "vllm.yaml"]
            .iter()
            .all(|name| names.contains(name)),
        "{names:?}"
    );
    for path in &found {
        assert_good(&path.display().to_string(), &fs::read_to_string(path).unwrap());
    }
}

#[test]
fn every_block_in_the_documents_is_good() {
    let own = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"];
    let mut documents: Vec<PathBuf> = own.map(|file| Path::new(ROOT).join(file)).into();
    documents.extend(files(&Path::new(ROOT).join("docs"), ".md"));
    for document in documents {
        for (line, block) in yaml_blocks(&fs::read_to_string(&document).unwrap()) {
            assert_good(&format!("{}:{line}", document.display()), &block);
        }
    }
    let readme = yaml_blocks(&read("README.md"));
    assert!(!readme.is_empty(), "README.md shows no configuration");
    let broken = readme[0].1.replacen("pools:", "pool:", 1);
    assert!(!check(&broken).status.success(), "a wrong key passes:\n{broken}");
}

#[test]
fn every_block_of_a_module_is_the_inside_of_a_route() {
    let mut blocks = 0;
    for document in files(&Path::new(ROOT).join("modules"), "README.md") {
        for (line, block) in yaml_blocks(&fs::read_to_string(&document).unwrap()) {
            let inside = block.trim_end().replace('\n', "\n    ");
            let head = "listen: 127.0.0.1:11434\npools: { p: { endpoints: [\"http://127.0.0.1:11435\"] } }\n";
            assert_good(
                &format!("{}:{line}", document.display()),
                &format!("{head}routes:\n  - pool: p\n    {inside}\n"),
            );
            blocks += 1;
        }
    }
    assert!(blocks > 0, "no module shows its options");
}

#[test]
fn the_readme_shows_home_as_it_ships() {
    let home = read("conf/home.yaml");
    let shown = yaml_blocks(&read("README.md"));
    assert!(shown.iter().any(|(_, block)| *block == home), "README.md and conf/home.yaml differ");
}

// ---- the tables in README.md --------------------------------------------------------------------------------------

/// The first cells of a heading's table, without the quotes of code.
fn first_cells(readme: &str, heading: &str) -> BTreeSet<String> {
    let section = readme.split(&format!("\n{heading}\n")).nth(1).unwrap_or_else(|| panic!("no {heading} in README.md"));
    let section = section.split("\n#").next().unwrap_or_default();
    let cells = section.lines().filter_map(|line| {
        let cell = line.strip_prefix("| ")?;
        cell.strip_prefix('[').unwrap_or(cell).strip_prefix('`')?.split('`').next()
    });
    cells.map(str::to_owned).collect()
}

/// What stands between `before` and the next quote, everywhere in a source file.
fn quoted_after(source: &str, before: &str) -> BTreeSet<String> {
    source.split(before).skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
}

#[test]
fn the_tables_of_the_readme_name_what_there_is() {
    let readme = read("README.md");
    let ends = quoted_after(&read("src/proxy/ctx.rs"), "End = End(\"");
    assert!(ends.contains("--") && ends.len() > 10, "{ends:?}");
    assert_eq!(first_cells(&readme, "### End codes"), ends);

    let sources = ["metrics", "figures", "endpoint_gauges"].map(|file| read(&format!("src/observe/{file}.rs")));
    let mut metrics = quoted_after(&sources.concat(), "\"arriero_");
    metrics.extend(quoted_after(&read("src/admin/gateway/figures.rs"), "\"arriero_"));
    let metrics: BTreeSet<String> = metrics.iter().map(|name| format!("arriero_{name}")).collect();
    assert!(metrics.contains("arriero_ttft_seconds"), "{metrics:?}");
    assert_eq!(first_cells(&readme, "### Metrics"), metrics);

    let line = read("src/observe/access_log.rs");
    let line = line.split("pub struct Line").nth(1).unwrap().split("\n}").next().unwrap().to_owned();
    let fields = line.lines().filter_map(|field| field.trim().strip_prefix("pub ")?.split(':').next());
    assert_eq!(first_cells(&readme, "### Access log"), fields.map(str::to_owned).collect());

    let output = Command::new(env!("CARGO_BIN_EXE_arriero")).args(["modules", "--format", "json"]).output().unwrap();
    let modules: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let modules = modules.iter().map(|module| module["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(first_cells(&readme, "## Modules"), modules);
}

// ---- served -------------------------------------------------------------------------------------------------------

fn model(name: &str) -> ModelSpec {
    ModelSpec::new(name, 1.0, 1.0, 1e5, 1e7)
}

async fn start(mut spec: LabSpec) -> LabEngine {
    spec.output_tokens = 2;
    LabEngine::start(spec).await.unwrap()
}

async fn ollama(models: &[&str]) -> LabEngine {
    let models =
        models.iter().map(|name| if name.contains("embed") { model(name).for_embeddings() } else { model(name) });
    start(LabSpec::ollama(OllamaSpec { load_gb_per_s: 1e3, ..OllamaSpec::new(models.collect()) })).await
}

/// A file of `conf/` below its listeners, its words replaced: each must be there.
fn rewritten(file: &str, words: &[(&str, &str)]) -> String {
    let mut text = read(&format!("conf/{file}"));
    for (word, other) in words {
        assert!(text.contains(word), "{file} does not hold {word}");
        text = text.replace(word, other);
    }
    let own = ["listen:", "admin:", "access_log:"];
    let kept = text.lines().filter(|line| !own.iter().any(|key| line.starts_with(key)));
    kept.fold(String::new(), |text, line| text + line + "\n")
}

/// Asks for each (path, model) and compares who answered through which route.
async fn assert_answers(proxy: &Proxy, expected: &[(&str, &str, &str, &str)]) {
    for (path, model, endpoint, route) in expected {
        let body = json!({
            "model": model, "stream": false, "input": "hi", "messages": [{ "role": "user", "content": "hi" }],
        });
        let answer = reqwest_client().post(proxy.url(path)).body(body.to_string()).send().await.unwrap();
        let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let told = (header("x-arriero-endpoint"), header("x-arriero-route"));
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert_eq!(status, 200, "{path} {model}: {text}");
        assert_eq!(told, (Some((*endpoint).to_owned()), Some((*route).to_owned())), "{path} {model}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn home_sends_each_model_to_the_engine_that_has_it() {
    let own = ollama(&["qwen3:32b"]).await;
    let gaming = ollama(&["nomic-embed-text:latest", "llama3.2:3b"]).await;
    let cloud = start(LabSpec { api_key: Some(KEY.into()), ..LabSpec::openai(vec![model("big")], 4) }).await;
    let secrets = tempfile::tempdir().unwrap();
    write_secrets(secrets.path(), &read("conf/home.yaml"));
    let key_file = secrets.path().join("cloud.key").display().to_string();
    let config = rewritten(
        "home.yaml",
        &[
            ("http://127.0.0.1:11435", &own.url()),
            ("http://gaming-pc.lan:11434", &gaming.url()),
            ("https://api.example.net", &cloud.url()),
            ("cloud.key", &key_file),
        ],
    );
    let proxy = Proxy::start(&config).await;
    let (own_name, gaming_name) = (own.addr().to_string(), gaming.addr().to_string());
    let cloud_name = format!("{}/v1", cloud.addr());
    let (embeddings, rest) = ("model=*embed*", "everything");
    assert_answers(
        &proxy,
        &[
            ("/api/embed", "nomic-embed-text", &gaming_name, embeddings),
            ("/v1/embeddings", "nomic-embed-text:latest", &gaming_name, embeddings),
            ("/api/chat", "qwen3:32b", &own_name, rest),
            ("/v1/chat/completions", "gpt-4o", &own_name, rest),
            ("/v1/chat/completions", "llama3.2:3b", &gaming_name, rest),
            ("/v1/chat/completions", "big", &cloud_name, rest),
        ],
    )
    .await;
    assert_eq!(own.stats().per_model.get("qwen3:32b"), Some(&2), "the alias is the engine's own name there");
    let report: Value = reqwest_client().get(proxy.url("/api/health")).send().await.unwrap().json().await.unwrap();
    assert_eq!(report["nodes"][1]["cap"], 2, "max_in_flight is in force: {report}");
    let pull = |path: &'static str| reqwest_client().post(proxy.url(path)).body(r#"{"model":"x"}"#).send();
    assert!(pull("/api/pull").await.unwrap().headers().contains_key("x-arriero-endpoint"), "pull reaches an engine");
    assert_eq!(pull("/api/push").await.unwrap().status(), 403, "push is not allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn team_sends_each_model_to_the_engine_that_has_it() {
    let first = ollama(&["qwen3:8b"]).await;
    let second = ollama(&["nomic-embed-text:latest"]).await;
    let large = VllmSpec::a100_8b(vec![model("meta-llama/Llama-3.3-70B-Instruct")]);
    let vllm = start(LabSpec { api_key: Some(KEY.into()), ..LabSpec::vllm(large) }).await;
    let code = start(LabSpec::openai(vec![model("qwen2.5-coder")], 4)).await;
    let secrets = tempfile::tempdir().unwrap();
    write_secrets(secrets.path(), &read("conf/team.yaml"));
    let key_file = secrets.path().join("vllm.key").display().to_string();
    let config = rewritten(
        "team.yaml",
        &[
            ("http://ollama-1.lan:11434", &first.url()),
            ("http://ollama-2.lan:11434", &second.url()),
            ("http://vllm.lan:8000", &vllm.url()),
            ("http://llama-cpp.lan:8080", &code.url()),
            ("vllm.key", &key_file),
        ],
    );
    let proxy = Proxy::start(&config).await;
    assert_answers(
        &proxy,
        &[
            ("/api/embed", "nomic-embed-text", "ollama-2", "embeddings"),
            ("/v1/chat/completions", "qwen2.5-coder", "llama-cpp", "code"),
            ("/v1/chat/completions", "gpt-4o", "vllm", "team"),
            ("/v1/messages", "llama3.3:70b", "vllm", "team"),
            ("/api/chat", "gpt-4o-mini", "ollama-1", "team"),
        ],
    )
    .await;
    assert_eq!(vllm.stats().per_model.get("meta-llama/Llama-3.3-70B-Instruct"), Some(&2), "the engine's own name");
}
