//! Drives phases of random requests at a running proxy, with reloads and faults beside them, and watches its counts.
//!
//! | mood | clients leave | engines fail | reloads | what must come back |
//! |---|---|---|---|---|
//! | calm | no | no | no | every request answered whole; no engine ever sees more than its cap |
//! | reloads | no | no | yes | every request answered whole |
//! | storm | yes | yes | yes | every request answered, refused in its API's shape, or left by its client |

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arriero_lab::http::Fault;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::ask::{Ask, Wish, draw};
use crate::common::{PATIENCE, Proxy, eventually};
use crate::fleet::{Member, Variant, fault};
use crate::judge::{self, Ending};
use crate::line::Line;

/// Clients at once by protocol, HTTP/1 and HTTP/2; each has one connection at most.
const CLIENTS: [usize; 2] = [48, 16];
/// Longest that an engine may see more requests than its cap: a client that left is noticed by the engine a little later
/// than its slot is given on.
const OVERLAP: Duration = Duration::from_secs(3);

/// What goes on beside the requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Calm,
    Reloads,
    Storm,
}

/// The run: the proxy, its engines and what was counted.
pub struct Soak {
    pub proxy: Proxy,
    pub members: Vec<Member>,
    pub seed: u64,
    h1: reqwest::Client,
    pub tally: Mutex<Tally>,
}

/// What was counted.
#[derive(Default)]
pub struct Tally {
    /// Endings, in words.
    pub endings: BTreeMap<String, u64>,
    /// What must not be: the first ones, in words.
    pub wrong: Vec<String>,
    pub lost: u64,
    /// Reloads that were applied, and that were refused.
    pub reloads: (u64, u64),
    /// Faults by kind.
    pub faults: BTreeMap<String, u64>,
    /// The most requests in flight by the proxy's own count, by endpoint.
    pub most: BTreeMap<String, u64>,
}

impl Tally {
    /// Notes what must not be.
    pub fn wrong(&mut self, words: String) {
        if self.wrong.len() < 20 {
            self.wrong.push(words);
        }
    }
}

impl Soak {
    pub fn new(proxy: Proxy, members: Vec<Member>, seed: u64) -> Arc<Soak> {
        let h1 = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(CLIENTS[0]).build().expect("a client");
        Arc::new(Soak { proxy, members, seed, h1, tally: Mutex::default() })
    }

    /// Sends these requests and waits for all of them, then for the fleet to be at rest.
    pub async fn phase(self: &Arc<Self>, numbers: Range<u64>, mood: Mood) {
        let (stop, stopped) = watch::channel(false);
        let mut beside = JoinSet::new();
        beside.spawn(self.clone().watch_counts(stopped.clone()));
        beside.spawn(self.clone().watch_engines(stopped.clone()));
        if mood != Mood::Calm {
            beside.spawn(self.clone().reload(mood, numbers.start, stopped.clone()));
        }
        if mood == Mood::Storm {
            beside.spawn(self.clone().fail(numbers.start, stopped));
        }
        let mut clients = JoinSet::new();
        for (h2, count) in [false, true].into_iter().zip(CLIENTS) {
            let next = Arc::new(AtomicU64::new(numbers.start));
            for _ in 0..count {
                clients.spawn(self.clone().client(next.clone(), numbers.end, h2, mood));
            }
        }
        while let Some(ended) = clients.join_next().await {
            ended.expect("a client does not panic");
        }
        let _listened = stop.send(true);
        while let Some(ended) = beside.join_next().await {
            ended.expect("what goes on beside does not panic");
        }
        self.members.iter().for_each(|member| member.lab.set_fault(Fault::none()));
        self.at_rest().await;
    }

