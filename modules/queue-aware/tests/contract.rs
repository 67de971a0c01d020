//! The contract of every module.

use arriero_core::contract::contract;
use arriero_queue_aware::QueueAware;

#[test]
fn keeps_the_contract() {
    contract::<QueueAware>();
}
