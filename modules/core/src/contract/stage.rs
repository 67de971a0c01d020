//! A tiny fleet around one strategy, for the contract and for the modules' own tests: endpoints built by hand, a clock
//! set by hand, events in the pool's order. It has no queue, no health and no learning; the fleet has those.

use std::sync::Arc;
use std::time::Duration;

use crate::company::Company;
use crate::cost;
use crate::endpoint::{Endpoint, EndpointId, EndpointSpec, Endpoints, Health, Inventory, Job};
use crate::event::{Event, Outcome, Usage};
use crate::facts::RequestFacts;
use crate::promises::Promises;
use crate::strategy::{Context, Explanation, Module, Pick, Strategy};
use crate::time::Time;

/// One strategy and the endpoints it chooses from.
pub struct Stage {
    /// Now; moves only by hand.
    pub now: Time,
    /// The endpoints, to change at will.
    pub endpoints: Endpoints,
    /// Their ids in configuration order.
    pub order: Vec<EndpointId>,
    /// Work promised to endpoints by earlier waiters: (endpoint, milliseconds).
    pub reserved: Vec<(EndpointId, f64)>,
    /// Waiters behind the request, and like it.
    pub behind: usize,
    strategy: Box<dyn Strategy>,
    rng: fastrand::Rng,
}

/// An endpoint that is up, has weight 1, serves any model and has the given cap.
pub fn endpoint(name: &str, max_in_flight: Option<u32>) -> Endpoint {
    let spec =
        EndpointSpec { identity: name.into(), name: name.into(), weight: 1, max_in_flight, ..EndpointSpec::default() };
    Endpoint { spec, health: Health::Up, inventory: Inventory::Any, ..Endpoint::default() }
}

/// A streamed request for `model` with a prompt of the given length.
pub fn request(model: &str, prompt_tokens: u32) -> RequestFacts {
    RequestFacts { model: Some(model.into()), prompt_tokens, stream: true, ..RequestFacts::default() }
}

