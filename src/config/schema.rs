//! The JSON Schema of the YAML, made from the types that read it and from the options of every compiled-in module.
//!
//! A key is left out, never written with nothing behind it: so the schema knows no `null`.

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use crate::config::yaml::Config;
use crate::dialect::allow_names;
use crate::registry::ModuleEntry;

/// The schema (draft 2020-12) for editors: completion, help, checks while typing.
pub fn schema(modules: &[ModuleEntry]) -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let mut names: Vec<&str> = modules.iter().map(|module| module.name).collect();
    if !names.contains(&"auto") {
        names.push("auto");
    }
    let mut forms = vec![json!({ "enum": names })];
    for module in modules {
        forms.push(json!({
            "type": "object",
            "description": module.summary,
            "properties": { module.name: (module.schema)(&mut generator) },
            "required": [module.name],
            "additionalProperties": false,
        }));
    }
    let mut schema = generator.into_root_schema_for::<Config>().to_value();
    if let Some(balance) = schema.pointer_mut("/$defs/Balance") {
        *balance = json!({ "description": "The module that chooses an endpoint.", "anyOf": forms });
    }
    if let Some(allow) = schema.pointer_mut("/$defs/Route/properties/allow/items") {
        *allow = json!({ "enum": allow_names().collect::<Vec<_>>() });
    }
    without_null(&mut schema);
    schema
}

/// Takes away what the generator adds for keys that may be left out: `null` as a type and as a default.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(without_null),
        Value::Object(object) => {
            if object.get("default").is_some_and(|default| default.is_null()) {
                object.remove("default");
            }
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|kind| kind != "null");
                if let [only] = &types[..] {
                    let only = only.clone();
                    object.insert("type".into(), only);
                }
            }
            if let Some(Value::Array(forms)) = object.get_mut("anyOf") {
                forms.retain(|form| form != &json!({ "type": "null" }));
                if let [Value::Object(only)] = &forms[..] {
                    let only = only.clone();
                    object.remove("anyOf");
                    for (key, value) in only {
                        object.entry(key).or_insert(value);
                    }
                }
            }
            object.values_mut().for_each(without_null);
        }
        _ => {}
    }
}
