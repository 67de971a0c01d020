//! One endpoint or one `balance` that comes alone, as JSON, while everything else is in force: the keys, checks and
//! words of the file, without its places. A `$` is a plain sign there: nothing is filled in from the environment.

use std::path::Path as FilePath;

use serde_json::{Value, json};

use super::endpoint::{self, Fleet};
use super::{balance, path};
use crate::config::diagnostic::Diagnostic;
use crate::config::document::Document;
use crate::config::plan::{BalancePlan, EndpointPlan, Plan};
use crate::config::yaml;
use crate::registry::ModuleEntry;

/// The endpoint that joins `pool`: a URL, or a mapping with the keys of an endpoint in the file. What it leaves out is
/// what the pool's `defaults` say; files that it names lie beside the file of that pool.
pub fn check_endpoint(plan: &Plan, pool: &str, json: &Value) -> Result<EndpointPlan, String> {
    let pool = plan.pools.iter().find(|one| *one.name == *pool).ok_or_else(|| format!("there is no pool `{pool}`"))?;
    alone(&pool.dir, "endpoint", json, |text| {
        let at = path(&["endpoint"]);
        let yaml::EndpointYaml(endpoint) = text.read_at(&at)?;
        let mut fleet = Fleet::default();
        for known in &plan.pools {
            known.endpoints.iter().for_each(|one| fleet.add(one, &format!("pool `{}`", known.name)));
        }
        endpoint::check(text, &at, &path(&["pools", &pool.name]), endpoint.or(&pool.defaults), &mut fleet)
    })
}

/// The module that `json` names: its name, or a mapping of its name to its options.
pub fn check_balance(modules: &[ModuleEntry], json: &Value) -> Result<BalancePlan, String> {
    alone(FilePath::new("."), "balance", json, |text| {
        let yaml: yaml::Balance = text.read_at(&path(&["balance"]))?;
        balance::check(text, &path(&["balance"]), Some(&yaml), std::iter::empty(), modules)
    })
}

/// Reads a value that stands under `key`. The error is every finding.
fn alone<T>(
    dir: &FilePath,
    key: &str,
    json: &Value,
    check: impl FnOnce(&mut Document<'_>) -> Option<T>,
) -> Result<T, String> {
    let text = json!({ key: plain(json) }).to_string();
    let env = |_: &str| None;
    let mut text = Document::open(key, &text, dir, &env).map_err(|finding| words(&finding))?;
    let checked = check(&mut text);
    let findings = text.into_findings();
    match checked {
        Some(checked) if findings.is_empty() => Ok(checked),
        _ if findings.is_empty() => Err(format!("`{key}` cannot be read")),
        _ => Err(findings.iter().map(words).collect::<Vec<_>>().join("\n")),
    }
}

/// The same value, in which `$` means `$`.
fn plain(json: &Value) -> Value {
    match json {
        Value::String(text) => text.replace('$', "$$").into(),
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(entries) => entries.iter().map(|(key, value)| (key.clone(), plain(value))).collect(),
        other => other.clone(),
    }
}

/// A finding on one line.
fn words(finding: &Diagnostic) -> String {
    let allowed = finding.allowed.as_ref().map(|allowed| format!("; allowed: {allowed}"));
    let hint = finding.hint.as_ref().map(|hint| format!("; {hint}"));
    format!("{}{}{}", finding.message, allowed.unwrap_or_default(), hint.unwrap_or_default())
}
