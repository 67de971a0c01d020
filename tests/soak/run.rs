//! Drives phases of random requests at a running proxy, with reloads and faults beside them, and watches its counts.
//!
//! | mood | clients leave | engines fail | reloads | what must come back |
//! |---|---|---|---|---|
//! | calm | no | no | no | every request answered whole; no engine ever seems to have more than its cap |
//! | reloads | no | no | yes | every request answered whole |
//! | storm | yes | yes | yes, and all that an operator may do | as [`crate::accounts`] says |

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arriero_lab::http::Fault;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::accounts::{Accounts, Told};
use crate::ask::{Ask, Wish, draw};
use crate::book::{Away, now};
use crate::common::Proxy;
use crate::fleet::{self, Member, fault};
use crate::hand::Hand;
use crate::judge::{self, Ending};
use crate::line::Line;
use crate::traits::Traits;

/// Clients at once by protocol, HTTP/1 and HTTP/2; each has one connection at most.
const CLIENTS: [usize; 2] = [48, 16];
/// How long it is flood, and how long ebb.
const TIDE: Duration = Duration::from_secs(5);

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
    pub traits: Traits,
    routes: Vec<&'static str>,
    pub h1: reqwest::Client,
    /// The next request's number.
    pub next: AtomicU64,
    /// Milliseconds between two requests of a client, on average.
    think: AtomicU64,
    pub tally: Mutex<Tally>,
    pub accounts: Mutex<Accounts>,
}

/// One look at the proxy.
#[derive(Clone, Copy)]
pub struct Sample {
    pub at: u64,
    pub resident_kib: u64,
    /// Requests in engines.
    pub in_flight: u64,
    pub queued: u64,
}

/// What was counted.
#[derive(Default)]
pub struct Tally {
    /// Endings, in words.
    pub endings: BTreeMap<String, u64>,
    /// What must not be: the first ones, in words.
    pub wrong: Vec<String>,
    pub mistakes: u64,
    pub lost: u64,
    /// Reloads that were applied, and that were refused.
    pub reloads: (u64, u64),
    /// Faults by kind.
    pub faults: BTreeMap<String, u64>,
    /// What the operator did.
    pub operations: BTreeMap<&'static str, u64>,
    pub samples: Vec<Sample>,
    /// The most requests in flight by the proxy's own count, by endpoint.
    pub most: BTreeMap<String, u64>,
}

impl Tally {
    /// Notes what must not be.
    pub fn wrong(&mut self, words: String) {
        if self.wrong.len() < 20 {
            self.wrong.push(words);
        }
        self.mistakes += 1;
    }

    /// Notes a lost request.
    pub fn lose(&mut self, words: String) {
        self.lost += 1;
        self.wrong(words);
    }
}

impl Soak {
    pub fn new(proxy: Proxy, members: Vec<Member>, traits: Traits, seed: u64) -> Arc<Soak> {
        let h1 = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(CLIENTS[0]).build().expect("a client");
        let log = proxy.config_path().with_file_name("access.log");
        Arc::new(Soak {
            proxy,
            members,
            seed,
            traits,
            routes: fleet::routes(traits),
            h1,
            next: AtomicU64::new(0),
            think: AtomicU64::new(0),
            tally: Mutex::default(),
            accounts: Mutex::new(Accounts::new(log, traits.budget)),
        })
    }

    /// Sends requests for as long and waits for all of them, then for the fleet to be at rest.
    pub async fn phase(self: &Arc<Self>, mood: Mood, span: Duration) {
        let (stop, stopped) = watch::channel(false);
        let mut beside = JoinSet::new();
        beside.spawn(self.clone().watch_counts(stopped.clone()));
        beside.spawn(self.clone().settle(stopped.clone()));
        beside.spawn(self.clone().sample(stopped.clone()));
        let salt = self.next.load(Ordering::Relaxed);
        if mood == Mood::Storm {
            beside.spawn(self.clone().fail(salt, stopped.clone()));
            beside.spawn(self.clone().tide(stopped.clone()));
        }
        let (soak, hear) = (self.clone(), stopped);
        let hand = async move { Hand::new(&soak, salt).work(mood, hear).await };
        let hand = (mood != Mood::Calm).then(|| tokio::spawn(hand));
        let end = Instant::now() + span;
        let mut clients = JoinSet::new();
        for (h2, count) in [false, true].into_iter().zip(CLIENTS) {
            for _ in 0..count {
                clients.spawn(self.clone().client(end, h2, mood));
            }
        }
        while let Some(ended) = clients.join_next().await {
            ended.expect("a client does not panic");
        }
        let _listened = stop.send(true);
        if let Some(hand) = hand {
            hand.await.expect("the operator does not panic");
        }
        while let Some(ended) = beside.join_next().await {
            ended.expect("what goes on beside does not panic");
        }
        self.think.store(0, Ordering::Relaxed);
        self.members.iter().for_each(|member| member.lab.set_fault(Fault::none()));
        self.at_rest().await;
    }

