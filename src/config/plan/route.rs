//! The plan of a route: what it takes, which pool of several by weight, who may use it, and how an endpoint is chosen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arriero_core::{KeySource, Strategy};

use super::PriorityPlan;
use crate::config::matcher::Matcher;

/// One route.
#[derive(Clone, Debug)]
pub struct RoutePlan {
    /// Its name: the configured one, else its match in words.
    pub name: Arc<str>,
    /// Its identity over reloads: the configured name, else a hash of its match.
    pub identity: Arc<str>,
    /// What it takes.
    pub matcher: Matcher,
    /// Its pools: the place in [`super::Plan::pools`], and its share of the requests. Never empty, never all 0.
    pub pools: Vec<(usize, u32)>,
    /// Only endpoints with all these labels are candidates; empty = all. In each pool there is one, at least.
    pub among: BTreeMap<String, String>,
    /// False: `max_in_flight` is not asked, nobody waits for a slot.
    pub caps: bool,
    /// Which clients may use it.
    pub clients: ClientsPlan,
    /// How an endpoint is chosen.
    pub balance: BalancePlan,
    /// What would have been chosen otherwise: asked, counted, never followed.
    pub shadow: Option<BalancePlan>,
    /// Who waits before whom.
    pub priority: PriorityPlan,
    /// What keeps requests at the endpoint that served an earlier one; `None` = nothing but stateful ids.
    pub affinity: Option<AffinityPlan>,
    /// Model names that clients use -> the names that endpoints know.
    pub aliases: BTreeMap<Arc<str>, Arc<str>>,
    /// Families of engine control endpoints that are let through; names of [`crate::dialect::allow_names`].
    pub allow: BTreeSet<&'static str>,
    /// The model of a request that names none.
    pub default_model: Option<Arc<str>>,
}

impl RoutePlan {
    /// The pool of one request, as a place in [`super::Plan::pools`]: `random` is any number, its remainder decides.
    pub fn pool_for(&self, random: u64) -> usize {
        let total: u64 = self.pools.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut rest = random.checked_rem(total).unwrap_or(0);
        for (pool, weight) in &self.pools {
            match rest.checked_sub(u64::from(*weight)) {
                Some(more) => rest = more,
                None => return *pool,
            }
        }
        self.pools.first().map_or(0, |(pool, _)| *pool)
    }
}

/// Which clients may use a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientsPlan {
    /// Every one with a key; everyone where there is no [`super::Plan::auth`].
    #[default]
    Known,
    /// These.
    Only(BTreeSet<Arc<str>>),
    /// Everyone, no key is asked for.
    Public,
}

/// What keeps requests at one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AffinityPlan {
    /// How an endpoint is remembered.
    pub by: AffinityBy,
    /// True: a request whose endpoint cannot be used is refused; false: it goes elsewhere, and stays there.
    pub hard: bool,
}

/// How an endpoint is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AffinityBy {
    /// In a table: a key of the request -> the endpoint that served it.
    Keys {
        /// Where the key comes from: the first that the request has.
        by: Arc<[KeySource]>,
        /// A key that nobody used for this long is forgotten.
        ttl: Duration,
        /// Most keys; the longest unused goes first.
        entries: usize,
    },
    /// In a cookie that the answer sets.
    Cookie {
        /// Its name.
        name: Arc<str>,
        /// Its Max-Age; `None` = until the browser ends.
        ttl: Option<Duration>,
    },
}

/// Makes a new strategy, as often as it is asked.
pub type BuildStrategy = Arc<dyn Fn() -> Box<dyn Strategy> + Send + Sync>;

/// A module with its options.
#[derive(Clone)]
pub struct BalancePlan {
    /// The module's name.
    pub module: &'static str,
    /// Its options, defaults filled: equal options of an equal module are the same strategy.
    pub options: serde_json::Value,
    /// Makes the strategy.
    pub build: BuildStrategy,
    /// Why this module: `configured`, or what `auto` saw in the pool.
    pub why: String,
}

impl fmt::Debug for BalancePlan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {} ({})", self.module, self.options, self.why)
    }
}
