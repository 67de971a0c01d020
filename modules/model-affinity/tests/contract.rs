//! The contract of every module.

use arriero_core::contract::contract;
use arriero_model_affinity::ModelAffinity;

#[test]
fn keeps_the_contract() {
    contract::<ModelAffinity>();
}
