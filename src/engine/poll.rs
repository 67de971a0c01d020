//! Watches one engine: finds out what it is, then asks for its health, load and models, each at its own pace, and tells
//! a [`Sink`]. The pace of checks goes by their verdicts, and a failed request brings the next one forward. After a
//! failed check the engine is detected anew: another may sit there by then. With a check of the operator's, that one
//! alone says whether it is well. A watch that rests asks nothing at all.

use std::sync::Arc;
use std::time::Duration;

use arriero_core::Verdicts;
use arriero_core::endpoint::{Inventory, ResidentModel};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::engine::pace::{Limits, Pace};
use crate::engine::probe::{Probe, ProbeError};
use crate::engine::steer::Steered;
use crate::engine::{Description, Engine, EngineKind, Lists, Load, Place, Target, check, detect};

/// Pace of load samples from engines that tell how many requests they run or queue.
const POLL_GAUGE: Duration = Duration::from_millis(500);
/// Pace of load samples from the others.
const POLL_PLAIN: Duration = Duration::from_secs(2);

/// Who wants to know. Called from the watching task; must not block.
pub trait Sink: Send + Sync {
    /// What the engine is and has: once detected, and whenever its inventory or lists changed. (llama.cpp dates its
    /// entries with the present time, so its lists are news at every inventory.)
    fn described(&self, description: Description, inventory: Inventory, lists: Lists);

    /// One health check; `why` is empty if it passed. Rise and fall are the sink's to count: it answers what the
    /// verdicts came to, and the pace goes by that.
    fn probed(&self, ok: bool, why: &str) -> Verdicts;

    /// A load report, taken now.
    fn sampled(&self, load: Load);
}

