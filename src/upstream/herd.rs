//! The fleet behind its lock, with a clock and the wake-ups of waiting requests.
//!
//! Every call locks, runs the sans-I/O fleet, unlocks, and only then wakes those whom the call gave a slot.
//! [`Slot`] and [`Waiting`] are guards: whatever drops them (cancel, panic, retry, reload), the slot comes back.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arriero_core::endpoint::{EngineClass, Health, Inventory};
use arriero_core::{
    EndpointId, Fleet, Grant, Outcome, PathClasses, PoolId, Reason, RequestFacts, Resolution, StrategyId, Submit, Time,
    Usage, WaiterId,
};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use crate::observe::figures::Figures;

/// The fleet, shared.
pub struct Herd {
    start: Instant,
    inner: Mutex<Inner>,
    /// The next deadline came nearer: the ticker looks again.
    nearer: Notify,
    /// How often each endpoint turned down, for those who want to be told.
    cuts: Mutex<HashMap<EndpointId, watch::Sender<u64>>>,
    /// An engine was met that keeps the beginnings of prompts.
    prefixes_count: AtomicBool,
}

/// Changes when an endpoint turns down.
pub type Cuts = watch::Receiver<u64>;

struct Inner {
    fleet: Fleet,
    /// Until when the ticker sleeps.
    ticks_at: Time,
    waiting: HashMap<WaiterId, oneshot::Sender<Result<Grant, Reason>>>,
}

/// The ticker looks at least this often.
const LONGEST_NAP: Duration = Duration::from_secs(1);
/// The ticker's resolution.
const SHORTEST_NAP: Duration = Duration::from_millis(1);

/// What became of a submitted request.
pub enum Admission {
    /// It has a slot.
    Slot(Slot),
    /// It waits in the pool's queue.
    Waiting(Waiting),
    /// It got none.
    Refused(Reason),
}

impl Herd {
    /// An empty fleet; `seed` feeds the strategies' generators.
    pub fn new(seed: u64) -> Arc<Herd> {
        let inner = Inner { fleet: Fleet::new(seed), ticks_at: Time::ZERO, waiting: HashMap::new() };
        Arc::new(Herd {
            start: Instant::now(),
            inner: Mutex::new(inner),
            nearer: Notify::new(),
            cuts: Mutex::default(),
            prefixes_count: AtomicBool::new(false),
        })
    }

    /// True once an engine was met that keeps the beginnings of prompts, by what it is or by what it told: until then nobody
    /// needs their hashes.
    pub fn prefixes_count(&self) -> bool {
        self.prefixes_count.load(Ordering::Relaxed)
    }

    /// What an engine turned out to be.
    pub fn describe(self: &Arc<Self>, id: EndpointId, class: EngineClass, speaks: PathClasses, inventory: Inventory) {
        self.prefixes_count.fetch_or(class == EngineClass::Batching, Ordering::Relaxed);
        self.change(|fleet, now| ((), fleet.describe(now, id, class, speaks, inventory)));
    }

