//! The promises that every module keeps.

use arriero_auto::Auto;

#[test]
fn keeps_the_contract() {
    arriero_core::contract::contract::<Auto>();
}
