//! The stage of one side: engines, a proxy in front of them, and a client that lets go what the engines hold.
//!
//! Nothing here waits for a time to pass: a request is sent, and the stage waits until an engine has it, the proxy says
//! that it queues it, or it is answered. `settled` waits until the proxy's own counts are those of the engines, so that
//! the next pick is made from a known state.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, ensure};
use futures::future::try_join_all;
use tokio::task::JoinHandle;

use crate::engine::{Arrival, Engines};
use crate::proxy::{Programs, Proxy, Side};
use crate::setup::Setup;
use crate::wire::{Answer, Ask, Connection};

/// One side of a case.
pub struct Stage {
    /// The engines.
    pub engines: Engines,
    /// The proxy.
    pub proxy: Proxy,
    open: BTreeMap<u64, JoinHandle<anyhow::Result<Answer>>>,
    next: u64,
}

impl Stage {
    /// Starts engines and proxy.
    pub async fn start(side: Side, programs: &Programs, setup: &Setup) -> anyhow::Result<Stage> {
        let engines = Engines::start(setup.count())?;
        let proxy = Proxy::start(side, programs, setup, engines.addresses()).await?;
        Ok(Stage { engines, proxy, open: BTreeMap::new(), next: 0 })
    }

    /// Which proxy it has.
    pub fn side(&self) -> Side {
        self.proxy.side
    }

    /// Puts another set-up in force.
    pub async fn reload(&mut self, setup: &Setup) -> anyhow::Result<()> {
        self.proxy.reload(setup, self.engines.addresses()).await
    }

    /// Sends a request on a connection of its own; its number.
    pub fn send(&mut self, ask: Ask) -> u64 {
        let (id, to) = (self.next, self.proxy.address);
        self.next += 1;
        let asking = tokio::spawn(async move { Connection::to(to).ask(&ask, Some(id)).await });
        self.open.insert(id, asking);
        id
    }

    /// Waits until an engine has it; which.
    pub async fn arrived(&self, id: u64) -> anyhow::Result<usize> {
        let found = |arrivals: &[Arrival]| arrivals.iter().rev().find(|one| one.id == id).map(|one| one.engine);
        self.engines.until(&format!("request {id}"), |state| found(&state.arrivals)).await
    }

    /// Sends a request that an engine is to hold; its number and the engine.
    pub async fn place(&mut self, ask: Ask) -> anyhow::Result<(u64, usize)> {
        let id = self.send(ask);
        Ok((id, self.arrived(id).await?))
    }

    /// Sends a request and waits until the proxy says that so many wait.
    pub async fn enqueue(&mut self, ask: Ask, waiting: u32) -> anyhow::Result<u64> {
        let id = self.send(ask);
        self.queued(waiting).await?;
        Ok(id)
    }

    /// Waits until so many requests wait in the proxy.
    pub async fn queued(&self, waiting: u32) -> anyhow::Result<()> {
        let look = async |proxy: &Proxy| Ok((proxy.queued().await? == waiting).then_some(()));
        self.proxy.until(&format!("{waiting} in the queue"), look).await
    }

    /// Lets a held request go and reads its answer.
    pub async fn release(&mut self, id: u64) -> anyhow::Result<Answer> {
        ensure!(self.engines.release(id), "{}: request {id} is not held", self.side());
        self.answer(id).await
    }

    /// Waits for a request's answer.
    pub async fn answer(&mut self, id: u64) -> anyhow::Result<Answer> {
        let asking = self.open.remove(&id).context("a request that was never sent")?;
        asking.await?.with_context(|| format!("{}: request {id}", self.side()))
    }

    /// Waits until the proxy's counts are those of the engines.
    pub async fn settled(&self) -> anyhow::Result<()> {
        let look = async |proxy: &Proxy| {
            let rows = proxy.rows().await?;
            let own = self.engines.read(|state| state.in_flight.clone());
            Ok(rows.iter().all(|(place, row)| row.in_flight == own[*place]).then_some(()))
        };
        self.proxy.until("counts like the engines'", look).await
    }

    /// Waits until the proxy's health says this of an engine.
    pub async fn health(&self, engine: usize, up: bool) -> anyhow::Result<()> {
        let look =
            async |proxy: &Proxy| Ok(proxy.rows().await?.get(&engine).is_some_and(|row| row.up == up).then_some(()));
        self.proxy.until(&format!("e{engine} {}", if up { "up" } else { "down" }), look).await
    }

    /// Asks one after the other on one kept connection.
    pub async fn ask_all(&self, asks: &[Ask]) -> anyhow::Result<Vec<Answer>> {
        let mut connection = Connection::to(self.proxy.address);
        let mut answers = Vec::with_capacity(asks.len());
        for ask in asks {
            answers.push(connection.ask(ask, None).await.with_context(|| format!("{}", self.side()))?);
        }
        Ok(answers)
    }

    /// Asks over several kept connections, each request as soon as the one before on its connection is answered; who
    /// answered each, in the order of the asks.
    pub async fn owners(&self, asks: &Arc<Vec<Ask>>, connections: usize) -> anyhow::Result<Vec<usize>> {
        let asking = (0..connections).map(|first| {
            let (asks, to) = (asks.clone(), self.proxy.address);
            tokio::spawn(async move {
                let mut connection = Connection::to(to);
                let mut owners = Vec::new();
                for nth in (first..asks.len()).step_by(connections) {
                    let answer = connection.ask(&asks[nth], None).await?;
                    owners.push((nth, answer.engine().with_context(|| format!("no engine: {}", answer.status))?));
                }
                anyhow::Ok(owners)
            })
        });
        let mut owners = vec![0; asks.len()];
        for part in try_join_all(asking).await? {
            for (nth, owner) in part? {
                owners[nth] = owner;
            }
        }
        Ok(owners)
    }
}
