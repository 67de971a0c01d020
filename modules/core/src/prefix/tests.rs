//! The index against a plain list, its limits, and what is freed.

use super::*;

const A: EndpointId = EndpointId(0);
const B: EndpointId = EndpointId(7);

/// Block hashes of a prompt: `common` blocks shared by all, then its own. What comes after other text is another block.
fn prompt(number: u64, common: u64, own: u64) -> Vec<u64> {
    (0..common).chain((0..own).map(|block| 1_000_000 * (1 + common) + number * 1000 + block)).collect()
}

fn index(capacity: usize) -> PrefixIndex {
    let mut index = PrefixIndex::new(1 << 20);
    index.set_capacity(A, capacity);
    index.set_capacity(B, capacity);
    index
}

#[test]
fn the_longest_leading_run_counts() {
    let mut index = index(100);
    index.note(A, &prompt(1, 2, 20), Time::ZERO);
    index.note(B, &prompt(2, 2, 20), Time::ZERO);
    let found = |asked: &[u64]| (index.find(asked).blocks(A), index.find(asked).blocks(B));
    assert_eq!(found(&prompt(1, 2, 20)), (22, 2));
    assert_eq!(found(&prompt(1, 2, 30)), (22, 2));
    assert_eq!(found(&prompt(2, 2, 7)), (2, 9));
    assert_eq!(found(&prompt(3, 2, 7)), (2, 2));
    assert_eq!(found(&prompt(1, 0, 20)), (0, 0), "the same text behind another beginning");
    assert_eq!(found(&[]), (0, 0));
    assert_eq!(index.find(&prompt(1, 2, 20)).blocks(EndpointId(3)), 0, "unknown endpoints hold nothing");
}

#[test]
fn the_longest_unused_goes_first_and_from_its_end() {
    let mut index = index(30);
    index.note(A, &prompt(1, 0, 20), Time::ZERO);
    index.note(A, &prompt(2, 0, 15), Time::ZERO);
    assert_eq!(index.held(A), 30);
    assert_eq!(index.find(&prompt(1, 0, 20)).blocks(A), 15);
    index.note(A, &prompt(1, 0, 15), Time::ZERO);
    index.note(A, &prompt(3, 0, 10), Time::ZERO);
    assert_eq!(index.find(&prompt(1, 0, 20)).blocks(A), 15);
    assert_eq!(index.find(&prompt(2, 0, 15)).blocks(A), 5);
    index.set_capacity(A, 12);
    assert_eq!((index.held(A), index.find(&prompt(3, 0, 10)).blocks(A)), (12, 10));
    index.set_capacity(A, 0);
    index.note(A, &prompt(3, 0, 10), Time::ZERO);
    assert_eq!(index.held(A), 0);
}

#[test]
fn leaving_and_restarts_free_what_was_held() {
    let mut index = index(100);
    for id in [A, B] {
        index.note(id, &prompt(1, 0, 50), Time::ZERO);
    }
    index.clear(A);
    assert_eq!((index.held(A), index.held(B), index.blocks.len()), (0, 50, 50));
    index.note(A, &prompt(2, 0, 10), Time::ZERO);
    assert_eq!(index.held(A), 10, "it is known still");
    index.remove(B);
    index.note(B, &prompt(1, 0, 50), Time::ZERO);
    assert_eq!((index.held(B), index.blocks.len()), (0, 10));
    assert_eq!(index.endpoints().collect::<Vec<_>>(), [A]);
    index.remove(A);
    assert_eq!((index.blocks.len(), index.free_sets.len()), (0, 60));
}

#[test]
fn more_endpoints_than_a_word_has_bits() {
    let mut index = PrefixIndex::new(8 << 20);
    for id in 0..200 {
        index.set_capacity(EndpointId(id), 100);
        index.note(EndpointId(id), &prompt(u64::from(id) % 3, 1, 4), Time::ZERO);
    }
    let matches = index.find(&prompt(1, 1, 4));
    for id in 0..200 {
        assert_eq!(matches.blocks(EndpointId(id)), if id % 3 == 1 { 5 } else { 1 }, "endpoint {id}");
    }
    (0..200).filter(|id| id % 2 == 0).for_each(|id| index.remove(EndpointId(id)));
    index.set_capacity(EndpointId(500), 100);
    assert_eq!(index.find(&prompt(1, 1, 4)).blocks(EndpointId(500)), 0, "a place that is used again is empty");
    assert_eq!(index.find(&prompt(1, 1, 4)).blocks(EndpointId(199)), 5);
}

#[test]
fn its_bytes_stay_below_the_limit() {
    let most = 1 << 20;
    let mut index = PrefixIndex::new(most);
    let mut dice = fastrand::Rng::with_seed(1);
    for round in 0..20_000_u64 {
        let id = EndpointId(dice.u32(..5 + round as u32 / 2000));
        index.set_capacity(id, 1_000_000);
        index.note(id, &prompt(dice.u64(..100_000), dice.u64(..3), dice.u64(..40)), Time::ZERO);
        if round % 500 == 0 {
            assert!(index.bytes() <= most, "{} bytes after {round} prompts", index.bytes());
        }
    }
    assert!(index.bytes() > most / 5, "the room is used: {}", index.bytes());
}

/// Every endpoint as a plain list, newest first.
#[test]
fn it_agrees_with_a_plain_list() {
    let capacity = 60;
    let mut index = PrefixIndex::new(1 << 20);
    let mut lists: Vec<Vec<u64>> = vec![Vec::new(); 4];
    for id in 0..4 {
        index.set_capacity(EndpointId(id), capacity);
    }
    let mut dice = fastrand::Rng::with_seed(2);
    for _ in 0..5_000 {
        let place = dice.usize(..4);
        let asked = prompt(dice.u64(..12), dice.u64(..3), dice.u64(..20));
        let found = index.find(&asked);
        for (id, list) in lists.iter().enumerate() {
            let run = asked.iter().take_while(|block| list.contains(block)).count();
            assert_eq!(found.blocks(EndpointId(id as u32)) as usize, run);
        }
        index.note(EndpointId(place as u32), &asked, Time::ZERO);
        for block in asked.iter().rev() {
            lists[place].retain(|held| held != block);
            lists[place].insert(0, *block);
            lists[place].truncate(capacity);
        }
    }
}

#[test]
fn what_was_used_since_is_a_leading_run() {
    let at = Time::from_millis;
    let mut index = index(100);
    index.note(A, &prompt(1, 3, 10), at(1_000));
    index.note(A, &prompt(2, 3, 4), at(2_000));
    index.note(B, &prompt(1, 3, 10), at(3_000));
    let (old, new) = (prompt(1, 3, 10), prompt(2, 3, 4));
    assert_eq!(index.used_since(A, &old, at(1_000)), 13);
    assert_eq!(index.used_since(A, &old, at(1_001)), 3, "the common blocks were used again");
    assert_eq!(index.used_since(A, &new, at(2_000)), 7);
    assert_eq!(index.used_since(A, &new, at(2_001)), 0);
    assert_eq!((index.used_since(A, &[], at(0)), index.used_since(EndpointId(3), &old, at(0))), (0, 0));
    index.set_capacity(A, 8);
    assert_eq!(index.used_since(A, &new, at(2_000)), 7, "times stay when room is given back");
}
