//! The seam: one balancing rule, chosen per route, driven by the pool under its lock.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::endpoint::{Endpoint, EndpointId, Endpoints};
use crate::event::Event;
use crate::explanation::Compared;
use crate::facts::RequestFacts;
use crate::key::KeySource;
use crate::promises::Promises;
use crate::time::Time;

pub use crate::explanation::{Explanation, Priced, Term};

/// One balancing rule. No I/O, no clock, no randomness of its own.
pub trait Strategy: Send {
    /// What must be known of a request before [`Strategy::pick`] is asked. Asked once, when the strategy is built.
    fn needs(&self) -> Needs {
        Needs::default()
    }

    /// Chooses. Pure: a dry run calls the same method and disturbs nothing.
    fn pick(&self, request: &RequestFacts, cx: &mut Context<'_>) -> Pick;

    /// Learns. All state changes happen here, under the same lock as the pick they follow.
    fn observe(&mut self, _event: &Event<'_>, _cx: &mut Context<'_>) {}

    /// Prompt tokens that the endpoint's prefix cache is believed to hold of a request that starts there: the core's
    /// learning and prices count them as computed already. Asked just before [`Event::Started`].
    fn cached_tokens(&self, _endpoint: &Endpoint, _request: &RequestFacts) -> u32 {
        0
    }

    /// The options in force, defaults filled: two strategies are the same if module and options are equal.
    fn options(&self) -> serde_json::Value;

    /// The module that it goes by now, for a strategy that chooses among modules. Picks are signed with its name.
    fn chosen(&self) -> Option<Chosen> {
        None
    }
}

/// What a strategy that chooses among modules has come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Chosen {
    /// The module.
    pub module: &'static str,
    /// What speaks for it, in a few words.
    pub why: &'static str,
}

/// What a strategy wants to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Needs {
    /// [`Context::endpoints`] also holds candidates without a free slot, and the strategy may answer
    /// [`Pick::WaitFor`]. Otherwise only free ones are shown, and the strategy is not asked when there are none.
    pub full_endpoints: bool,
    /// [`RequestFacts::prompt_blocks`] must be filled.
    pub prompt_blocks: bool,
    /// [`RequestFacts::session`] must be filled.
    pub session: bool,
    /// [`RequestFacts::hash_key`] must be filled, from the first of these that the request has. Empty: it is not used.
    pub keys: Arc<[KeySource]>,
}

impl Needs {
    /// What must be known so that another strategy can run beside (a shadow). Of two that want a key, the first gets its
    /// own. Whose endpoints are shown stays as it is.
    pub fn with(&self, beside: &Needs) -> Needs {
        let keys = if self.keys.is_empty() { &beside.keys } else { &self.keys };
        Needs {
            full_endpoints: self.full_endpoints,
            prompt_blocks: self.prompt_blocks || beside.prompt_blocks,
            session: self.session || beside.session,
            keys: keys.clone(),
        }
    }
}

/// A strategy's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pick {
    /// This endpoint, now. It must be free.
    Endpoint(EndpointId),
    /// This endpoint, though it is full: wait, and count the request as promised to it.
    WaitFor(EndpointId),
    /// Wait for any.
    Wait,
    /// Refuse.
    Reject(Reason),
}

/// Why a request got no endpoint. The proxy turns it into a status and an error body.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Every inventory is known and none has the model: 404.
    UnknownModel,
    /// Endpoints have the model, but none speaks this path: 404 / 501.
    Unsupported,
    /// No endpoint is ready: 503.
    NoneReady {
        /// When to come again, in seconds.
        retry_after: u32,
    },
    /// The pool's queue is full: 429.
    QueueFull {
        /// When to come again, in seconds, from the measured drain rate.
        retry_after: u32,
    },
    /// Waited too long: 503.
    QueueTimeout {
        /// When to come again, in seconds, from the measured drain rate.
        retry_after: u32,
    },
    /// The endpoint that the request is bound to cannot be used, and no other will do: 503.
    PinnedAway {
        /// When to come again, in seconds.
        retry_after: u32,
    },
    /// Every endpoint that could serve it was tried.
    AllTried,
    /// The pool is gone (a reload removed it).
    PoolGone,
    /// The strategy's own words.
    Strategy(Arc<str>),
}

