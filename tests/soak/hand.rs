//! The operator's hand: reloads, kills and returns, and every change that the admin API offers, one after the other.
//!
//! Each is written in the books of the engines: what gives more before it is asked for, what takes away once it is
//! answered. What the binary cannot do is not asked for.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::book::Away;
use crate::common::{PATIENCE, eventually};
use crate::fleet::{Member, STRATEGIES, TURNING, Variant};
use crate::run::{Mood, Soak, nap};

/// Everything once, in a random order, before chance alone decides.
const ONCE: [Turn; 11] = [
    Turn::State(State::Drain),
    Turn::State(State::Maint),
    Turn::State(State::Ready),
    Turn::Choice(0),
    Turn::Choice(2),
    Turn::Choice(3),
    Turn::Choice(11),
    Turn::Choice(15),
    Turn::ComesAndGoes,
    Turn::Choice(20),
    Turn::Choice(22),
];
/// Operations that a storm of a minute must have seen, as the tally names them; reloads are counted beside them.
pub const DUE: [&str; 10] =
    ["kill", "ready", "drain", "maint", "cap", "weight", "add", "remove", "balance", "clear affinity"];

/// What comes next: a state of an endpoint, `g` in and out (or out and in), or one of the numbers of [`Hand::work`].
#[derive(Clone, Copy)]
enum Turn {
    State(State),
    ComesAndGoes,
    Choice(u32),
}

/// What the operator has said, for each member.
#[derive(Clone, Copy, Default, PartialEq)]
struct Said {
    cap: Option<u32>,
    weightless: bool,
    state: State,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum State {
    #[default]
    Ready,
    Drain,
    Maint,
}

/// The operator.
pub struct Hand<'s> {
    soak: &'s Arc<Soak>,
    random: fastrand::Rng,
    variant: Variant,
    said: Vec<Said>,
    /// `g` is a member.
    joined: bool,
}