    /// Now, on the fleet's clock.
    pub fn now(&self) -> Time {
        Time(u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// Reads the fleet under its lock.
    pub fn read<R>(&self, look: impl FnOnce(&Fleet) -> R) -> R {
        look(&self.inner.lock().fleet)
    }

    /// Changes the fleet under its lock and wakes whom that gave a slot.
    pub fn change<R>(self: &Arc<Self>, change: impl FnOnce(&mut Fleet, Time) -> (R, Vec<Resolution>)) -> R {
        let (result, woken, turned) = {
            let mut inner = self.inner.lock();
            let (result, resolutions) = change(&mut inner.fleet, self.now());
            self.look_again_if_nearer(&inner);
            (result, inner.senders(resolutions), inner.fleet.turned())
        };
        self.wake(woken);
        self.cut(&turned);
        result
    }

    /// Asks for a slot. `arrival` is the request's own: a retry keeps its place in the queue.
    pub fn submit(
        self: &Arc<Self>,
        pool: PoolId,
        strategy: StrategyId,
        facts: Arc<RequestFacts>,
        arrival: Time,
    ) -> Admission {
        let mut inner = self.inner.lock();
        let submitted = inner.fleet.submit(self.now(), pool, strategy, facts, arrival);
        self.look_again_if_nearer(&inner);
        match submitted {
            Submit::Granted(grant) => Admission::Slot(self.slot(grant)),
            Submit::Rejected(reason) => Admission::Refused(reason),
            Submit::Queued(id) => {
                let (sender, receiver) = oneshot::channel();
                inner.waiting.insert(id, sender);
                Admission::Waiting(Waiting { herd: self.clone(), id, receiver: Some(receiver) })
            }
        }
    }

    /// Runs the fleet's timers (queue timeouts, back-offs) for ever.
    pub async fn tick(self: Arc<Self>) {
        loop {
            let nap = {
                let mut inner = self.inner.lock();
                let (now, longest) = (self.now(), self.now() + LONGEST_NAP);
                inner.ticks_at = inner.fleet.next_deadline().map_or(longest, |at| at.min(longest));
                inner.ticks_at - now
            };
            tokio::select! {
                () = tokio::time::sleep(nap.max(SHORTEST_NAP)) => {}
                () = self.nearer.notified() => {}
            }
            self.change(|fleet, now| ((), fleet.tick(now)));
        }
    }

    /// Tells when the endpoint turns down.
    pub fn cuts(&self, endpoint: EndpointId) -> Cuts {
        let mut cuts = self.cuts.lock().entry(endpoint).or_insert_with(|| watch::channel(0).0).subscribe();
        // it may have turned down since the slot was granted
        if self.read(|fleet| fleet.endpoints().get(endpoint).is_none_or(|endpoint| endpoint.health == Health::Down)) {
            cuts.mark_changed();
        }
        cuts
    }

    /// Ends what runs at these endpoints, where it wants to be ended.
    fn cut(&self, turned: &[EndpointId]) {
        if turned.is_empty() {
            return;
        }
        let mut cuts = self.cuts.lock();
        cuts.retain(|id, sender| {
            if turned.contains(id) {
                sender.send_modify(|times| *times += 1);
            }
            sender.receiver_count() > 0
        });
    }

    fn look_again_if_nearer(&self, inner: &Inner) {
        if inner.fleet.next_deadline().is_some_and(|at| at < inner.ticks_at) {
            self.nearer.notify_one();
        }
    }

    fn slot(self: &Arc<Self>, grant: Grant) -> Slot {
        Slot { herd: self.clone(), grant, ended: false, figures: None }
    }

    fn wake(self: &Arc<Self>, mut woken: Vec<Woken>) {
        while let Some((sender, verdict)) = woken.pop() {
            // A grant whose receiver is gone gives its slot straight back, which may wake others.
            if let Err(Ok(grant)) = sender.send(verdict) {
                drop(self.slot(grant));
            }
        }
    }

    fn finish(self: &Arc<Self>, grant: &Grant, outcome: Outcome, usage: &Usage) {
        if usage.cached_tokens.is_some_and(|cached| cached > 0) && !self.prefixes_count() {
            self.prefixes_count.store(true, Ordering::Relaxed);
        }
        self.change(|fleet, now| ((), fleet.finish(now, grant.ticket, outcome, usage)));
    }
}

type Woken = (oneshot::Sender<Result<Grant, Reason>>, Result<Grant, Reason>);

impl Inner {
    fn senders(&mut self, resolutions: Vec<Resolution>) -> Vec<Woken> {
        let mut woken: Vec<Woken> = resolutions
            .into_iter()
            .filter_map(|resolution| Some((self.waiting.remove(&resolution.waiter)?, resolution.verdict)))
            .collect();
        woken.reverse(); // `wake` pops from the end: first granted, first woken
        woken
    }
}

/// A slot at an endpoint. Dropped without [`Slot::end`], it ends as [`Outcome::ClientGone`].
pub struct Slot {
    herd: Arc<Herd>,
    grant: Grant,
    ended: bool,
    /// Where its end is counted, once it is known where it goes.
    figures: Option<Arc<Figures>>,
}

impl Slot {
    /// Where, and why.
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// The attempt begins: it, and how it ends, is counted there. Begun again, it is a retry on a new connection.
    pub fn begin(&mut self, figures: &Arc<Figures>) {
        if self.figures.is_some() {
            return figures.retries.inc();
        }
        figures.started.inc();
        self.figures = Some(figures.clone());
    }

    /// The first byte of the answer came.
    pub fn first_token(&self) {
        self.herd.change(|fleet, now| {
            fleet.first_token(now, self.grant.ticket);
            ((), Vec::new())
        });
    }

    /// May the request be tried elsewhere after this attempt?
    pub fn may_retry(&self, max_retries: u32) -> bool {
        self.herd.read(|fleet| fleet.may_retry(self.grant.ticket, max_retries))
    }

    /// Gives the slot back.
    pub fn end(mut self, outcome: Outcome, usage: &Usage) {
        self.close(outcome, usage);
    }

    fn close(&mut self, outcome: Outcome, usage: &Usage) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        if let Some(figures) = self.figures.take() {
            figures.ended(outcome);
        }
        self.herd.finish(&self.grant, outcome, usage);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.close(Outcome::ClientGone, &Usage::default());
    }
}

/// A place in the queue. Dropped, it leaves the queue.
pub struct Waiting {
    herd: Arc<Herd>,
    id: WaiterId,
    receiver: Option<oneshot::Receiver<Result<Grant, Reason>>>,
}

impl Waiting {
    /// Waits for the slot. Cancel-safe: what the future holds comes back when it is dropped.
    pub async fn slot(&mut self) -> Result<Slot, Reason> {
        let Some(receiver) = self.receiver.as_mut() else { return Err(Reason::PoolGone) };
        let verdict = receiver.await.unwrap_or(Err(Reason::PoolGone));
        self.receiver = None;
        verdict.map(|grant| self.herd.slot(grant))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Some(mut receiver) = self.receiver.take() else { return };
        receiver.close();
        if let Ok(Ok(grant)) = receiver.try_recv() {
            drop(self.herd.slot(grant));
        }
        self.herd.change(|fleet, now| ((), fleet.cancel(now, self.id)));
        self.herd.inner.lock().waiting.remove(&self.id);
    }
}
