//! Watches a run: the proxy's own counts, memory, what the doors counted, how requests ended, and that all comes to rest.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::book::now;
use crate::common::eventually;
use crate::fleet::Member;
use crate::run::{Sample, Soak, nap};

impl Soak {
    /// The proxy's own counts: exact, so never above a cap.
    pub async fn watch_counts(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        while !nap(&mut stop, Duration::from_millis(100)).await {
            let counts = self.gauges("arriero_endpoint_in_flight").await;
            let mut tally = self.tally.lock();
            for (name, count) in counts {
                let cap = self.members.iter().find(|member| member.name == name).map_or(0, Member::most);
                if count > u64::from(cap) {
                    tally
                        .wrong(format!("the proxy counts {count} in flight at {name}, whose cap is never above {cap}"));
                }
                let most = tally.most.entry(name).or_default();
                *most = count.max(*most);
            }
        }
    }

    /// Judges what the doors counted and how requests ended, as it comes.
    pub async fn settle(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        while !nap(&mut stop, Duration::from_millis(200)).await {
            self.settle_once();
        }
    }

    /// The same, once.
    pub fn settle_once(&self) {
        let over: Vec<String> = self.members.iter().flat_map(|member| member.book.settle()).collect();
        let lost = self.accounts.lock().settle(&self.members);
        let mut tally = self.tally.lock();
        over.into_iter().for_each(|words| tally.wrong(words));
        lost.into_iter().for_each(|words| tally.lose(words));
    }

    /// Memory and counts, twice a second.
    pub async fn sample(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        while !nap(&mut stop, Duration::from_millis(500)).await {
            let in_flight = self.members.iter().map(|member| member.book.held() as u64).sum();
            let queued = self.gauges("arriero_pool_queued").await.iter().map(|(_, count)| count).sum();
            let sample = Sample { at: now(), resident_kib: self.resident_kib(), in_flight, queued };
            self.tally.lock().samples.push(sample);
        }
    }

    /// Values of a gauge by its one label.
    pub async fn gauges(&self, name: &str) -> Vec<(String, u64)> {
        let text = match self.h1.get(self.proxy.admin("metrics")).send().await {
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        };
        let rows = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{'));
        let row = |row: &str| {
            let (labels, value) = row.split_once("} ")?;
            let label = labels.split('"').nth(1)?;
            Some((label.to_owned(), value.parse::<f64>().ok()? as u64))
        };
        rows.filter_map(row).collect()
    }

    /// Waits until nothing is held anywhere: no slot, no place in a queue, no byte of a body, no work in an engine.
    pub async fn at_rest(&self) {
        let held = || async {
            let slots: u64 = self.gauges("arriero_endpoint_in_flight").await.iter().map(|(_, count)| count).sum();
            let queued: u64 = self.gauges("arriero_pool_queued").await.iter().map(|(_, count)| count).sum();
            let bytes = self.proxy.metric("arriero_body_buffer_bytes").await.unwrap_or(-1.0);
            let jobs: usize = self.members.iter().map(|member| member.lab.stats().in_flight).sum();
            (slots, queued, bytes, jobs)
        };
        let rest = eventually(|| async { held().await == (0, 0, 0.0, 0) }).await;
        assert!(
            rest,
            "still held (slots, queued, body bytes, jobs in engines): {:?}\n{}",
            held().await,
            self.proxy.stderr()
        );
    }

    /// Waits until every engine takes work again.
    pub async fn recover(&self) {
        let up = || async { self.gauges("arriero_endpoint_up").await };
        let named = self.members.len() - 1;
        let all_up = |rows: &[(String, u64)]| rows.len() == named && rows.iter().all(|(_, up)| *up == 1);
        assert!(eventually(|| async { all_up(&up().await) }).await, "not all engines came back: {:?}", up().await);
    }

    /// Ended requests by the given label.
    pub async fn ended_by(&self, label: &str) -> BTreeMap<String, u64> {
        let answer = self.h1.get(self.proxy.admin("metrics")).send().await.expect("the admin listener answers");
        let text = answer.text().await.expect("metrics");
        let mut sums = BTreeMap::new();
        for row in text.lines().filter(|line| line.starts_with("arriero_requests_total{")) {
            let value = row.split(&format!("{label}=\"")).nth(1).and_then(|rest| rest.split('"').next());
            let count = row.rsplit(' ').next().and_then(|count| count.parse::<f64>().ok()).unwrap_or(0.0);
            *sums.entry(value.unwrap_or_default().to_owned()).or_default() += count as u64;
        }
        sums
    }

    /// Resident memory of the proxy, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.proxy.pid())).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).expect("Linux tells resident memory")
    }
}
