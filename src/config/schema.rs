//! x
use crate::registry::ModuleEntry;
/// x
pub fn schema(_modules: &[ModuleEntry]) -> serde_json::Value {
    Default::default()
}