impl Stage {
    /// An empty stage. Panics if the module refuses the options.
    pub fn new<M: Module>(options: M::Options, seed: u64) -> Stage {
        let strategy = M::build(options).unwrap_or_else(|refusal| panic!("{}: options refused: {refusal}", M::NAME));
        Stage {
            now: Time::ZERO,
            endpoints: Endpoints::default(),
            order: Vec::new(),
            reserved: Vec::new(),
            behind: 0,
            strategy,
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// The strategy itself.
    pub fn strategy(&self) -> &dyn Strategy {
        self.strategy.as_ref()
    }

    /// Adds an endpoint and tells the strategy.
    pub fn join(&mut self, endpoint: Endpoint) -> EndpointId {
        let id = self.endpoints.insert(endpoint);
        self.order.push(id);
        self.tell(&Event::Membership { joined: &[id], left: &[] });
        id
    }

    /// Removes an endpoint with all its jobs and tells the strategy: first the jobs' ends, then the leaving.
    pub fn leave(&mut self, id: EndpointId) {
        while self.end(id) {}
        self.order.retain(|known| *known != id);
        self.endpoints.remove(id);
        self.tell(&Event::Membership { joined: &[], left: &[id] });
    }

    /// Lets time pass.
    pub fn pass(&mut self, span: Duration) {
        self.now = self.now + span;
    }

    /// The endpoints that the pool would show: with weight, and free unless the strategy wants the full ones too.
    pub fn candidates(&self) -> Vec<EndpointId> {
        self.candidates_for(self.strategy.needs().full_endpoints)
    }

    /// Those that it would show for a request: all that have weight if the request knows no caps.
    pub fn shown(&self, request: &RequestFacts) -> Vec<EndpointId> {
        self.candidates_for(request.uncapped || self.strategy.needs().full_endpoints)
    }

    fn candidates_for(&self, full_too: bool) -> Vec<EndpointId> {
        let shown = |endpoint: &Endpoint| endpoint.spec.weight > 0 && (full_too || endpoint.is_free(self.now));
        self.order.iter().copied().filter(|id| self.endpoints.get(*id).is_some_and(shown)).collect()
    }

    /// A dry run among the usual candidates: changes nothing.
    pub fn pick(&self, request: &RequestFacts) -> Pick {
        self.pick_among(request, &self.shown(request), None)
    }

    /// A dry run with its priced terms.
    pub fn explain(&self, request: &RequestFacts) -> (Pick, Explanation) {
        let mut explanation = Explanation::default();
        let pick = self.pick_among(request, &self.shown(request), Some(&mut explanation));
        (pick, explanation)
    }

    /// A dry run among the given candidates.
    pub fn pick_among(
        &self,
        request: &RequestFacts,
        candidates: &[EndpointId],
        explain: Option<&mut Explanation>,
    ) -> Pick {
        let mut cx = Context {
            now: self.now,
            rng: &mut self.rng.clone(),
            table: &self.endpoints,
            candidates,
            uncapped: request.uncapped,
            behind: self.behind,
            reserved: &self.reserved.iter().copied().collect(),
            explain,
            compare: None,
        };
        self.strategy.pick(request, &mut cx)
    }

    /// Picks and, if the answer is a free endpoint, starts the request there. Draws from the stage's generator.
    pub fn start(&mut self, request: &RequestFacts) -> Pick {
        let candidates = self.shown(request);
        let mut cx = Context {
            now: self.now,
            rng: &mut self.rng,
            table: &self.endpoints,
            candidates: &candidates,
            uncapped: request.uncapped,
            behind: self.behind,
            reserved: &self.reserved.iter().copied().collect(),
            explain: None,
            compare: None,
        };
        let pick = self.strategy.pick(request, &mut cx);
        if let Pick::Endpoint(id) = pick {
            self.start_at(id, &Arc::new(request.clone()));
        }
        pick
    }

    /// Starts a request on an endpoint, as the strategy's own pick.
    pub fn start_at(&mut self, id: EndpointId, request: &Arc<RequestFacts>) {
        if let Some(endpoint) = self.endpoints.get_mut(id) {
            let cached = self.strategy.cached_tokens(endpoint, request);
            let job = hold(endpoint, request, self.now, cached);
            endpoint.jobs.push(job);
            endpoint.last_pick = self.now;
        }
        self.tell(&Event::Started { endpoint: id, request, mine: true });
    }

    /// Ends the oldest job of an endpoint as complete; false if it has none. A cold job's model is resident then.
    pub fn end(&mut self, id: EndpointId) -> bool {
        let Some(endpoint) = self.endpoints.get_mut(id).filter(|endpoint| !endpoint.jobs.is_empty()) else {
            return false;
        };
        let job = endpoint.jobs.remove(0);
        if let Some(state) = job.local.as_ref().and_then(|local| endpoint.models.get_mut(local)) {
            (state.loading, state.resident, state.last_used) = (false, true, self.now);
        }
        let (outcome, usage) = (Outcome::Complete, Usage::default());
        self.tell(&Event::Ended { endpoint: id, request: &job.request, outcome, usage: &usage, mine: true });
        true
    }

    /// Tells the strategy of an event. As in a pool, the candidates are then all endpoints, whatever a pick was shown.
    pub fn tell(&mut self, event: &Event<'_>) {
        let mut cx = Context {
            now: self.now,
            rng: &mut self.rng,
            table: &self.endpoints,
            candidates: &self.order,
            uncapped: false,
            behind: 0,
            reserved: Promises::NONE,
            explain: None,
            compare: None,
        };
        self.strategy.observe(event, &mut cx);
    }
}

/// The job of a request that takes a slot now. A model that is known here but not resident begins to load.
fn hold(endpoint: &mut Endpoint, request: &Arc<RequestFacts>, now: Time, cached: u32) -> Job {
    let work_ms = cost::work_ms(endpoint, request);
    let local = request.model.clone().map(|model| endpoint.local_name(&model).cloned().unwrap_or(model));
    let state = local.as_ref().and_then(|local| endpoint.models.get_mut(local));
    let cold = state.is_some_and(|state| {
        let cold = !state.resident || state.runner_key != request.runner_key;
        if cold {
            (state.loading, state.resident, state.since, state.runner_key) = (true, false, now, request.runner_key);
        }
        cold
    });
    let (first_token, company, prompt_company) = (None, Company::default(), None);
    Job { request: request.clone(), local, started: now, first_token, work_ms, cold, cached, company, prompt_company }
}
