//! x
use crate::config::plan::Plan;
impl Plan {
    /// x
    pub fn dump(&self) -> String {
        String::new()
    }
}
