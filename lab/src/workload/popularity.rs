//! What requests ask for: the models' shares, and how often a request repeats the one before.

use serde::{Deserialize, Serialize};

use super::chance::Chance;

/// The models' shares.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PopularitySpec {
    /// Shares proportional to 1 / rank^zipf.
    #[serde(default)]
    pub zipf: Option<f64>,
    /// Shares of groups of ranks, from the most popular on; instead of `zipf`.
    #[serde(default)]
    pub tiers: Vec<Tier>,
    /// The models in order of popularity, by their places; left out: in order.
    #[serde(default)]
    pub order: Vec<usize>,
    /// Chance that a request asks for the model of the request before, 0-1.
    #[serde(default)]
    pub repeat: f64,
}

/// Some ranks that share a part of the requests.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// How many.
    pub ranks: usize,
    /// Their part together, 0-1.
    pub share: f64,
    /// Within, shares go by 1 / rank^slope, the rank counted from the most popular of all.
    #[serde(default)]
    pub slope: f64,
}

impl PopularitySpec {
    pub(crate) fn check(&self, models: usize) -> Result<(), String> {
        let ranks: usize = self.tiers.iter().map(|tier| tier.ranks).sum();
        if !self.tiers.is_empty() && (ranks != models || self.zipf.is_some()) {
            return Err(format!(
                "popularity: tiers have {ranks} ranks, {models} models are served, and zipf is no tier"
            ));
        }
        let mut places = self.order.clone();
        places.sort_unstable();
        if !self.order.is_empty() && !places.into_iter().eq(0..models) {
            return Err(format!("popularity: the order must name each of {models} models once"));
        }
        if !(0.0..1.0).contains(&self.repeat) {
            return Err(format!("popularity: repeat is {}, not within 0-1", self.repeat));
        }
        Ok(())
    }

    /// Each model's share, by its place.
    pub fn shares(&self, models: usize) -> Vec<f64> {
        let mut ranked: Vec<f64> = Vec::with_capacity(models);
        for tier in &self.tiers {
            let of_rank = |rank: usize| (rank as f64).powf(-tier.slope);
            let first = ranked.len() + 1;
            let sum: f64 = (first..first + tier.ranks).map(of_rank).sum();
            ranked.extend((first..first + tier.ranks).map(|rank| tier.share * of_rank(rank) / sum));
        }
        if ranked.is_empty() {
            ranked.extend((1..=models).map(|rank| (rank as f64).powf(-self.zipf.unwrap_or(0.0))));
        }
        let sum: f64 = ranked.iter().sum();
        let mut shares = vec![0.0; models];
        for (rank, share) in ranked.into_iter().enumerate() {
            shares[self.order.get(rank).copied().unwrap_or(rank)] = share / sum;
        }
        shares
    }

    pub(super) fn draw(&self, shares: &[f64], count: usize, chance: &mut Chance) -> Vec<usize> {
        let sums: Vec<f64> = shares
            .iter()
            .scan(0.0, |sum, share| {
                *sum += share;
                Some(*sum)
            })
            .collect();
        let mut last = None;
        let mut next = || {
            if let Some(model) = last.filter(|_| chance.share() < self.repeat) {
                return model;
            }
            let lot = chance.share();
            let model = sums.partition_point(|sum| *sum <= lot).min(shares.len() - 1);
            last = Some(model);
            model
        };
        (0..count).map(|_| next()).collect()
    }
}
