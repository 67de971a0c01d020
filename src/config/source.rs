//! Where a configuration comes from: a text with its included files, or URLs on the command line.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use crate::config::check::{Item, Parts, check};
use crate::config::diagnostic::Diagnostic;
use crate::config::document::{Document, steps};
use crate::config::expand::Env;
use crate::config::matcher::Glob;
use crate::config::plan::{Plan, defaults};
use crate::config::yaml;
use crate::registry::ModuleEntry;

/// Gives the value of an environment variable.
pub type Variables = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// A text and what it may refer to.
#[derive(Clone)]
pub struct Source {
    /// What findings call it: the file's name as given, or `stdin`.
    pub name: String,
    /// The YAML.
    pub text: String,
    /// Where relative file names start.
    pub dir: PathBuf,
    /// Looks up `${VAR}`.
    pub env: Variables,
}

impl Source {
    /// A text with this process's environment.
    pub fn new(name: &str, text: impl Into<String>, dir: impl Into<PathBuf>) -> Source {
        let env = Arc::new(|name: &str| std::env::var(name).ok());
        Source { name: name.into(), text: text.into(), dir: dir.into(), env }
    }
}

/// Reads and checks a configuration. The error holds every finding, in the order of the text.
pub fn load(source: &Source, modules: &[ModuleEntry]) -> Result<Plan, Vec<Diagnostic>> {
    let env = |name: &str| (source.env)(name);
    let main = Document::open(&source.name, &source.text, &source.dir, &env).map_err(|finding| vec![*finding])?;
    let mut texts = vec![main];
    let mut parts = Parts::default();
    if let Some(mut main) = texts[0].read::<yaml::Config>() {
        let routes = main.routes.as_mut().map(std::mem::take).unwrap_or_default();
        let (listeners, pools) = (std::mem::take(&mut main.listeners), std::mem::take(&mut main.pools));
        add(&mut parts, &texts[0], 0, listeners, pools, routes);
        parts.main = main;
        include(&mut parts, &mut texts, source, &env);
    }
    let mut plan = check(parts, &mut texts, modules);
    plan.warnings = texts.iter_mut().flat_map(Document::take_warnings).collect();
    let findings: Vec<Diagnostic> = texts.into_iter().flat_map(Document::into_findings).collect();
    if findings.is_empty() { Ok(plan) } else { Err(findings) }
}

fn add(
    parts: &mut Parts,
    document: &Document<'_>,
    text: usize,
    listeners: yaml::Table<yaml::Listener>,
    pools: yaml::Table<yaml::Pool>,
    routes: Vec<yaml::Route>,
) {
    let row = |key: &str, name: &str| steps([key, name]);
    parts.listeners.extend(listeners.0.into_iter().map(|(name, yaml)| Item {
        text,
        path: row("listeners", &name),
        yaml,
    }));
    parts.pools.extend(pools.0.into_iter().map(|(name, yaml)| Item { text, path: row("pools", &name), yaml }));
    let indices = document.sound_items(&steps(["routes"]));
    let routes = indices.into_iter().zip(routes);
    parts.routes.extend(routes.map(|(index, yaml)| Item { text, path: row("routes", &index.to_string()), yaml }));
}

/// Reads the included files. One that cannot be used is a finding at its `include`, or findings of its own.
fn include<'e>(parts: &mut Parts, texts: &mut Vec<Document<'e>>, source: &Source, env: &'e Env<'e>) {
    let indices = texts[0].sound_items(&steps(["include"]));
    let patterns: Vec<_> = indices.into_iter().zip(parts.main.include.clone()).collect();
    for (index, pattern) in patterns {
        let at = steps(["include", &index.to_string()]);
        let files = match files(&source.dir, &pattern) {
            Ok(files) => files,
            Err(error) => {
                texts[0].at(&at, format!("`{pattern}` cannot be included")).found = Some(error);
                continue;
            }
        };
        for file in files {
            let name = file.display().to_string();
            let opened = std::fs::read_to_string(&file).map_err(|error| error.to_string());
            let text = match opened {
                Ok(text) => text,
                Err(error) => {
                    texts[0].at(&at, format!("included file `{name}` cannot be read")).found = Some(error);
                    continue;
                }
            };
            match Document::open(&name, &text, file.parent().unwrap_or(&source.dir), env) {
                Ok(mut document) => {
                    if let Some(included) = document.read::<yaml::Included>() {
                        add(parts, &document, texts.len(), included.listeners, included.pools, included.routes);
                    }
                    texts.push(document);
                }
                Err(finding) => texts[0].adopt(*finding),
            }
        }
    }
}

/// The files that a pattern names, sorted. Only the file name may hold `*`, `?`, `[`, `{`; a plain name must exist.
fn files(dir: &FilePath, pattern: &str) -> Result<Vec<PathBuf>, String> {
    let full = dir.join(pattern);
    let name = full.file_name().and_then(|name| name.to_str()).ok_or("it names no file")?;
    if !name.contains(['*', '?', '[', '{']) {
        return Ok(vec![full]);
    }
    let glob = Glob::new(name)?;
    let folder = full.parent().unwrap_or(dir);
    let entries = std::fs::read_dir(folder).map_err(|error| error.to_string())?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|file| file.is_file())
        .filter(|file| file.file_name().and_then(|name| name.to_str()).is_some_and(|name| glob.takes(name)))
        .collect();
    found.sort();
    Ok(found)
}

/// The configuration of `run --to URL --to URL [--listen ADDRESS] [--balance MODULE]`: one pool, one route.
pub fn from_urls(
    urls: &[String],
    listen: Option<&str>,
    balance: Option<&str>,
    modules: &[ModuleEntry],
) -> Result<Plan, Vec<Diagnostic>> {
    let quote = |text: &str| serde_json::Value::from(text.replace('$', "$$")).to_string();
    let listen = listen.unwrap_or(defaults::LISTEN);
    let endpoints: Vec<String> = urls.iter().map(|url| quote(url)).collect();
    let text = format!(
        "listen: {}\npools: {{ default: {{ endpoints: [{}] }} }}\nroutes: [{{ pool: default, balance: {} }}]\n",
        quote(listen),
        endpoints.join(", "),
        quote(balance.unwrap_or("auto")),
    );
    load(&Source::new("command line", text, "."), modules)
        .map_err(|findings| findings.into_iter().map(|finding| argument(finding, urls)).collect())
}

/// A finding of the text that stands for the command line, in the words of the command line.
fn argument(finding: Diagnostic, urls: &[String]) -> Diagnostic {
    let mut message = finding.message;
    for (index, url) in urls.iter().enumerate() {
        message = message.replace(&format!("`pools.default.endpoints[{index}]`"), &format!("`--to {url}`"));
    }
    let found = finding.found.filter(|found| !found.contains("command line:"));
    Diagnostic { message, found, line: 0, column: 0, snippet: None, ..finding }
}
