//! What a proxy says of itself, and what it is told at run time, in one form for both.
//!
//! HAProxy: `show stat` and `set server` over its control socket. Arriero: `/api/health`, `/metrics` and
//! `PATCH /api/endpoints/{name}` on its admin listener. An Arriero without the last one is [`Pending`].

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::proxy::{Pending, Proxy, Side};
use crate::wire::{Ask, Connection};

/// What a proxy counts for one endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Requests in flight.
    pub in_flight: u32,
    /// It takes requests, as far as health goes.
    pub up: bool,
}

/// What is changed of an endpoint at run time.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    /// Its weight.
    Weight(u32),
    /// `ready`, `drain` or `maint`.
    State(&'static str),
    /// Its cap.
    Cap(u32),
}

impl Proxy {
    /// Its endpoints, by place: `e0`, `e1`, ...
    pub async fn rows(&self) -> anyhow::Result<BTreeMap<usize, Row>> {
        let place = |name: &str| name.strip_prefix('e').and_then(|digits| digits.parse::<usize>().ok());
        let mut rows = BTreeMap::new();
        match self.side {
            Side::HAProxy => {
                for row in self.statistics().await? {
                    if let Some(place) = place(&row["svname"]) {
                        let up = row["status"].starts_with("UP") || row["status"].starts_with("no check");
                        rows.insert(place, Row { in_flight: row["scur"].parse()?, up });
                    }
                }
            }
            Side::Arriero => {
                let report = self.json("/api/health").await?;
                for node in report["nodes"].as_array().context("no nodes in /api/health")? {
                    if let Some(place) = node["name"].as_str().and_then(place) {
                        let in_flight = u32::try_from(node["in_flight"].as_u64().unwrap_or_default())?;
                        rows.insert(place, Row { in_flight, up: node["healthy"] == true });
                    }
                }
            }
        }
        Ok(rows)
    }

    /// Requests that wait, in all its queues.
    pub async fn queued(&self) -> anyhow::Result<u32> {
        match self.side {
            Side::HAProxy => {
                let rows = self.statistics().await?;
                let waiting = rows.iter().filter(|row| row["svname"] != "FRONTEND");
                waiting.map(|row| Ok(row["qcur"].parse::<u32>()?)).sum()
            }
            Side::Arriero => Ok(u32::try_from(self.metric("arriero_pool_queued").await?)?),
        }
    }

    /// Sums one of Arriero's metrics over its labels; 0 if nothing was counted yet.
    pub async fn metric(&self, name: &str) -> anyhow::Result<u64> {
        let text = String::from_utf8_lossy(&self.ask_admin(&Ask::get("/metrics")).await?).into_owned();
        let named = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
        named.map(|line| Ok(line.rsplit(' ').next().unwrap_or_default().parse::<f64>()? as u64)).sum()
    }

    /// Arriero's generation.
    pub async fn generation(&self) -> anyhow::Result<u64> {
        Ok(self.json("/api/health").await?["generation"].as_u64().unwrap_or_default())
    }

    /// HAProxy's figures, or ours in its form: a row per server, one for the whole, one for the listening side.
    pub async fn statistics(&self) -> anyhow::Result<Vec<BTreeMap<String, String>>> {
        let text = match self.side {
            Side::HAProxy => self.command("show stat").await?,
            Side::Arriero => String::from_utf8(self.ask_admin(&Ask::get("/api/stats.csv")).await?)?,
        };
        let mut lines = text.trim_start_matches("# ").lines();
        let names: Vec<String> = lines.next().context("no statistics")?.split(',').map(str::to_owned).collect();
        let rows = lines.filter(|line| !line.is_empty());
        Ok(rows.map(|line| names.iter().cloned().zip(line.split(',').map(str::to_owned)).collect()).collect())
    }

    /// Sums a column of HAProxy's over its servers.
    pub async fn sum(&self, column: &str) -> anyhow::Result<u64> {
        let rows = self.statistics().await?;
        let servers = rows.iter().filter(|row| row["svname"].starts_with('e'));
        servers.map(|row| Ok(row[column].parse::<u64>().unwrap_or_default())).sum()
    }

    /// Says a line to HAProxy's control socket.
    pub async fn command(&self, line: &str) -> anyhow::Result<String> {
        let mut socket = UnixStream::connect(self.control()).await.context("HAProxy's control socket")?;
        socket.write_all(format!("{line}\n").as_bytes()).await?;
        let mut text = String::new();
        socket.read_to_string(&mut text).await?;
        Ok(text)
    }

    async fn ask_admin(&self, ask: &Ask) -> anyhow::Result<Vec<u8>> {
        let answer = Connection::to(self.admin).ask(ask, None).await?;
        if answer.status == 404 || answer.status == 405 {
            bail!(Pending(format!("the admin API has no {} {}", ask.method, ask.target)));
        }
        let text = || String::from_utf8_lossy(&answer.body).into_owned();
        // a report of engines that are all down is a 503
        ensure!(answer.status < 400 || answer.status == 503, "{} {}: {}", ask.method, ask.target, text());
        Ok(answer.body)
    }

    async fn json(&self, path: &str) -> anyhow::Result<Value> {
        Ok(serde_json::from_slice(&self.ask_admin(&Ask::get(path)).await?)?)
    }

    /// Changes an endpoint. Both proxies have done so when they answer.
    pub async fn change(&self, engine: usize, change: Change) -> anyhow::Result<()> {
        if self.side == Side::HAProxy {
            let said = match change {
                Change::Weight(weight) => self.command(&format!("set server p/e{engine} weight {weight}")).await?,
                Change::Cap(cap) => self.command(&format!("set maxconn server p/e{engine} {cap}")).await?,
                Change::State(state) => self.command(&format!("set server p/e{engine} state {state}")).await?,
            };
            ensure!(said.trim().is_empty(), "HAProxy: {change:?}: {said}");
            return Ok(());
        }
        let body = match change {
            Change::Weight(weight) => json!({ "weight": weight }),
            Change::Cap(cap) => json!({ "max_in_flight": cap }),
            Change::State(state) => json!({ "state": state }),
        };
        let ask = Ask { method: "PATCH", body: body.to_string(), ..Ask::get(&format!("/api/endpoints/e{engine}")) };
        self.ask_admin(&ask).await.map(drop)
    }
}
