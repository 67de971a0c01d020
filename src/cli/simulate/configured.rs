//! A checked configuration as the set-up of a simulated proxy: its real pools, routes, aliases and timers.
//!
//! What a simulated request does not have (headers, client keys, a listener of its own) is taken as absent: it comes in
//! by the first listener, and routes that match by headers do not take it.

use std::sync::Arc;

use arriero_core::{PoolSpec, StrategySpec};
use arriero_lab::sim::{Asked, Deployment, Made, Routed, Timers};

use crate::bind::pool_specs;
use crate::config::{Plan, PriorityPlan, RoutePlan};
use crate::reload::PROBE_TIMEOUT;

/// The set-up that a configuration describes.
pub(super) struct Configured {
    plan: Plan,
    /// For each route the place of its strategy in each of its pools.
    places: Vec<Vec<usize>>,
    /// Another strategy for every route than its own.
    instead: Option<Made>,
    /// Every route as if it said `caps: false`.
    uncapped: bool,
}

impl Configured {
    /// The configuration as it is.
    pub(super) fn new(plan: Plan) -> Configured {
        let (_, places) = pool_specs(&plan);
        Configured { plan, places, instead: None, uncapped: false }
    }

    /// The same with this strategy in place of every route's own.
    pub(super) fn with(plan: Plan, strategy: Made, uncapped: bool) -> Configured {
        Configured { instead: Some(strategy), uncapped, ..Configured::new(plan) }
    }

    fn route_of(&self, asked: &Asked<'_>) -> Option<(usize, &RoutePlan)> {
        let listener = self.plan.listeners.first().map_or("", |listener| &*listener.name);
        let routes = self.plan.routes.iter().enumerate();
        let mut fitting =
            routes.filter(|(_, route)| route.matcher.matches(listener, asked.path, Some(asked.model), &|_| None));
        fitting.next()
    }
}

impl Deployment for Configured {
    fn pools(&self) -> Vec<PoolSpec> {
        let (mut pools, _) = pool_specs(&self.plan);
        if let Some(made) = &self.instead {
            for pool in &mut pools {
                pool.shadows.clear();
                let fresh = |_| StrategySpec { module: made.module, strategy: (made.build)() };
                pool.strategies = (0..pool.strategies.len()).map(fresh).collect();
            }
        }
        pools
    }

    fn route(&self, asked: &Asked<'_>) -> Option<Routed> {
        let (place, route) = self.route_of(asked)?;
        let pool = route.pool_for(asked.lot);
        let nth = route.pools.iter().position(|(own, _)| *own == pool)?;
        let model: Arc<str> = asked.model.into();
        let endpoints = self.plan.pools[pool].endpoints.iter();
        let among = endpoints.filter(|endpoint| endpoint.has_labels(&route.among));
        let class = match &route.priority {
            PriorityPlan::Fixed(class) => *class,
            PriorityPlan::Header { range, .. } | PriorityPlan::Body { range, .. } => range.default,
        };
        Some(Routed {
            pool,
            strategy: *self.places.get(place)?.get(nth)?,
            route: route.name.clone(),
            model: route.aliases.get(&model).cloned().unwrap_or(model),
            uncapped: self.uncapped || !route.caps,
            among: (!route.among.is_empty()).then(|| among.map(|endpoint| endpoint.spec.identity.clone()).collect()),
            class,
            retries: self.plan.pools[pool].retry.count,
        })
    }

    fn timers(&self, pool: usize) -> Timers {
        let plan = &self.plan.pools[pool];
        let health = plan.health.as_ref();
        Timers {
            first_byte: plan.timeouts.first_byte,
            between_chunks: plan.timeouts.between_chunks,
            check_every: health.map_or(PROBE_TIMEOUT, |health| health.every),
            check_timeout: health.map_or(PROBE_TIMEOUT, |health| health.timeout),
            poll: plan.poll,
            cut_on_down: plan.cut_on_down,
        }
    }
}