/// Watches until the other end of `steered` is dropped. `place` leads the questions to where traffic goes.
pub async fn watch(
    target: Target,
    place: Option<Arc<dyn Place>>,
    kind: EngineKind,
    limits: Limits,
    sink: Arc<dyn Sink>,
    mut steered: Steered,
) {
    let mut watch = match Probe::new(&target, place) {
        Ok(probe) => Ok(Watch::new(probe, kind, limits, sink, &target.url, steered.failures())),
        Err(error) => {
            log::error!("{target:?}: {error}");
            if limits.health {
                sink.probed(false, &error.to_string());
            }
            Err(error)
        }
    };
    while steered.awake().await {
        let asking = async {
            match &mut watch {
                Ok(watch) => watch.run().await,
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            () = asking => {}
            goes_on = steered.resting() => if !goes_on { return },
        }
    }
}

struct Watch {
    probe: Probe,
    kind: EngineKind,
    limits: Limits,
    sink: Arc<dyn Sink>,
    pace: Pace,
    failures: Arc<Notify>,
    known: Option<Known>,
}

/// An engine that was detected, and what it last said.
struct Known {
    description: Description,
    engine: Box<dyn Engine>,
    inventory: Inventory,
    lists: Lists,
    /// Residents that the last inventory did not list: they call for a new one only once.
    strangers: Vec<Arc<str>>,
}

impl Known {
    /// True if nothing but an answer of some kind speaks for what it is taken for: a gateway whose engine is not there
    /// yet looks the same.
    fn is_guess(&self) -> bool {
        self.description.kind == EngineKind::OpenAi && self.inventory == Inventory::Any
    }

    fn says_the_same(&self, other: &Known) -> bool {
        (&self.description, &self.inventory, &self.lists) == (&other.description, &other.inventory, &other.lists)
    }
}

impl Watch {
    fn new(
        probe: Probe,
        kind: EngineKind,
        limits: Limits,
        sink: Arc<dyn Sink>,
        url: &str,
        failures: Arc<Notify>,
    ) -> Watch {
        let pace = Pace::new(limits.paces(), url);
        Watch { probe, kind, limits, sink, pace, failures, known: None }
    }

    /// Asks for ever. Begins with a check, and knows nothing then: so it is after a rest, too.
    async fn run(&mut self) {
        self.known = None;
        self.pace.restart();
        let mut next_health = Instant::now() + self.pace.start();
        let mut next_sample = next_health;
        let mut next_inventory = next_health;
        loop {
            let next =
                if self.known.is_some() { next_health.min(next_sample).min(next_inventory) } else { next_health };
            tokio::select! {
                () = sleep_until(next) => {}
                () = self.failures.notified() => {
                    next_health = next_health.min(Instant::now() + self.pace.after_failure());
                    continue;
                }
            }
            let now = Instant::now();
            if now >= next_health {
                let (is_news, verdicts) = self.health_turn().await;
                if is_news {
                    next_inventory = now + self.limits.inventory;
                    next_sample = now;
                }
                next_health = Instant::now() + self.pace.step(verdicts);
            }
            if self.known.is_some() && now >= next_inventory {
                self.inventory_turn().await;
                next_inventory = Instant::now() + self.limits.inventory;
            }
            if now >= next_sample
                && let Some(poll) = self.poll_pace()
            {
                if self.sample_turn().await {
                    next_inventory = Instant::now();
                }
                next_sample = Instant::now() + poll;
            }
        }
    }

    /// Checks the engine, and detects it if it is not known. True if it was detected just now.
    async fn health_turn(&mut self) -> (bool, Verdicts) {
        let was_known = self.known.is_some();
        let outcome = self.check().await;
        if let Err(error) = &outcome {
            self.lose(error);
        }
        let is_news = !was_known && self.known.is_some();
        if !self.limits.health {
            return (is_news, Verdicts::Settled);
        }
        let why = outcome.as_ref().err().map(ToString::to_string).unwrap_or_default();
        (is_news, self.sink.probed(outcome.is_ok(), &why))
    }

    /// Is it well? An engine that is not known is well if it can be told what it is, unless the operator's own check
    /// says so: then it is asked on the side, and stays unknown for now if it does not tell.
    async fn check(&mut self) -> Result<(), ProbeError> {
        if let Some(own) = self.limits.check.as_ref().filter(|_| self.limits.health) {
            check::ask(&self.probe, own).await?;
            if self.known.is_none()
                && let Err(error) = self.detect().await
            {
                log::debug!("{}: not detected: {error}", self.kind);
            }
            return Ok(());
        }
        match &self.known {
            Some(known) if self.limits.health => known.engine.health().await,
            Some(_) => Ok(()),
            None => self.detect().await,
        }
    }

    /// Finds out what the engine is and has, and tells the sink if that is news.
    async fn detect(&mut self) -> Result<(), ProbeError> {
        let (description, engine) = detect(&self.probe, self.kind).await?;
        let (inventory, lists) = engine.inventory().await?;
        let known = Known { description, engine, inventory, lists, strangers: Vec::new() };
        if !self.known.as_ref().is_some_and(|before| before.says_the_same(&known)) {
            self.sink.described(known.description.clone(), known.inventory.clone(), known.lists.clone());
        }
        self.known = Some(known);
        Ok(())
    }

    /// Asks for the models again, and for all else too if the engine's kind was only guessed. An answer that fails
    /// changes nothing: health decides.
    async fn inventory_turn(&mut self) {
        let Some(known) = &mut self.known else { return };
        let outcome = if self.kind == EngineKind::Auto && known.is_guess() {
            self.detect().await
        } else {
            known.engine.inventory().await.map(|(inventory, lists)| {
                if inventory != known.inventory || lists != known.lists {
                    self.sink.described(known.description.clone(), inventory.clone(), lists.clone());
                }
                (known.inventory, known.lists) = (inventory, lists);
            })
        };
        if let Err(error) = outcome {
            self.miss(&error);
        }
    }

    /// Takes a sample. True if it shows a model that calls for a new inventory.
    async fn sample_turn(&mut self) -> bool {
        let Some(known) = &mut self.known else { return false };
        match known.engine.sample(&known.inventory).await {
            Ok(load) => {
                let strangers = strangers(&known.inventory, load.residents.as_deref().unwrap_or_default());
                let changed = !strangers.is_empty() && strangers != known.strangers;
                known.strangers = strangers;
                self.sink.sampled(load);
                changed
            }
            Err(error) => {
                self.miss(&error);
                false
            }
        }
    }

    /// A question beside the health check failed. Without health checks this is all that tells of an engine gone.
    fn miss(&mut self, error: &ProbeError) {
        if self.limits.health {
            log::debug!("{}: {error}", self.kind);
        } else {
            self.lose(error);
        }
    }

    fn lose(&mut self, error: &ProbeError) {
        if self.known.take().is_some() {
            log::debug!("{}: lost: {error}", self.kind);
        }
    }

    /// How often the load is asked; `None` while the engine is not known.
    fn poll_pace(&self) -> Option<Duration> {
        let kind = self.known.as_ref()?.description.kind;
        Some(self.limits.poll.unwrap_or(if kind.has_gauge() { POLL_GAUGE } else { POLL_PLAIN }))
    }
}

/// Residents that a known inventory does not list.
fn strangers(inventory: &Inventory, residents: &[ResidentModel]) -> Vec<Arc<str>> {
    let Inventory::Known(models) = inventory else { return Vec::new() };
    let is_listed = |local: &Arc<str>| models.iter().any(|model| model.local == *local);
    residents.iter().map(|resident| resident.local.clone()).filter(|local| !is_listed(local)).collect()
}
