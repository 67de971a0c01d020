//! Watches one engine: finds out what it is, then asks for its health, load and models, each at its own pace, and tells
//! a [`Sink`]. Health turns start 250 ms apart and double up to `every`, so that an engine which is just starting is
//! seen early. After a failed turn the engine is detected anew: another may sit there by then.

use std::sync::Arc;
use std::time::Duration;

use arriero_core::endpoint::{Inventory, ResidentModel};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::engine::probe::{Probe, ProbeError};
use crate::engine::{Description, Engine, EngineKind, Lists, Load, Place, Target, detect};

/// The first step between health turns, and the bound on the start's jitter.
const FIRST_STEP: Duration = Duration::from_millis(250);
/// Pace of load samples from engines that tell how many requests they run or queue.
const POLL_GAUGE: Duration = Duration::from_millis(500);
/// Pace of load samples from the others.
const POLL_PLAIN: Duration = Duration::from_secs(2);

/// How often an engine is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Between health checks.
    pub every: Duration,
    /// Between load samples; `None` = 500 ms for engines with a queue gauge, else 2 s.
    pub poll: Option<Duration>,
    /// Between inventories.
    pub inventory: Duration,
    /// False with `health: none`: no check is made, and nothing is ever reported as failed.
    pub health: bool,
}

impl Default for Limits {
    fn default() -> Self {
        let every = Duration::from_secs(2);
        Limits { every, poll: None, inventory: Duration::from_secs(10), health: true }
    }
}

/// Who wants to know. Called from the watching task; must not block.
pub trait Sink: Send + Sync {
    /// What the engine is and has: once detected, and whenever its inventory or lists changed. (llama.cpp dates its
    /// entries with the present time, so its lists are news at every inventory.)
    fn described(&self, description: Description, inventory: Inventory, lists: Lists);

    /// One health check; `why` is empty if it passed. Rise and fall are the caller's to count.
    fn probed(&self, ok: bool, why: &str);

    /// A load report, taken now.
    fn sampled(&self, load: Load);
}

/// Watches until `stop` turns true or its sender is gone. `place` leads the questions to where traffic goes.
pub async fn watch(
    target: Target,
    place: Option<Arc<dyn Place>>,
    kind: EngineKind,
    limits: Limits,
    sink: Arc<dyn Sink>,
    mut stop: watch::Receiver<bool>,
) {
    let run = async {
        match Probe::new(&target, place) {
            Ok(probe) => {
                tokio::time::sleep(jitter(&target.url, limits.every)).await;
                Watch { probe, kind, limits, sink, known: None }.run().await;
            }
            Err(error) => {
                log::error!("{target:?}: {error}");
                if limits.health {
                    sink.probed(false, &error.to_string());
                }
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = run => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

struct Watch {
    probe: Probe,
    kind: EngineKind,
    limits: Limits,
    sink: Arc<dyn Sink>,
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
    async fn run(mut self) {
        let mut step = FIRST_STEP.min(self.limits.every);
        let mut next_health = Instant::now();
        let mut next_sample = next_health;
        let mut next_inventory = next_health;
        loop {
            let next =
                if self.known.is_some() { next_health.min(next_sample).min(next_inventory) } else { next_health };
            sleep_until(next).await;
            let now = Instant::now();
            if now >= next_health {
                if self.health_turn().await {
                    next_inventory = now + self.limits.inventory;
                    next_sample = now;
                }
                next_health = Instant::now() + step;
                step = (step * 2).min(self.limits.every);
            }
            if self.known.is_some() && now >= next_inventory {
                self.inventory_turn().await;
                next_inventory = Instant::now() + self.limits.inventory;
            }
            if now >= next_sample
                && let Some(poll) = self.pace()
            {
                if self.sample_turn().await {
                    next_inventory = Instant::now();
                }
                next_sample = Instant::now() + poll;
            }
        }
    }

    /// Checks the engine, or detects it if it is not known. True if it was detected just now.
    async fn health_turn(&mut self) -> bool {
        let was_known = self.known.is_some();
        let outcome = match &self.known {
            Some(known) if self.limits.health => known.engine.health().await,
            Some(_) => Ok(()),
            None => self.detect().await,
        };
        if let Err(error) = &outcome {
            self.lose(error);
        }
        if self.limits.health {
            let why = outcome.as_ref().err().map(ToString::to_string).unwrap_or_default();
            self.sink.probed(outcome.is_ok(), &why);
        }
        !was_known && outcome.is_ok()
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
    fn pace(&self) -> Option<Duration> {
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

/// A start delay between 0 and 250 ms (or `every`, if shorter), fixed by the URL: a fleet is not asked all at once.
fn jitter(url: &str, every: Duration) -> Duration {
    let share = xxhash_rust::xxh3::xxh3_64(url.as_bytes()) as f64 / u64::MAX as f64;
    FIRST_STEP.min(every).mul_f64(share)
}
