//! The contract of every module.

use arriero_core::contract::contract;
use arriero_least_connection::LeastConnection;

#[test]
fn keeps_the_contract() {
    contract::<LeastConnection>();
}
