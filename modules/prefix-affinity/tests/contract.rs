//! The contract of every module.

use arriero_core::contract::contract;
use arriero_prefix_affinity::PrefixAffinity;

#[test]
fn keeps_the_contract() {
    contract::<PrefixAffinity>();
}
