//! The scenarios that ship with the project, by name.

use super::Scenario;

macro_rules! scenarios {
    ($($name:literal),* $(,)?) => {
        const SHIPPED: &[(&str, &str)] = &[$(($name, include_str!(concat!("../../scenarios/", $name, ".yaml")))),*];
    };
}

scenarios![
    "S0",
    "S1-p1",
    "S1-p4",
    "S2",
    "S3",
    "S3-rho5",
    "S3-skewed",
    "S4",
    "S4-mixed",
    "S5",
    "S6",
    "S7-failfast",
    "S7-hang",
    "S7-slow",
    "S8",
    "S8-blind",
];

/// The names, in order.
pub fn names() -> impl Iterator<Item = &'static str> {
    SHIPPED.iter().map(|(name, _)| *name)
}

/// A shipped scenario.
pub fn shipped(name: &str) -> Result<Scenario, String> {
    let Some((_, text)) = SHIPPED.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) else {
        return Err(format!("no scenario is called {name}; there are {}", names().collect::<Vec<_>>().join(", ")));
    };
    Scenario::read(text).map_err(|error| format!("{name}: {error}"))
}
