//! The promises that every module keeps.

use arriero_first::First;

#[test]
fn keeps_the_contract() {
    arriero_core::contract::contract::<First>();
}
