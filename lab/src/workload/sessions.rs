//! Conversations that share prefixes, from statistics of the Mooncake conversation trace (kvcache-ai/Mooncake,
//! Apache-2.0; Qin et al., FAST 2025): of 12 031 requests 39 % go on from an earlier one, after a pause, with a part of its
//! blocks and some new text; block 0 is common to all. Times lie on a grid of 3 s at 3.4 requests per second.
//!
//! | token hit of one shared LRU | 0.35M | 1.8M | 4M | 20M tokens |
//! |---|---|---|---|---|
//! | the trace | 4.4 % | 7.6 % | 17.8 % | 35.8 % |
//! | this generator (a test holds it there) | 3-7 % | 7-11 % | 15-22 % | 31-39 % |

use std::sync::Arc;

use super::PREFIX_TOKENS;
use super::chance::Chance;
use super::trace::Row;

/// Requests per second.
const RATE: f64 = 3.4;
/// The clock's grid, seconds.
const GRID_S: f64 = 3.0;
/// Chance that a request goes on from an earlier one: more than in the trace, whose longest conversations go on most.
const GOES_ON: f64 = 0.43;
/// Pauses are longer by this: the conversation that spoke last at about the wanted time is taken, and that is a later one.
const STRETCH: f64 = 1.1;
/// The longest prompt, tokens.
const LONGEST: f64 = 126_000.0;

/// Quantiles: (part of the requests, value), straight or log-linear lines between them.
type Curve = &'static [(f64, f64)];

/// Prompt of a first request, tokens.
const FIRST: Curve = &[
    (0.0, 891.0),
    (0.1, 905.0),
    (0.25, 1336.0),
    (0.5, 5264.0),
    (0.75, 13_056.0),
    (0.9, 25_561.0),
    (0.95, 38_538.0),
    (0.99, 89_869.0),
    (1.0, 126_195.0),
];
/// Output, tokens.
const OUTPUT: Curve = &[
    (0.0, 1.0),
    (0.02, 3.0),
    (0.1, 24.0),
    (0.25, 156.0),
    (0.5, 350.0),
    (0.75, 472.0),
    (0.9, 597.0),
    (0.95, 698.0),
    (0.99, 1120.0),
    (1.0, 2000.0),
];
/// Pause before going on, seconds.
const PAUSE: Curve = &[
    (0.0, 3.0),
    (0.02, 18.0),
    (0.1, 42.0),
    (0.25, 66.0),
    (0.5, 123.0),
    (0.75, 264.0),
    (0.9, 483.0),
    (0.95, 618.0),
    (0.99, 1482.0),
    (1.0, 3030.0),
];
/// The part of the earlier prompt's blocks that stays.
const KEPT: Curve =
    &[(0.0, 0.015), (0.02, 0.077), (0.1, 0.36), (0.25, 0.75), (0.5, 0.917), (0.75, 0.964), (0.9, 0.982), (1.0, 1.0)];
/// New text, tokens.
const NEW: Curve = &[
    (0.0, 20.0),
    (0.1, 304.0),
    (0.25, 534.0),
    (0.5, 829.0),
    (0.75, 3503.0),
    (0.9, 9741.0),
    (0.95, 14_768.0),
    (0.99, 26_773.0),
    (1.0, 94_968.0),
];

fn value(curve: Curve, part: f64) -> f64 {
    let next = curve.partition_point(|(point, _)| *point <= part).clamp(1, curve.len() - 1);
    let ((from, low), (to, high)) = (curve[next - 1], curve[next]);
    low * (high / low).powf((part - from) / (to - from))
}

/// Where a conversation stands.
struct Open {
    at_s: f64,
    blocks: Arc<[u64]>,
}

/// Makes this many requests.
pub(super) fn rows(count: usize, chance: &mut Chance) -> Vec<Row> {
    let mut open: Vec<Open> = Vec::new();
    let (mut rows, mut at_s, mut names) = (Vec::with_capacity(count), 0.0, 1_u64);
    for _ in 0..count {
        at_s += chance.exponential() / RATE;
        let time = (at_s / GRID_S).floor() * GRID_S;
        let before =
            (chance.share() < GOES_ON).then(|| earlier(&open, time - STRETCH * value(PAUSE, chance.share()))).flatten();
        let (kept, prompt) = match before.map(|place| open.swap_remove(place)) {
            Some(conversation) => {
                let blocks = (conversation.blocks.len() as f64 * value(KEPT, chance.share())).round().max(1.0) as usize;
                let kept: Vec<u64> = conversation.blocks.iter().take(blocks).copied().collect();
                let prompt = kept.len() as f64 * f64::from(PREFIX_TOKENS) + value(NEW, chance.share());
                (kept, prompt)
            }
            None => (vec![0], value(FIRST, chance.share())),
        };
        let mut row = Row::of(prompt.min(LONGEST), value(OUTPUT, chance.share()));
        row.at_s = time;
        let blocks = (row.prompt_tokens / PREFIX_TOKENS) as usize;
        let new = blocks.saturating_sub(kept.len()) as u64;
        row.blocks = kept.into_iter().take(blocks).chain(names..names + new).collect();
        names += new;
        open.push(Open { at_s: time, blocks: row.blocks.clone() });
        rows.push(row);
    }
    rows
}

/// The open conversation that spoke last at about this time.
fn earlier(open: &[Open], at_s: f64) -> Option<usize> {
    let near = |conversation: &Open| (conversation.at_s - at_s).abs();
    let places = 0..open.len();
    places
        .filter(|place| !open[*place].blocks.is_empty())
        .min_by(|one, other| near(&open[*one]).total_cmp(&near(&open[*other])))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use super::*;

    /// Token hit of one cache for all, by its size in tokens.
    fn hit(rows: &[Row], tokens: u64) -> f64 {
        let (mut clock, mut touched, mut order) = (0_u64, HashMap::new(), BTreeMap::new());
        let (mut hits, mut asked) = (0, 0);
        for row in rows {
            let held = row.blocks.iter().take_while(|block| touched.contains_key(*block)).count() as u64;
            hits += (held * u64::from(PREFIX_TOKENS)).min(u64::from(row.prompt_tokens));
            asked += u64::from(row.prompt_tokens);
            for block in row.blocks.iter().rev() {
                clock += 1;
                if let Some(before) = touched.insert(*block, clock) {
                    order.remove(&before);
                }
                order.insert(clock, *block);
                while order.len() as u64 > tokens / u64::from(PREFIX_TOKENS) {
                    order.pop_first().map(|(_, block)| touched.remove(&block));
                }
            }
        }
        hits as f64 / asked as f64
    }

    #[test]
    fn prefixes_come_back_as_often_as_in_the_trace() {
        let bounds =
            [(350_000, 0.03, 0.07), (1_800_000, 0.07, 0.11), (4_000_000, 0.15, 0.22), (20_000_000, 0.31, 0.39)];
        for seed in 0..3 {
            let rows = rows(12_031, &mut Chance::new(seed, "test"));
            let mean = rows.iter().map(|row| f64::from(row.prompt_tokens)).sum::<f64>() / rows.len() as f64;
            assert!((10_900.0..12_900.0).contains(&mean), "mean prompt {mean}");
            let output = rows.iter().map(|row| f64::from(row.output_tokens)).sum::<f64>() / rows.len() as f64;
            assert!((310.0..370.0).contains(&output), "mean output {output}");
            for (tokens, low, high) in bounds {
                let hit = hit(&rows, tokens);
                assert!((low..high).contains(&hit), "seed {seed}, {tokens} tokens: {hit:.3}, not {low} to {high}");
            }
        }
    }
}