impl Hand<'_> {
    pub fn new(soak: &Arc<Soak>, salt: u64) -> Hand<'_> {
        let said = vec![Said::default(); soak.members.len()];
        let random = fastrand::Rng::with_seed(soak.seed ^ salt);
        Hand { soak, random, variant: Variant::FIRST, said, joined: false }
    }

    /// Works until it is told to stop, then puts everything back.
    pub async fn work(mut self, mood: Mood, mut stop: watch::Receiver<bool>) {
        let pause = if mood == Mood::Storm { 150..600 } else { 400..1400 };
        let mut turns = if mood == Mood::Storm { ONCE.to_vec() } else { Vec::new() };
        self.random.shuffle(&mut turns);
        while !nap(&mut stop, Duration::from_millis(self.random.u64(pause.clone()))).await {
            let api = self.soak.traits.api;
            let choice = match turns.pop() {
                Some(Turn::State(state)) if api => {
                    self.put_into(2, state).await; // the third may go whoever else is out
                    continue;
                }
                Some(Turn::ComesAndGoes) if api => {
                    self.join_or_leave().await;
                    self.join_or_leave().await;
                    continue;
                }
                Some(Turn::Choice(choice)) => choice,
                _ if mood == Mood::Storm => self.random.u32(..24),
                _ => 0,
            };
            match choice {
                3..7 => self.kill(),
                7..11 if api => self.state().await,
                11..15 if api => self.cap().await,
                15..18 if api => self.weight().await,
                18..20 if api => self.join_or_leave().await,
                20..22 if api => self.balance().await,
                22 if api => self.forget_keys().await,
                23 if api => self.explain().await,
                2 if mood == Mood::Storm => self.broken_reload().await,
                _ => {
                    let variant = Variant {
                        caps: self.random.usize(..2),
                        with_e: self.random.bool(),
                        turned: self.random.usize(..STRATEGIES.len()),
                        strict: mood == Mood::Storm,
                    };
                    self.reload(variant).await;
                }
            }
        }
        self.put_back().await;
    }

    /// The file's word for everybody, and everybody alive.
    async fn put_back(&mut self) {
        self.soak.members.iter().for_each(|member| member.front.revive());
        for place in 0..self.said.len() {
            if std::mem::take(&mut self.said[place]) != Said::default() {
                let change = json!({ "weight": "file", "max_in_flight": "file", "state": "ready" });
                self.change("file", place, change).await;
            }
        }
        self.reload(Variant::FIRST).await;
    }

    /// A member for good: what is said of it outlives reloads.
    fn any(&mut self) -> usize {
        const FOR_GOOD: [&str; 5] = ["a", "b", "c", "d", "f"];
        let name = FOR_GOOD[self.random.usize(..FOR_GOOD.len())];
        self.soak.members.iter().position(|member| member.name == name).expect("a member")
    }

    /// In a pool now.
    fn is_member(&self, name: &str) -> bool {
        (name != "e" || self.variant.with_e) && (name != "g" || self.joined)
    }

    fn cap_of(&self, place: usize) -> u32 {
        let member = &self.soak.members[place];
        let file = if member.name == "g" { member.caps[0] } else { member.caps[self.variant.caps] };
        self.said[place].cap.unwrap_or(file)
    }

    /// Brings the books in line before something changes (`after` false), and once it has.
    fn note(&self, place: usize, after: bool) {
        let member = &self.soak.members[place];
        let said = &self.said[place];
        let joined = self.is_member(member.name);
        let open = joined && said.state != State::Maint;
        let word = !joined || said.weightless || said.state != State::Ready;
        let cap = self.cap_of(place);
        if after {
            member.book.cap_is(cap);
            if !open {
                member.book.shut(true);
            }
            if !word {
                member.book.back(Away::Word);
            }
        } else {
            member.book.cap_will_be(cap);
            if open {
                member.book.shut(false);
            }
            if word {
                member.book.leaves(Away::Word, None);
            }
        }
    }

    /// Changes one endpoint by the admin API.
    async fn change(&mut self, what: &'static str, place: usize, change: Value) {
        self.note(place, false);
        let path = format!("api/endpoints/{}", self.soak.members[place].name);
        self.soak.operate(what, "PATCH", &path, &change).await;
        self.note(place, true);
    }

    async fn state(&mut self) {
        let place = self.any();
        let states = [State::Ready, State::Drain, State::Maint];
        let state = states[self.random.usize(..3)];
        self.put_into(place, state).await;
    }

    /// Ready instead, if too few would be left.
    async fn put_into(&mut self, place: usize, state: State) {
        let state = if self.may_take_out(place) { state } else { State::Ready };
        let word = match state {
            State::Ready => "ready",
            State::Drain => "drain",
            State::Maint => "maint",
        };
        self.said[place].state = state;
        self.change(word, place, json!({ "state": word })).await;
    }

    /// Two at most are out at a time, and of those that speak Ollama's paths one.
    fn may_take_out(&self, place: usize) -> bool {
        let out = |place: usize| self.said[place].weightless || self.said[place].state != State::Ready;
        let others = (0..self.said.len()).filter(|other| *other != place && out(*other)).count();
        others < 2 && (place > 1 || !out(1 - place))
    }

    async fn cap(&mut self) {
        let place = self.any();
        let most = self.soak.members[place].most();
        let cap = (self.random.u32(..4) > 0).then(|| self.random.u32(1..=most));
        self.said[place].cap = cap;
        let value = cap.map_or(json!("file"), Value::from);
        self.change("cap", place, json!({ "max_in_flight": value })).await;
    }

    async fn weight(&mut self) {
        let place = self.any();
        let weights = [json!("file"), json!(1), json!(7), json!(256), json!(0)];
        let weight = weights[self.random.usize(..if self.may_take_out(place) { 5 } else { 4 })].clone();
        self.said[place].weightless = weight == 0;
        self.change("weight", place, json!({ "weight": weight })).await;
    }

    async fn join_or_leave(&mut self) {
        let place = self.soak.members.len() - 1;
        let member = &self.soak.members[place];
        self.joined = !self.joined;
        self.note(place, false);
        if self.joined {
            let endpoint = json!({ "name": member.name, "url": member.front.url(), "max_in_flight": member.caps[0] });
            self.soak.operate("add", "POST", "api/pools/herd/endpoints", &endpoint).await;
        } else {
            self.soak.operate("remove", "DELETE", "api/endpoints/g", &Value::Null).await;
        }
        self.note(place, true);
    }

    async fn balance(&mut self) {
        let route = TURNING[self.random.usize(..TURNING.len())];
        let strategy = STRATEGIES[self.random.usize(..STRATEGIES.len())];
        self.soak.operate("balance", "PUT", &format!("api/routes/route-{route}/balance"), &json!(strategy)).await;
    }

    async fn forget_keys(&mut self) {
        self.soak.operate("clear affinity", "DELETE", "api/affinity?pool=herd", &Value::Null).await;
    }

    async fn explain(&mut self) {
        let body = json!({ "model": "small", "messages": [{ "role": "user", "content": "?" }] });
        let request = json!({ "path": "/v1/chat/completions", "headers": { "x-soak": "1" }, "body": body });
        self.soak.operate("explain", "POST", "api/explain", &request).await;
    }

    /// Somebody dies, and comes back by itself.
    fn kill(&mut self) {
        let member: &Member = &self.soak.members[self.random.usize(..self.soak.members.len())];
        let span = Duration::from_millis(self.random.u64(100..2500));
        self.soak.kill(member, span);
    }

    async fn broken_reload(&mut self) {
        let text = Variant { strict: true, ..self.variant }.yaml(&self.soak.members, self.soak.traits);
        self.soak.proxy.write_config(&(text + "nonsense: 1\n"));
        self.signal("refused").await;
    }

    async fn reload(&mut self, variant: Variant) {
        self.variant = variant;
        self.joined = false;
        let all = 0..self.soak.members.len();
        all.clone().for_each(|place| self.note(place, false));
        self.soak.proxy.write_config(&variant.yaml(&self.soak.members, self.soak.traits));
        if self.soak.traits.api && self.random.bool() {
            self.soak.operate("reload", "POST", "api/reload", &Value::Null).await;
            self.soak.tally.lock().reloads.0 += 1;
        } else {
            self.signal("applied").await;
        }
        all.for_each(|place| self.note(place, true));
    }

    /// SIGHUP, and waits for what comes of it.
    async fn signal(&self, result: &str) {
        let proxy = &self.soak.proxy;
        let name = format!("arriero_reloads_total{{result=\"{result}\"}}");
        let before = proxy.metric(&name).await.unwrap_or(0.0);
        proxy.signal("HUP");
        let done = eventually(|| async { proxy.metric(&name).await.unwrap_or(0.0) > before }).await;
        let mut tally = self.soak.tally.lock();
        if !done {
            tally.wrong(format!("a reload was not {result} within {PATIENCE:?}: {:?}", self.variant));
        } else if result == "refused" {
            tally.reloads.1 += 1;
        } else {
            tally.reloads.0 += 1;
        }
    }
}