/// What a strategy sees while it picks or observes.
pub struct Context<'a> {
    /// Now.
    pub now: Time,
    /// The pool's generator, seeded.
    pub rng: &'a mut fastrand::Rng,
    /// Every endpoint of the fleet, by id.
    pub table: &'a Endpoints,
    /// Candidates in configuration order: ready, not tried, speaking the path, able to serve the model.
    /// Only the free ones unless [`Needs::full_endpoints`].
    pub candidates: &'a [EndpointId],
    /// The request knows no caps: every candidate is free ([`RequestFacts::uncapped`]).
    pub uncapped: bool,
    /// Waiters behind this one, in this scan of the queue, that are like it: they could take what it leaves.
    pub behind: usize,
    /// Work promised, in this scan of the queue, to endpoints by earlier waiters.
    pub reserved: &'a Promises,
    /// Where to write priced terms; `None` unless someone asked.
    pub explain: Option<&'a mut Explanation>,
    /// Where to write two prices; `None` unless the strategy runs as a shadow. [`crate::cost::Choice`] does it.
    pub compare: Option<&'a mut Compared>,
}

impl<'a> Context<'a> {
    /// The candidates, in configuration order.
    pub fn endpoints(&self) -> impl Iterator<Item = &'a Endpoint> + use<'a> {
        let table = self.table;
        self.candidates.iter().filter_map(move |id| table.get(*id))
    }

    /// The candidates that have a free slot.
    pub fn free(&self) -> impl Iterator<Item = &'a Endpoint> + use<'a> {
        let (now, uncapped) = (self.now, self.uncapped);
        self.endpoints().filter(move |endpoint| endpoint.may_start(now, uncapped))
    }

    /// True if this request may go to the endpoint now: it has a free slot, or the request knows no caps.
    pub fn is_free(&self, endpoint: &Endpoint) -> bool {
        endpoint.may_start(self.now, self.uncapped)
    }

    /// Explains the pick of a strategy that does not price, if someone asked: its words, and the candidates as they are.
    pub fn tell(&mut self, pick: &Pick, words: impl FnOnce(&Context<'a>) -> String) {
        let Some(explanation) = self.explain.take() else { return };
        let picked = match pick {
            Pick::Endpoint(id) | Pick::WaitFor(id) => Some(*id),
            Pick::Wait | Pick::Reject(_) => None,
        };
        let told = self.endpoints().map(|endpoint| Priced {
            picked: Some(endpoint.id) == picked,
            ..Priced::new(endpoint, Vec::new(), self.is_free(endpoint), self.now)
        });
        explanation.candidates = told.collect();
        explanation.summary = words(self);
        self.explain = Some(explanation);
    }

    /// Milliseconds of work promised to `endpoint` by earlier waiters of this scan.
    pub fn reserved_ms(&self, endpoint: EndpointId) -> f64 {
        self.reserved.of(endpoint).ms
    }

    /// Requests promised to `endpoint` by earlier waiters of this scan.
    pub fn reserved_count(&self, endpoint: EndpointId) -> usize {
        self.reserved.of(endpoint).count
    }
}

/// A module: a name, its own options, and how a strategy is built from them.
pub trait Module: Send + Sync + 'static {
    /// The name in YAML, kebab-case.
    const NAME: &'static str;
    /// One line for `arriero modules`.
    const SUMMARY: &'static str;
    /// The module's own options: `deny_unknown_fields`, `default`.
    type Options: DeserializeOwned + Serialize + JsonSchema + Default + Send + 'static;
    /// Checks ranges and builds. The error says what was found and what is allowed.
    fn build(options: Self::Options) -> Result<Box<dyn Strategy>, String>;
}
