//! Deterministic words: the same request always gets the same text, token by token.

/// One token each, in the manner of a tokenizer that keeps the space in front.
const WORDS: [&str; 48] = [
    " the", " mule", " driver", " walks", " ahead", " of", " his", " herd", " and", " each", " animal", " knows",
    " its", " load", " over", " stone", " river", " pass", " slowly", " toward", " morning", " where", " grass",
    " grows", " a", " bell", " rings", " once", " then", " twice", " dust", " settles", " on", " saddle", " rope",
    " water", " bread", " under", " high", " snow", " every", " road", " bends", " but", " nobody", " hurries", ",",
    ".",
];

/// Text of one reply, by token index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words {
    seed: u64,
}

impl Words {
    /// The text that belongs to this model and prompt.
    pub(crate) fn of(model: &str, prompt: &str) -> Words {
        let seed =
            xxhash_rust::xxh3::xxh3_64_with_seed(prompt.as_bytes(), xxhash_rust::xxh3::xxh3_64(model.as_bytes()));
        Words { seed }
    }

    /// An identifier of the reply.
    pub(crate) fn id(&self) -> String {
        format!("{:016x}", self.seed)
    }

    /// The token at `index`; the first has no space in front.
    pub(crate) fn token(&self, index: u32) -> &'static str {
        let mixed =
            (self.seed ^ u64::from(index).wrapping_mul(0x9E37_79B9_7F4A_7C15)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let word = WORDS[((mixed >> 40) % WORDS.len() as u64) as usize];
        if index == 0 { word.trim_start() } else { word }
    }

    /// The first `tokens` tokens as one text.
    pub(crate) fn text(&self, tokens: u32) -> String {
        (0..tokens).map(|index| self.token(index)).collect()
    }

    /// A unit-free vector of `length` numbers between -1 and 1.
    pub(crate) fn vector(&self, length: usize) -> Vec<f64> {
        let mut random = fastrand::Rng::with_seed(self.seed);
        (0..length).map(|_| ((random.f64() * 2.0 - 1.0) * 1e6).round() / 1e6).collect()
    }
}

/// Tokens of a text: four bytes each, at least one for any text.
pub(crate) fn tokens_of(text: &str) -> u32 {
    u32::try_from(text.len().div_ceil(4)).unwrap_or(u32::MAX)
}
