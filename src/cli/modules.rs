//! `arriero modules`: what is compiled in, every option with its default, what it may be, and its line of help.
//!
//! All of it is read from the schema of the module's own options, so nothing is said twice. Lines end before column 100.

use std::process::ExitCode;

use clap::Args;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::{Format, say};
use crate::registry::ModuleEntry;

#[derive(Debug, Args)]
pub(super) struct ModulesArguments {
    /// How to print them.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Short for `--format json`.
    #[arg(long)]
    json: bool,
}

/// Columns that a line may fill.
const WIDTH: usize = 100;
/// Types inside of types are shown so deep.
const DEPTH: usize = 6;

pub(super) fn modules(arguments: &ModulesArguments, modules: &[ModuleEntry]) -> ExitCode {
    if arguments.json || arguments.format == Format::Json {
        let rows: Vec<Value> = modules.iter().map(as_json).collect();
        say(serde_json::to_string_pretty(&rows).unwrap_or_default());
    } else {
        let shown: Vec<String> = modules.iter().map(as_text).collect();
        say(shown.join("\n"));
    }
    ExitCode::SUCCESS
}

/// One option of a module.
struct OptionRow {
    name: String,
    default: Value,
    help: String,
    allowed: String,
}

/// The options in the order of their names.
fn options(module: &ModuleEntry) -> Vec<OptionRow> {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let own = (module.schema)(&mut generator).to_value();
    let types = Types(generator.take_definitions(true));
    let defaults = (module.defaults)();
    let Some(properties) = types.resolve(&own).get("properties").and_then(Value::as_object) else { return Vec::new() };
    let row = |(name, schema): (&String, &Value)| OptionRow {
        name: name.clone(),
        default: defaults.get(name).cloned().unwrap_or_default(),
        help: types.help(schema),
        allowed: types.allowed(schema, DEPTH),
    };
    properties.iter().map(row).collect()
}

fn as_json(module: &ModuleEntry) -> Value {
    let row = |OptionRow { name, default, help, allowed }: OptionRow| {
        (name, json!({ "default": default, "help": help, "allowed": allowed }))
    };
    let options: Map<String, Value> = options(module).into_iter().map(row).collect();
    json!({ "name": module.name, "summary": module.summary, "options": options })
}

fn as_text(module: &ModuleEntry) -> String {
    let mut text = format!("{}\n{}\n", module.name, filled(module.summary, 4));
    let options = options(module);
    if options.is_empty() {
        text += "    no options\n";
    }
    for OptionRow { name, default, help, allowed } in options {
        let default = match &default {
            Value::Null => "not set".to_string(),
            Value::String(word) => word.clone(),
            other => other.to_string(),
        };
        let words = if help.is_empty() { format!("[{allowed}]") } else { format!("{help} [{allowed}]") };
        text += &format!("{}\n{}\n", filled(&format!("{name}: {default}"), 4), filled(&words, 8));
    }
    text
}

fn filled(words: &str, indent: usize) -> String {
    let lead = " ".repeat(indent);
    textwrap::fill(words, textwrap::Options::new(WIDTH).initial_indent(&lead).subsequent_indent(&lead))
}

/// The named types of a schema.
struct Types(Map<String, Value>);

