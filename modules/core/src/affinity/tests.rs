//! The table against a plain list that does the same slowly, and its memory.
#![allow(clippy::unwrap_used)]

use super::*;

const A: EndpointId = EndpointId(0);
const B: EndpointId = EndpointId(1);
const MINUTE: Duration = Duration::from_secs(60);

/// The keys from the longest unused to the latest, by the links.
fn by_use(ties: &Ties) -> Vec<u64> {
    let mut keys = Vec::new();
    let mut place = ties.oldest;
    while let Some(tie) = ties.ties.get(place as usize) {
        keys.push(tie.key);
        place = tie.newer;
    }
    keys
}

#[test]
fn it_does_what_a_list_does() {
    let mut rng = fastrand::Rng::with_seed(3);
    let (mut ties, mut list): (Ties, Vec<(u64, EndpointId)>) = (Ties::default(), Vec::new());
    for step in 0..20_000u64 {
        let key = rng.u64(..40);
        let endpoint = EndpointId(rng.u32(..4));
        match rng.u8(..20) {
            0 => assert_eq!(ties.forget(key), list.iter().any(|(known, _)| *known == key)),
            1 if step % 7 == 0 => ties.retain(|id| id != endpoint),
            _ => ties.note(key, endpoint, MINUTE, 25, Time(step)),
        }
        // the same, slowly
        match () {
            () if ties.get(key, Time(step)).is_none() && ties.len() < list.len() => {
                list.retain(|(known, _)| ties.places.contains_key(known));
            }
            () if ties.get(key, Time(step)).is_some_and(|tie| tie.used == Time(step)) => {
                list.retain(|(known, _)| *known != key);
                list.push((key, endpoint));
                if list.len() > 25 {
                    list.remove(0);
                }
            }
            () => list.retain(|(known, _)| ties.places.contains_key(known)),
        }
        let keys: Vec<u64> = list.iter().map(|(key, _)| *key).collect();
        assert_eq!(by_use(&ties), keys, "step {step}: the longest unused first");
        assert!(list.iter().all(|(key, id)| ties.get(*key, Time(step)).map(|tie| tie.endpoint) == Some(*id)));
        assert_eq!((ties.len(), ties.places.len()), (list.len(), list.len()));
    }
}

#[test]
fn an_entry_lives_after_its_last_use() {
    let mut ties = Ties::default();
    ties.note(1, A, MINUTE, 10, Time::ZERO);
    ties.note(2, B, 2 * MINUTE, 10, Time::ZERO);
    ties.note(1, A, MINUTE, 10, Time::ZERO + Duration::from_secs(50));
    let at = |seconds: u64| Time::from_millis(seconds * 1000);
    assert!(ties.get(1, at(109)).is_some() && ties.get(1, at(110)).is_none(), "a minute after the second use");
    assert!(ties.get(2, at(119)).is_some() && ties.get(2, at(120)).is_none());
    assert_eq!((ties.iter(at(115)).count(), ties.len()), (1, 2), "the old one is not told");
    ties.note(3, A, MINUTE, 10, at(130));
    assert_eq!(ties.len(), 1, "a note clears the old away");
}

#[test]
fn another_endpoint_has_proved_nothing() {
    let mut ties = Ties::default();
    ties.note(1, A, MINUTE, 10, Time::ZERO);
    ties.prove(1, B);
    assert!(!ties.get(1, Time::ZERO).unwrap().proven, "B is not the one");
    ties.prove(1, A);
    ties.note(1, A, MINUTE, 10, Time(1));
    assert!(ties.get(1, Time(1)).unwrap().proven);
    ties.note(1, B, MINUTE, 10, Time(2));
    assert!(!ties.get(1, Time(2)).unwrap().proven);
}

#[test]
fn a_million_keys_take_no_more_than_the_bound() {
    let mut ties = Ties::default();
    for key in 0..1_000_000u64 {
        ties.note(key.wrapping_mul(0x9E37_79B9_7F4A_7C15), A, MINUTE, 10_000, Time(key));
        assert!(ties.len() <= 10_000);
    }
    let bytes = ties.ties.capacity() * size_of::<Tie>() + ties.places.capacity() * size_of::<(u64, u32)>();
    assert_eq!(ties.len(), 10_000);
    assert!(bytes < 4 << 20, "{bytes} bytes for 10 000 entries");
    assert_eq!(ties.clear(), 10_000);
    assert_eq!((ties.len(), ties.ties.capacity()), (0, 0), "nothing is kept of it");
}

#[test]
fn no_entries_means_none() {
    let mut ties = Ties::default();
    ties.note(1, A, MINUTE, 0, Time::ZERO);
    assert_eq!(ties.len(), 0);
}
