//! The promises that every module keeps.

use arriero_hash::Hash;

#[test]
fn keeps_the_contract() {
    arriero_core::contract::contract::<Hash>();
}
