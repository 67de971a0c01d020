//! What is compared: one strategy each, and whether its requests go by caps. Written `name` or `name{option:value,...}`,
//! the options as JSON whose quotes may be left out.

use std::sync::Arc;

use arriero_core::Strategy;
use serde_json::Value;

use super::Stage;

/// Builds fresh instances of one strategy.
pub type Factory = Arc<dyn Fn() -> Box<dyn Strategy> + Send + Sync>;

/// A strategy by name and options, made ready.
#[derive(Clone)]
pub struct Made {
    /// The module.
    pub module: &'static str,
    /// Its options, as they were given.
    pub options: Value,
    /// Builds an instance.
    pub build: Factory,
}

/// Who knows the modules: the lab itself names none.
pub trait Modules: Sync {
    /// Finds a module and checks its options.
    fn make(&self, name: &str, options: &Value) -> Result<Made, String>;
}

/// Whether requests go by caps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caps {
    /// No caps: every request is sent on at once.
    Off,
    /// Declared slots are caps, and requests wait at the proxy.
    On,
}

/// One strategy to compare.
#[derive(Clone)]
pub struct Arm {
    /// What tables call it.
    pub name: String,
    /// The strategy.
    pub made: Made,
    /// Whether its requests go by caps.
    pub caps: Caps,
    /// What of the scenario is different for it, if it is a reference.
    pub reference: Option<super::Reference>,
}

/// The name of the baseline: least-connection without caps.
pub const BASELINE: &str = "least-connection";

/// Late binding by the same rule: least-connection with caps, first come, first served.
const LATE_FIFO: &str = "late-fifo";

/// Rules that know nothing of slots: run without caps, as most balancers run them.
const PLAIN: [&str; 5] = [BASELINE, "round-robin", "random", "first", "hash"];

impl Arm {
    /// The baseline of every comparison.
    pub fn baseline(modules: &dyn Modules) -> Result<Arm, String> {
        Arm::parse(BASELINE, modules)
    }

    /// Reads an arm as the command line has it.
    pub fn parse(text: &str, modules: &dyn Modules) -> Result<Arm, String> {
        let (name, options) = split(text)?;
        let module = if name == LATE_FIFO { BASELINE } else { name };
        let made = modules.make(module, &options)?;
        let caps = if PLAIN.contains(&name) { Caps::Off } else { Caps::On };
        Ok(Arm { name: text.to_owned(), made, caps, reference: None })
    }

    /// The baseline, then those that the list names (a scenario's references, too); an empty list: round robin, two random
    /// choices, late binding, the module that the scenario judges, and its references.
    pub fn chosen(list: &str, stage: &Stage, modules: &dyn Modules) -> Result<Vec<Arm>, String> {
        let mut names = split_list(list);
        let usual = names.is_empty();
        if usual {
            names.extend(["round-robin", "random", LATE_FIFO].map(str::to_owned));
            names.extend(stage.scenario.judged.iter().map(|judged| judged.module.clone()));
        }
        let mut arms = vec![Arm::baseline(modules)?];
        for name in names.iter().filter(|name| *name != BASELINE) {
            let reference = stage.scenario.references.iter().find(|reference| reference.name == *name);
            arms.push(match reference {
                Some(reference) => Arm::of_reference(reference, modules)?,
                None => Arm::parse(name, modules)?,
            });
        }
        if usual {
            arms.extend(stage.references(modules)?);
        }
        Ok(arms)
    }

    /// The arm of a reference.
    pub fn of_reference(reference: &super::Reference, modules: &dyn Modules) -> Result<Arm, String> {
        let arm = Arm::parse(&reference.strategy, modules)?;
        let caps = if reference.caps { Caps::On } else { arm.caps };
        Ok(Arm { name: reference.name.clone(), caps, reference: Some(reference.clone()), ..arm })
    }
}

/// Splits a list of arms at the commas that are in no braces.
pub fn split_list(text: &str) -> Vec<String> {
    let (mut parts, mut depth) = (vec![String::new()], 0_i32);
    for sign in text.chars() {
        depth += i32::from(sign == '{') - i32::from(sign == '}');
        match (sign, parts.last_mut()) {
            (',', _) if depth == 0 => parts.push(String::new()),
            (_, Some(part)) => part.push(sign),
            _ => {}
        }
    }
    parts.retain(|part| !part.trim().is_empty());
    parts.iter().map(|part| part.trim().to_owned()).collect()
}

fn split(text: &str) -> Result<(&str, Value), String> {
    let Some((name, options)) = text.split_once('{') else { return Ok((text, Value::Object(Default::default()))) };
    let options = format!("{{{options}");
    let options: Value = serde_yaml::from_str(&options.replace(':', ": "))
        .map_err(|error| format!("{text}: the options are not readable: {error}"))?;
    Ok((name, options))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn arms_are_split_outside_braces_only() {
        assert_eq!(split_list("a, b{x:1,y:2},c"), ["a", "b{x:1,y:2}", "c"]);
        let (name, options) = split("b{theta:0.7,y-z:true}").unwrap();
        assert_eq!((name, options), ("b", serde_json::json!({ "theta": 0.7, "y-z": true })));
        assert!(split("b{").is_err());
    }
}
