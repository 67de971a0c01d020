//! How much of the prompts was asked before: what a prefix cache could save at most.
//!
//! Every prompt's leading blocks are looked up among those of earlier prompts; `share` is a moving average over tokens of
//! blocks found to blocks seen. The very first block is left out: a system prompt that all have in common is cached
//! everywhere, and tells no endpoint from another. Two generations of [`GENERATION`] blocks (256 tokens each) bound it: about
//! what two large engines cache. Prompts without blocks (not fed, or shorter than two) count as not shared.

use std::collections::HashSet;

use arriero_core::{BLOCK_TOKENS, RequestFacts};

/// Blocks of one generation.
const GENERATION: usize = 16_384;
/// Prompt tokens after which a share has moved by about 63 %.
const MEMORY: f64 = 500_000.0;
/// Prompt tokens that must have been seen before the share says anything.
const ENOUGH: f64 = 200_000.0;

/// Blocks seen, and the share of those that were seen before.
#[derive(Debug, Default)]
pub(crate) struct Sharing {
    young: HashSet<u64>,
    old: HashSet<u64>,
    share: f64,
    tokens: f64,
}

impl Sharing {
    /// A request starts.
    pub(crate) fn started(&mut self, request: &RequestFacts) {
        let blocks = request.prompt_blocks.get(1..).unwrap_or_default();
        let tokens = f64::from(request.prompt_tokens).max(1.0);
        let known = blocks.iter().take_while(|block| self.young.contains(*block) || self.old.contains(*block)).count();
        let share = (known as f64 * f64::from(BLOCK_TOKENS) / tokens).min(1.0);
        self.tokens += tokens;
        let step = 1.0 - (-tokens / MEMORY.min(self.tokens)).exp();
        self.share += step * (share - self.share);
        if self.young.len() + blocks.len() > GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.extend(blocks);
    }

    /// The share, 0 to 1; 0 while too little was seen.
    pub(crate) fn share(&self) -> f64 {
        if self.tokens < ENOUGH { 0.0 } else { self.share }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(blocks: impl Iterator<Item = u64>) -> RequestFacts {
        let mut facts = RequestFacts::default();
        facts.prompt_blocks = blocks.collect();
        facts.prompt_tokens = 256 * facts.prompt_blocks.len() as u32;
        facts
    }

    #[test]
    fn talks_that_go_on_share_a_common_system_prompt_does_not() {
        let (mut talks, mut strangers) = (Sharing::default(), Sharing::default());
        for turn in 1..=200 {
            talks.started(&prompt((0..20).map(|place| place + 1000 * (turn / 4))));
            strangers.started(&prompt((0..20).map(|place| if place == 0 { 0 } else { place + 1000 * turn })));
        }
        assert!((0.6..0.8).contains(&talks.share()), "{}", talks.share());
        assert_eq!(strangers.share(), 0.0);
    }

    #[test]
    fn little_proves_nothing_and_memory_is_bounded() {
        let mut sharing = Sharing::default();
        (0..10).for_each(|_| sharing.started(&prompt(0..20)));
        assert_eq!(sharing.share(), 0.0);
        (0..100_000).for_each(|turn| sharing.started(&prompt((0..8).map(|place| place + 8 * turn))));
        assert!(sharing.young.len() + sharing.old.len() <= 2 * GENERATION + 8);
    }
}
