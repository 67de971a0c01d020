//! How long answers are: mean output tokens by route and model, over the whole fleet. An endpoint does not change how much
//! a model says, so nobody has to find it out for each.
//!
//! The mean over all requests of a model serves routes that are new; a route with [`OWN_AFTER`] answers of its own has its
//! own. The first [`SETTLED`] answers weigh alike (with the prior as a quarter of one), later ones move it by one part of
//! that many. Bounded: at [`MOST`] means all are forgotten, since clients may invent names.

use std::collections::HashMap;
use std::sync::Arc;

use crate::endpoint::Rates;
use crate::memory::LearnedOutput;

/// Answers of a route after which it has its own mean.
const OWN_AFTER: f64 = 8.0;
/// Answers that a mean is made of.
const SETTLED: f64 = 64.0;
/// Weight of the prior, in answers.
const PRIOR_WEIGHT: f64 = 0.25;
/// Means kept.
const MOST: usize = 4096;

/// One fading mean.
#[derive(Clone, Copy, Debug)]
struct Mean {
    tokens: f64,
    answers: f64,
}

impl Mean {
    fn new(tokens: f64) -> Mean {
        Mean { tokens, answers: PRIOR_WEIGHT }
    }

    fn add(&mut self, tokens: f64) {
        self.answers = (self.answers + 1.0).min(SETTLED);
        self.tokens += (tokens - self.tokens) / self.answers;
    }
}

/// The means.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    models: HashMap<Arc<str>, Mean>,
    routes: HashMap<(Arc<str>, Arc<str>), Mean>,
}

impl Outputs {
    /// Every mean as it is: of models, and of models by route.
    pub(crate) fn export(&self) -> Vec<LearnedOutput> {
        let told = |route: Option<&Arc<str>>, model: &Arc<str>, mean: &Mean| LearnedOutput {
            route: route.cloned(),
            model: model.clone(),
            tokens: mean.tokens,
            answers: mean.answers,
        };
        let models = self.models.iter().map(|(model, mean)| told(None, model, mean));
        let routes = self.routes.iter().map(|((route, model), mean)| told(Some(route), model, mean));
        let mut all: Vec<LearnedOutput> = models.chain(routes).collect();
        all.sort_by(|one, other| (&one.model, &one.route).cmp(&(&other.model, &other.route)));
        all
    }

    /// Takes over a mean that is not known yet. False if there is no room.
    pub(crate) fn import(&mut self, told: &LearnedOutput) -> bool {
        if self.models.len() + self.routes.len() >= MOST / 2 {
            return false;
        }
        let mean = Mean { tokens: told.tokens, answers: told.answers.clamp(PRIOR_WEIGHT, SETTLED) };
        match &told.route {
            None => self.models.entry(told.model.clone()).or_insert(mean),
            Some(route) => self.routes.entry((route.clone(), told.model.clone())).or_insert(mean),
        };
        true
    }

    /// An answer of a route had this many tokens. The model's mean after it.
    pub(crate) fn add(&mut self, route: &Arc<str>, model: &Arc<str>, tokens: u32) -> f64 {
        if self.models.len() + self.routes.len() >= MOST {
            (self.models, self.routes) = Default::default();
        }
        let tokens = f64::from(tokens);
        let prior = || Mean::new(Rates::default().output_tokens);
        let mean = self.models.entry(model.clone()).or_insert_with(prior);
        let before = mean.tokens;
        mean.add(tokens);
        let all = mean.tokens;
        let own = self.routes.entry((route.clone(), model.clone())).or_insert_with(|| Mean::new(before));
        own.add(tokens);
        all
    }

    /// What a request of the route may expect, where that is known and differs from the model's mean by a tenth.
    pub(crate) fn of_route(&self, route: &Arc<str>, model: &Arc<str>) -> Option<f64> {
        if self.routes.len() <= self.models.len() {
            return None; // no model has two routes
        }
        let own = self.routes.get(&(route.clone(), model.clone())).filter(|own| own.answers >= OWN_AFTER)?;
        let all = self.models.get(model)?;
        ((own.tokens / all.tokens).ln().abs() > 0.1).then_some(own.tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_differs_from_the_rest_once_it_has_shown_so() {
        let mut outputs = Outputs::default();
        let (chat, tags, model) = ("chat".into(), "tags".into(), Arc::from("m"));
        for _ in 0..7 {
            outputs.add(&chat, &model, 400);
            outputs.add(&tags, &model, 10);
        }
        assert_eq!(outputs.of_route(&tags, &model), None, "not yet");
        for _ in 0..50 {
            outputs.add(&chat, &model, 400);
            outputs.add(&tags, &model, 10);
        }
        assert!(outputs.of_route(&tags, &model).is_some_and(|tokens| tokens < 15.0));
        assert!(outputs.of_route(&chat, &model).is_some_and(|tokens| tokens > 380.0));
        assert_eq!(outputs.of_route(&"new".into(), &model), None);
    }

    #[test]
    fn a_single_route_needs_no_mean_of_its_own_and_names_are_bounded() {
        let mut outputs = Outputs::default();
        let route: Arc<str> = "only".into();
        for number in 0..20_000 {
            outputs.add(&route, &Arc::from(format!("model-{number}")), 100);
        }
        assert!(outputs.models.len() + outputs.routes.len() <= MOST);
        let known = outputs.add(&route, &Arc::from("m"), 1000);
        assert!((known - 840.0).abs() < 1.0, "the prior weighs a quarter of an answer: {known}");
        assert_eq!(outputs.of_route(&route, &Arc::from("m")), None);
    }
}
