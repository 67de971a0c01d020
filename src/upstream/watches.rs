//! Engine watches: one task per endpoint that asks the engine about itself and tells the fleet.
//!
//! A reload starts watches for endpoints that joined, stops those of endpoints that left, and restarts one whose way
//! of asking changed (key, headers, TLS, engine, pace). All else goes on undisturbed. Questions go to the address that
//! traffic goes to, and a question that gets no connection counts against it as traffic would.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use arriero_core::endpoint::State;
use arriero_core::{EndpointId, Inventory, Verdicts};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;

use super::address::{Address, Names};
use super::herd::Herd;
use crate::engine::{self, Description, EngineKind, Limits, Lists, Load, Steer, Target};

/// What a watch needs to know; equal = nothing to restart.
#[derive(Clone, PartialEq)]
pub struct WatchSpec {
    /// Where and how to ask.
    pub target: Target,
    /// What the engine is said to be.
    pub kind: EngineKind,
    /// How often to ask.
    pub limits: Limits,
    /// How long a resolved address is trusted at most.
    pub resolve: Duration,
    /// What logs call the endpoint.
    pub name: Arc<str>,
}

/// What an engine said of itself, kept for merged lists and the admin API.
#[derive(Clone, Default)]
pub struct Heard {
    /// What it is.
    pub description: Option<Description>,
    /// The same in one line.
    pub summary: String,
    /// Its lists, as they came.
    pub lists: Lists,
    /// Entries of `/api/ps`, as they came.
    pub ps: Vec<Value>,
    /// Why the last check failed; empty if it passed.
    pub trouble: String,
}

/// All watches, and what they heard.
#[derive(Default)]
pub struct Watches {
    running: Mutex<HashMap<EndpointId, Running>>,
    heard: Arc<Mutex<HashMap<EndpointId, Heard>>>,
}

struct Running {
    spec: WatchSpec,
    address: Arc<Address>,
    /// Dropped: the watch ends.
    steer: Steer,
    /// Dropped: nobody looks after the address any more.
    _stop: watch::Sender<bool>,
}

impl Watches {
    /// Makes the running watches those of `wanted`.
    pub fn become_these(&self, herd: &Arc<Herd>, wanted: Vec<(EndpointId, WatchSpec, Arc<Address>)>) {
        let mut running = self.running.lock();
        let keep: HashSet<EndpointId> = wanted.iter().map(|(id, ..)| *id).collect();
        running.retain(|id, _| keep.contains(id)); // what is dropped ends its tasks
        self.heard.lock().retain(|id, _| keep.contains(id));
        for (id, spec, address) in wanted {
            let unchanged =
                running.get(&id).is_some_and(|watch| watch.spec == spec && Arc::ptr_eq(&watch.address, &address));
            if !unchanged {
                running.insert(id, self.start(herd, id, spec, address));
            }
        }
    }

    /// Lets the watch rest while its endpoint is in maintenance, and wakes it when that is over. What the fleet says is read
    /// under the lock, so that of two orders the last one counts.
    pub fn follow(&self, herd: &Herd, id: EndpointId) {
        let running = self.running.lock();
        let rests = herd.read(|fleet| fleet.endpoints().get(id).is_some_and(|endpoint| endpoint.state == State::Maint));
        if let Some(watch) = running.get(&id) {
            watch.steer.rest(rests);
        }
    }

    /// A request failed at the endpoint: its next check is due soon.
    pub fn request_failed(&self, id: EndpointId) {
        if let Some(watch) = self.running.lock().get(&id) {
            watch.steer.request_failed();
        }
    }

    /// What the engine at `id` said of itself.
    pub fn heard<R>(&self, id: EndpointId, look: impl FnOnce(&Heard) -> R) -> Option<R> {
        self.heard.lock().get(&id).map(look)
    }

    fn start(&self, herd: &Arc<Herd>, id: EndpointId, spec: WatchSpec, address: Arc<Address>) -> Running {
        self.heard.lock().entry(id).or_default();
        let (steer, steered) = engine::steer();
        let sink = Arc::new(ToFleet { herd: herd.clone(), heard: self.heard.clone(), id, name: spec.name.clone() });
        let place = Some(address.clone() as Arc<dyn engine::Place>);
        let watch = engine::watch(spec.target.clone(), place, spec.kind, spec.limits.clone(), sink, steered);
        tokio::spawn(watch);
        let fresh = address.clone().keep_fresh(Names::System, spec.resolve);
        let (stop, mut stopped) = watch::channel(false);
        tokio::spawn(async move {
            tokio::select! {
                () = fresh => {}
                _ = stopped.wait_for(|stop| *stop) => {}
            }
        });
        Running { spec, address, steer, _stop: stop }
    }
}

/// Passes on what one engine says.
struct ToFleet {
    herd: Arc<Herd>,
    heard: Arc<Mutex<HashMap<EndpointId, Heard>>>,
    id: EndpointId,
    name: Arc<str>,
}

impl engine::Sink for ToFleet {
    fn described(&self, description: Description, inventory: Inventory, lists: Lists) {
        let models = match &inventory {
            Inventory::Known(models) => format!("{} models", models.len()),
            Inventory::Any => "any model".to_owned(),
            Inventory::Unknown => "models unknown".to_owned(),
        };
        let version = description.version.as_ref().map_or(String::new(), |version| format!(" {version}"));
        let summary = format!("{}{version}, {models}", description.kind);
        {
            let mut heard = self.heard.lock();
            let Some(heard) = heard.get_mut(&self.id) else { return }; // the endpoint is gone
            if heard.summary != summary {
                log::info!("{}: {summary}", self.name);
            }
            *heard = Heard { description: Some(description.clone()), lists, summary, ..std::mem::take(heard) };
        }
        self.herd.describe(self.id, description.class, description.speaks, inventory);
    }

    fn probed(&self, ok: bool, why: &str) -> Verdicts {
        let changed = {
            let mut heard = self.heard.lock();
            let Some(heard) = heard.get_mut(&self.id) else { return Verdicts::Settled }; // the endpoint is gone
            let changed = heard.trouble != why;
            heard.trouble = why.to_owned();
            changed
        };
        if changed && !ok {
            log::warn!("{}: check failed: {why}", self.name);
        } else if changed {
            log::info!("{}: check passed", self.name);
        }
        self.herd.change(|fleet, now| {
            let resolutions = fleet.probed(now, self.id, ok);
            (fleet.verdicts(self.id), resolutions)
        })
    }

    fn sampled(&self, load: Load) {
        if let Some(heard) = self.heard.lock().get_mut(&self.id) {
            heard.ps.clone_from(&load.ps);
        }
        let sample = load.into_sample(self.herd.now());
        self.herd.change(|fleet, now| ((), fleet.sample(now, self.id, sample)));
    }
}
