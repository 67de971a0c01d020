//! The promises that every module keeps.

use arriero_random::Random;

#[test]
fn keeps_the_contract() {
    arriero_core::contract::contract::<Random>();
}
