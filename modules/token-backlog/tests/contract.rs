//! The promises that every module keeps.

use arriero_token_backlog::TokenBacklog;

#[test]
fn keeps_the_contract() {
    arriero_core::contract::contract::<TokenBacklog>();
}
