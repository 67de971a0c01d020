//! The JSON Schema of the YAML, made from the types that read it and from the options of every compiled-in module.

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use crate::config::yaml::Config;
use crate::registry::ModuleEntry;

/// The schema (draft 2020-12) for editors: completion, help, checks while typing.
pub fn schema(modules: &[ModuleEntry]) -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let names: Vec<&str> = modules.iter().map(|module| module.name).chain(["auto"]).collect();
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
    schema
}
