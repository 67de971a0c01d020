//! Skipping text finds every byte that means something, at every place.

use super::{has_control, plain_run};

#[test]
fn every_byte_stops_a_run_or_not_at_every_place() {
    for byte in 0..=u8::MAX {
        let stops = byte < 0x20 || byte == b'"' || byte == b'\\';
        for place in 0..80 {
            let mut text = vec![b'a'; 80];
            text[place] = byte;
            let expected = if stops { place } else { 80 };
            assert_eq!(plain_run(&text, false), expected, "{byte} at {place}");
            assert_eq!(has_control(&text), byte < 0x20);
            if byte >= 0x20 {
                assert_eq!(plain_run(&text, true), expected, "{byte} at {place}");
            }
            // neighbours just above the limits must not be taken for special ones
            text.iter_mut().skip(place + 1).for_each(|after| *after = 0x20);
            text.iter_mut().take(place).for_each(|before| *before = 0xff);
            assert_eq!(plain_run(&text, false), if stops { place } else { 80 }, "{byte} at {place}");
        }
    }
}