    /// Sends requests of its protocol, one after the other.
    async fn client(self: Arc<Self>, end: Instant, h2: bool, mood: Mood) {
        let mut line = Line::new(self.h1.clone(), self.proxy.url(""), self.proxy.h2_port);
        while Instant::now() < end {
            let think = self.think.load(Ordering::Relaxed);
            if think > 0 {
                tokio::time::sleep(Duration::from_millis(fastrand::u64(..2 * think))).await;
            }
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let ask = Ask { h2, ..draw(self.seed, number, mood == Mood::Storm, &self.routes) };
            let sent = now();
            let ending = judge::run(&mut line, &ask).await;
            let due = match (&ending, ask.wish) {
                (Ending::Lost(_), _) => false,
                _ if mood == Mood::Storm => true,
                (Ending::Error(429 | 503), _) if ask.route == "narrow" => true,
                // An endpoint that comes or goes ties a strictly kept key, and may have a model that nobody else has.
                (Ending::Error(503), wish) if mood == Mood::Reloads => ask.route == "hard" || wish == Wish::Error(404),
                (Ending::Error(status), Wish::Error(wanted)) => *status == wanted,
                (ending, _) => *ending == Ending::Whole,
            };
            let mut tally = self.tally.lock();
            *tally.endings.entry(ending.words()).or_default() += 1;
            if !due {
                let Ask { number, path, route, h2, leave, wish, .. } = &ask;
                let ask = format!("{path} route {route} h2 {h2} {leave:?} {wish:?}");
                tally.lose(format!("{mood:?}, request {number} ({ask}): {ending:?}"));
            }
            drop(tally);
            if !matches!(ending, Ending::Lost(_)) {
                self.accounts.lock().tell(Told { ask, ending, sent, ended: now() });
            }
        }
    }

    /// Flood and ebb: in the flood every slot is taken and the queue is long, in the ebb there is room.
    async fn tide(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        loop {
            for think in [0, 400] {
                self.think.store(think, Ordering::Relaxed);
                if nap(&mut stop, TIDE).await {
                    return;
                }
            }
        }
    }

    /// Sets one engine's fault after the other: each kind once, then as chance decides.
    async fn fail(self: Arc<Self>, salt: u64, mut stop: watch::Receiver<bool>) {
        let mut random = fastrand::Rng::with_seed(self.seed ^ salt ^ 2);
        let mut once = fleet::FAULTS.to_vec();
        random.shuffle(&mut once);
        while !nap(&mut stop, Duration::from_millis(random.u64(100..2000))).await {
            let by_chance = random.u32(..fleet::FAULT_DRAWS);
            let draw = once.pop().map_or(by_chance, |(_, draw)| draw);
            let (fault, away) = fault(draw, &mut random);
            let member = &self.members[random.usize(..self.members.len())];
            member.book.leaves(away, fault.for_ms.map(|millis| millis * 1000 + 50_000));
            member.lab.set_fault(fault);
            let kind = format!("{:?}", fault.kind);
            let kind = kind.split([' ', '{']).next().unwrap_or_default().to_lowercase();
            *self.tally.lock().faults.entry(kind).or_default() += 1;
        }
    }

    /// An engine's port closes and its connections are reset; after `span` it listens again.
    pub fn kill(self: &Arc<Self>, member: &Member, span: Duration) {
        *self.tally.lock().operations.entry("kill").or_default() += 1;
        member.book.leaves(Away::Killed, Some(span.as_micros() as u64 + 100_000));
        member.front.kill();
        let (soak, name) = (self.clone(), member.name);
        tokio::spawn(async move {
            tokio::time::sleep(span).await;
            soak.members.iter().filter(|member| member.name == name).for_each(|member| member.front.revive());
        });
    }

    /// Asks the admin API for a change, which it must make.
    pub async fn operate(&self, what: &'static str, method: &str, path: &str, body: &Value) {
        let method = method.parse().expect("a method");
        let request = self.h1.request(method, self.proxy.admin(path));
        let request = if body.is_null() { request } else { request.json(body) };
        let complaint = match request.send().await {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("{}: {}", answer.status(), answer.text().await.unwrap_or_default())),
            Err(error) => Some(format!("{error:?}")),
        };
        let mut tally = self.tally.lock();
        *tally.operations.entry(what).or_default() += 1;
        if let Some(complaint) = complaint {
            tally.wrong(format!("{what} ({path} {body}): {complaint}"));
        }
    }
}

/// Sleeps; true if it is time to stop.
pub async fn nap(stop: &mut watch::Receiver<bool>, span: Duration) -> bool {
    tokio::time::timeout(span, stop.wait_for(|stop| *stop)).await.is_ok()
}
