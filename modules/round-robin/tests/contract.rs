//! The contract of every module.

use arriero_core::contract::contract;
use arriero_round_robin::RoundRobin;

#[test]
fn keeps_the_contract() {
    contract::<RoundRobin>();
}