    /// Sends what is its protocol's: both kinds of clients go through all numbers.
    async fn client(self: Arc<Self>, next: Arc<AtomicU64>, end: u64, h2: bool, mood: Mood) {
        let mut line = Line::new(self.h1.clone(), self.proxy.url(""), self.proxy.h2_port);
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= end {
                return;
            }
            let ask = draw(self.seed, number, mood == Mood::Storm);
            if ask.h2 != h2 {
                continue;
            }
            let ending = judge::run(&mut line, &ask).await;
            let due = match (&ending, ask.wish) {
                (Ending::Lost(_), _) => false,
                _ if mood == Mood::Storm => true,
                (Ending::Error(429 | 503), _) if ask.route == "narrow" => true,
                (Ending::Error(status), Wish::Error(wanted)) => *status == wanted,
                (ending, _) => *ending == Ending::Whole,
            };
            let mut tally = self.tally.lock();
            *tally.endings.entry(ending.words()).or_default() += 1;
            tally.lost += u64::from(matches!(ending, Ending::Lost(_)));
            if !due {
                let body = String::from_utf8_lossy(&ask.body[..ask.body.len().min(120)]).into_owned();
                let Ask { number, path, route, h2, leave, wish, .. } = &ask;
                let ask = format!("{path} route {route} h2 {h2} {leave:?} {wish:?} {body}");
                tally.wrong(format!("{mood:?}, request {number} ({ask}): {ending:?}"));
            }
        }
    }

    /// Reloads about once a second. In a storm one in eight is broken and must change nothing.
    async fn reload(self: Arc<Self>, mood: Mood, salt: u64, mut stop: watch::Receiver<bool>) {
        let mut random = fastrand::Rng::with_seed(self.seed ^ salt ^ 1);
        while !nap(&mut stop, Duration::from_millis(random.u64(400..1400))).await {
            let variant = Variant {
                caps: random.usize(..2),
                with_e: random.bool(),
                turned: random.usize(..4),
                strict: mood == Mood::Storm,
            };
            let broken = mood == Mood::Storm && random.u32(..8) == 0;
            let text = variant.yaml(&self.members);
            self.proxy.write_config(&if broken { text + "nonsense: 1\n" } else { text });
            let name = format!("arriero_reloads_total{{result=\"{}\"}}", if broken { "refused" } else { "applied" });
            let before = self.proxy.metric(&name).await.unwrap_or(0.0);
            self.proxy.signal("HUP");
            let done = eventually(|| async { self.proxy.metric(&name).await.unwrap_or(0.0) > before }).await;
            let mut tally = self.tally.lock();
            if !done {
                tally.wrong(format!("a reload was not {name} within {PATIENCE:?}: {variant:?}"));
            } else if broken {
                tally.reloads.1 += 1;
            } else {
                tally.reloads.0 += 1;
            }
        }
    }

    /// Sets one engine's fault after the other.
    async fn fail(self: Arc<Self>, salt: u64, mut stop: watch::Receiver<bool>) {
        let mut random = fastrand::Rng::with_seed(self.seed ^ salt ^ 2);
        while !nap(&mut stop, Duration::from_millis(random.u64(20..400))).await {
            let fault = fault(&mut random);
            self.members[random.usize(..self.members.len())].lab.set_fault(fault);
            let kind = format!("{:?}", fault.kind);
            let kind = kind.split([' ', '{']).next().unwrap_or_default().to_lowercase();
            *self.tally.lock().faults.entry(kind).or_default() += 1;
        }
    }

    /// The proxy's own counts: exact, so never above a cap.
    async fn watch_counts(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
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

    /// The engines' counts: above a cap only for as long as it takes to notice that a client left.
    async fn watch_engines(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut above: Vec<Option<Instant>> = vec![None; self.members.len()];
        while !nap(&mut stop, Duration::from_millis(20)).await {
            for (member, since) in self.members.iter().zip(&mut above) {
                let now = member.lab.stats().in_flight;
                *since = if now > member.most() as usize { since.or(Some(Instant::now())) } else { None };
                if since.is_some_and(|since| since.elapsed() > OVERLAP) {
                    let (name, cap) = (member.name, member.most());
                    self.tally.lock().wrong(format!("{name} sees {now} requests, above its cap {cap} for {OVERLAP:?}"));
                }
            }
        }
    }

    /// Values of a gauge by its one label.
    async fn gauges(&self, name: &str) -> Vec<(String, u64)> {
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
    async fn at_rest(&self) {
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

    /// Brings back the first configuration and waits until every engine takes work again.
    pub async fn recover(&self) {
        self.proxy.write_config(&Variant::FIRST.yaml(&self.members));
        self.proxy.signal("HUP");
        let up = || async { self.gauges("arriero_endpoint_up").await };
        let all_up = |rows: &[(String, u64)]| rows.len() == self.members.len() && rows.iter().all(|(_, up)| *up == 1);
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

/// Sleeps; true if it is time to stop.
async fn nap(stop: &mut watch::Receiver<bool>, span: Duration) -> bool {
    tokio::time::timeout(span, stop.wait_for(|stop| *stop)).await.is_ok()
}