impl Types {
    /// The schema itself where it only refers to a named type.
    fn resolve<'s>(&'s self, schema: &'s Value) -> &'s Value {
        let name = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next());
        name.and_then(|name| self.0.get(name)).unwrap_or(schema)
    }

    /// The option's own help on one line, else its type's.
    fn help(&self, schema: &Value) -> String {
        let own = schema.get("description").or_else(|| self.resolve(schema).get("description"));
        own.and_then(Value::as_str).unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// What a value may be: `0 to 1`, `next | wait`, `{ header: text }`.
    fn allowed(&self, schema: &Value, depth: usize) -> String {
        let schema = self.resolve(schema);
        let (Some(depth), Some(schema)) = (depth.checked_sub(1), schema.as_object()) else { return "...".into() };
        let forms = ["anyOf", "oneOf"].iter().find_map(|key| schema.get(*key)?.as_array());
        if let Some(value) = schema.get("const") {
            return plain(value);
        }
        if let Some(words) = schema.get("enum").and_then(Value::as_array) {
            return words.iter().map(plain).collect::<Vec<_>>().join(" | ");
        }
        if let Some(forms) = forms {
            let is_list_of_another = |form: &Value| form.get("items").is_some_and(|item| forms.contains(item));
            let words = |form: &Value| {
                if is_list_of_another(form) { "a list of them".into() } else { self.allowed(form, depth) }
            };
            let mut shown: Vec<String> = forms.iter().map(words).collect();
            shown.retain(|form| form != "not set");
            shown.dedup();
            return shown.join(" | ");
        }
        let kinds: Vec<&str> = match schema.get("type") {
            Some(Value::Array(kinds)) => {
                kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").collect()
            }
            Some(Value::String(kind)) => vec![kind],
            _ => Vec::new(),
        };
        let one = |kind: &&str| match *kind {
            "null" => "not set".into(),
            "boolean" => "true | false".into(),
            "string" => "text".into(),
            "array" => schema.get("items").map_or("list".into(), |item| format!("[{}]", self.allowed(item, depth))),
            "object" => self.fields(schema, depth),
            kind => range(schema, kind == "integer"),
        };
        if kinds.is_empty() { "any value".into() } else { kinds.iter().map(one).collect::<Vec<_>>().join(" | ") }
    }

    fn fields(&self, schema: &Map<String, Value>, depth: usize) -> String {
        let Some(fields) = schema.get("properties").and_then(Value::as_object) else { return "mapping".into() };
        let shown = fields.iter().map(|(name, field)| format!("{name}: {}", self.allowed(field, depth)));
        format!("{{ {} }}", shown.collect::<Vec<_>>().join(", "))
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn range(schema: &Map<String, Value>, whole: bool) -> String {
    let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
    let least = bound("minimum").map(|least| least.to_string());
    let kind = if whole { "whole number" } else { "number" };
    match (least, bound("maximum")) {
        (Some(least), Some(most)) => format!("{kind}, {least} to {most}"),
        (Some(least), None) => format!("{kind}, {least} or more"),
        (None, Some(most)) => format!("{kind}, {most} or less"),
        (None, None) => kind.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::builtin;

    #[test]
    fn every_option_of_every_module_has_a_default_a_help_line_and_a_type() {
        for module in builtin() {
            let defaults = (module.defaults)();
            let options = options(&module);
            assert_eq!(options.len(), defaults.as_object().map_or(0, Map::len), "{}", module.name);
            for OptionRow { name, default, help, allowed } in &options {
                assert!(defaults.get(name) == Some(default) && !help.is_empty(), "{} {name}", module.name);
                assert!(!["", "...", "any value"].contains(&allowed.as_str()), "{} {name}: {allowed}", module.name);
            }
            let text = as_text(&module);
            assert!(text.starts_with(&format!("{}\n    ", module.name)), "{text}");
            assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
            let shown = as_json(&module);
            assert_eq!(shown["options"].as_object().map(Map::len), Some(options.len()), "{shown}");
        }
    }

    #[test]
    fn types_are_told_in_words() {
        let types = Types(Map::from_iter([("Key".to_string(), json!({ "const": "model" }))]));
        for (schema, words) in [
            (json!({ "type": "number", "minimum": 0.0, "maximum": 1.5 }), "number, 0 to 1.5"),
            (json!({ "type": ["integer", "null"], "minimum": 1 }), "whole number, 1 or more"),
            (json!({ "anyOf": [{ "$ref": "#/$defs/Key" }, { "type": "null" }] }), "model"),
            (json!({ "oneOf": [{ "enum": ["next", "wait"] }, { "const": false }] }), "next | wait | false"),
            (
                json!({ "anyOf": [{ "enum": ["a"] }, { "type": "array", "items": { "enum": ["a"] } }] }),
                "a | a list of them",
            ),
            (json!({ "type": ["string", "integer"] }), "text | whole number"),
            (json!({ "type": "array", "items": { "$ref": "#/$defs/Key" } }), "[model]"),
            (json!({ "type": "object", "properties": { "header": { "type": "string" } } }), "{ header: text }"),
        ] {
            assert_eq!(types.allowed(&schema, DEPTH), words, "{schema}");
        }
    }
}
