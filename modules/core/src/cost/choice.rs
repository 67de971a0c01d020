//! The cheapest offer, and the words for it.
//!
//! The best free endpoint against the best full one: `free <= full` takes the free one now, else the request waits for the
//! full one. What a strategy takes off a free endpoint's price ([`Price::spare`]) counts in both: without it everybody waits
//! for the fast one and slow endpoints stand idle. Prices within 1 % and 1 ms of the best are a tie; a tie goes by rendezvous
//! hash of model and endpoint, so that all proxies agree where a model lives, or in turn, so that they do not all take the
//! same one. Milliseconds throughout; an offer's price is finite.
//!
//! Offers come one by one and are not kept: of each kind only the best and those that may still win a tie with it
//! ([`Best`]), so that a pick allocates nothing. Only who wants the decision told has them all noted.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::endpoint::{Endpoint, EndpointId};
use crate::explanation::{Compared, Explanation, Priced};
use crate::facts::RequestFacts;
use crate::strategy::{Context, Pick};
use crate::time::Time;

use super::Price;

/// Prices this close to the best, relatively, are equal.
const TIE_SHARE: f64 = 0.01;
/// And this close absolutely, in milliseconds.
const TIE_MS: f64 = 1.0;
/// Offers that are kept of a kind: of `n` equal ones about `ln n` may still win. If there are more, the dearest goes.
const RIVALS: usize = 16;

/// A choice that goes on: offers in, a pick out.
pub struct Choice<'a> {
    now: Time,
    /// What ties are hashed with: the model's name.
    key: u64,
    /// Ties take turns instead.
    in_turn: bool,
    free: Best,
    full: Best,
    /// The endpoint whose price is asked for, and the price.
    compared: Option<Compared>,
    /// All offers, if the decision is to be told.
    told: Option<Vec<Offer<'a>>>,
}

/// One candidate and its price.
#[derive(Clone, Copy, Debug)]
struct Offer<'a> {
    endpoint: &'a Endpoint,
    price: Price,
    /// True if it has a free slot now.
    free: bool,
}

impl<'a> Choice<'a> {
    /// No offers yet.
    pub fn new(request: &RequestFacts, cx: &Context<'_>) -> Choice<'a> {
        Choice {
            now: cx.now,
            key: xxh3_64(request.model.as_deref().unwrap_or_default().as_bytes()),
            in_turn: false,
            free: Best::default(),
            full: Best::default(),
            compared: cx.compare.as_deref().copied(),
            told: cx.explain.is_some().then(Vec::new),
        }
    }

    /// Ties go by rendezvous hash of `key` and endpoint, not of the model.
    pub fn ties_by(self, key: u64) -> Choice<'a> {
        Choice { key, ..self }
    }

    /// Ties go to whoever was picked longest ago: they take turns. Prices within `share` of the best are a tie.
    pub fn ties_in_turn(mut self, share: f64) -> Choice<'a> {
        (self.in_turn, self.free.share, self.full.share) = (true, share, share);
        self
    }

    /// One more candidate. `free`: it has a slot for the request now.
    pub fn offer(&mut self, endpoint: &'a Endpoint, price: Price, free: bool) {
        let kind = if free { &mut self.free } else { &mut self.full };
        let total = price.total();
        let (key, in_turn) = (self.key, self.in_turn);
        kind.add(Rival { id: endpoint.id, total, spare: price.spare, hash: 0 }, || match in_turn {
            true => u64::MAX - endpoint.last_pick.0,
            false => xxh3_64_with_seed(&endpoint.key.to_le_bytes(), key),
        });
        if let Some(compared) = &mut self.compared
            && compared.actual == endpoint.id
        {
            compared.actual_ms = Some(total - price.spare);
        }
        if let Some(told) = &mut self.told {
            told.push(Offer { endpoint, price, free });
        }
    }

    /// The pick: the cheapest offer. No offers: wait. Writes what the context asks for.
    pub fn pick(self, cx: &mut Context<'_>) -> Pick {
        let (free, full) = (self.free.winner(), self.full.winner());
        let (pick, winner) = match (free, full) {
            (Some(free), Some(full)) if free.total > full.total => (Pick::WaitFor(full.id), Some(full)),
            (Some(free), _) => (Pick::Endpoint(free.id), Some(free)),
            (None, Some(full)) => (Pick::WaitFor(full.id), Some(full)),
            (None, None) => (Pick::Wait, None),
        };
        if let (Some(asked), Some(compared)) = (cx.compare.as_deref_mut(), self.compared) {
            *asked = Compared { own_ms: winner.map(|winner| winner.total - winner.spare), ..compared };
        }
        if let (Some(explanation), Some(offers)) = (cx.explain.as_deref_mut(), self.told) {
            tell(explanation, &offers, winner.map(|winner| winner.id), self.now);
        }
        pick
    }
}

/// An offer that may still win.
#[derive(Clone, Copy, Debug, Default)]
struct Rival {
    id: EndpointId,
    total: f64,
    /// What was taken off it.
    spare: f64,
    hash: u64,
}

/// The cheapest of one kind, and those that cost little more and have a higher hash: nobody else can win, whatever comes.
struct Best {
    least: f64,
    /// How much more of it is a tie.
    share: f64,
    rivals: [Rival; RIVALS],
    count: usize,
}

impl Default for Best {
    fn default() -> Self {
        Best { least: f64::INFINITY, share: TIE_SHARE, rivals: [Rival::default(); RIVALS], count: 0 }
    }
}

impl Best {
    fn limit(&self) -> f64 {
        self.least + self.least.abs() * self.share + TIE_MS
    }

    fn add(&mut self, new: Rival, hash: impl FnOnce() -> u64) {
        if new.total.is_nan() || new.total > self.limit() {
            return;
        }
        let new = Rival { hash: hash(), ..new };
        self.least = self.least.min(new.total);
        let rules_out = |one: &Rival, other: &Rival| one.total <= other.total && one.hash >= other.hash;
        if self.rivals[..self.count].iter().any(|known| rules_out(known, &new)) {
            return;
        }
        let limit = self.limit();
        self.keep(|known| known.total <= limit && !rules_out(&new, known));
        if self.count == RIVALS {
            let dearest = self.rivals.iter().map(|known| known.total).fold(new.total, f64::max);
            self.keep(|known| known.total < dearest);
        }
        if self.count < RIVALS {
            self.rivals[self.count] = new;
            self.count += 1;
        }
    }

    fn keep(&mut self, stays: impl Fn(&Rival) -> bool) {
        let mut kept = 0;
        for place in 0..self.count {
            if stays(&self.rivals[place]) {
                self.rivals[kept] = self.rivals[place];
                kept += 1;
            }
        }
        self.count = kept;
    }

    /// Of those within the tie the one of the highest hash.
    fn winner(&self) -> Option<Rival> {
        let tied = self.rivals[..self.count].iter().filter(|known| known.total <= self.limit());
        tied.max_by_key(|known| known.hash).copied()
    }
}

/// Writes the offers' terms, cheapest first: the totals are what was compared.
fn tell(explanation: &mut Explanation, offers: &[Offer<'_>], winner: Option<EndpointId>, now: Time) {
    let told = |offer: &Offer<'_>| Priced { picked: Some(offer.endpoint.id) == winner, ..priced(offer, now) };
    explanation.candidates = offers.iter().map(told).collect();
    explanation.candidates.sort_by(|one, other| one.total_ms.total_cmp(&other.total_ms));
    let lines: Vec<String> = explanation.candidates.iter().map(line).collect();
    explanation.summary = lines.join("; ");
}

fn priced(offer: &Offer<'_>, now: Time) -> Priced {
    Priced::new(offer.endpoint, offer.price.terms(), offer.free, now)
}

/// `gpu-1: 0 wait + 410 prefill + 3900 load = 4310 ms`
fn line(priced: &Priced) -> String {
    let mut text = format!("{}:", priced.endpoint);
    for (place, term) in priced.terms.iter().enumerate() {
        let sign = match (place, term.ms < 0.0) {
            (_, true) => "- ",
            (0, false) => "",
            (_, false) => "+ ",
        };
        text += &format!(" {sign}{:.0} {}", term.ms.abs(), term.name);
    }
    text + &format!(" = {:.0} ms", priced.total_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{endpoint, request};
    use crate::endpoint::{Endpoints, Sample};
    use crate::promises::Promises;

    /// Two endpoints, the first the cheaper: the pick, the words and the two prices.
    fn chosen(theta: f64, free: &[bool]) -> (Pick, Explanation, Compared) {
        let mut table = Endpoints::default();
        for name in ["one", "two"] {
            table.insert(endpoint(name, None));
        }
        let sample = Sample { at: Time::from_millis(4_000), ..Sample::default() };
        table.get_mut(EndpointId(1)).expect("two").sample = Some(sample);
        let cheap = Price { prefill: 400.0, ..Price::default() };
        let dear = Price { wait: 10.0, prefill: 410.0, load: 400.0, ..Price::default() };
        let mut told = Explanation::default();
        let mut compared = Compared { actual: EndpointId(1), ..Compared::default() };
        let mut cx = Context {
            now: Time::from_millis(5_500),
            rng: &mut fastrand::Rng::with_seed(1),
            table: &table,
            candidates: &[],
            uncapped: false,
            behind: 0,
            reserved: Promises::NONE,
            explain: Some(&mut told),
            compare: Some(&mut compared),
        };
        let mut choice = Choice::new(&request("m", 1), &cx);
        for ((endpoint, mut price), free) in table.iter().zip([cheap, dear]).zip(free) {
            price.spare = if *free { (theta - 1.0) * price.total() } else { 0.0 };
            choice.offer(endpoint, price, *free);
        }
        (choice.pick(&mut cx), told, compared)
    }

    #[test]
    fn the_cheapest_unless_a_free_one_is_little_dearer() {
        let (one, two) = (EndpointId(0), EndpointId(1));
        assert_eq!(chosen(1.0, &[true, true]).0, Pick::Endpoint(one));
        assert_eq!(chosen(1.0, &[false, true]).0, Pick::WaitFor(one));
        assert_eq!(chosen(0.4, &[false, true]).0, Pick::Endpoint(two));
        assert_eq!(chosen(0.4, &[false, false]).0, Pick::WaitFor(one));
        assert_eq!(chosen(1.0, &[]).0, Pick::Wait);
    }

    #[test]
    fn the_words_are_what_was_compared() {
        let (_, told, compared) = chosen(1.0, &[true, true]);
        let words =
            "one: 0 wait + 400 prefill + 0 decode = 400 ms; two: 10 wait + 410 prefill + 0 decode + 400 load = 820 ms";
        assert_eq!(told.summary, words);
        let ages: Vec<Option<f64>> = told.candidates.iter().map(|one| one.sample_age_ms).collect();
        assert_eq!(ages, [None, Some(1_500.0)]);
        assert_eq!(compared, Compared { actual: EndpointId(1), actual_ms: Some(820.0), own_ms: Some(400.0) });

        let (_, told, compared) = chosen(0.4, &[false, true]);
        let shown: Vec<(&str, f64, bool, bool)> =
            told.candidates.iter().map(|one| (&*one.endpoint, one.total_ms, one.free, one.picked)).collect();
        assert_eq!(shown, [("two", 328.0, true, true), ("one", 400.0, false, false)]);
        assert!(told.summary.contains("- 492 spare = 328 ms"), "theta is a term: {}", told.summary);
        assert_eq!(compared.own_ms, Some(820.0), "a price is a price, whatever theta takes off");
    }

    fn rival(id: u32, total: f64) -> Rival {
        Rival { id: EndpointId(id), total, ..Rival::default() }
    }

    /// The rule, written down plainly.
    fn plain(offers: &[(f64, u64)]) -> Option<usize> {
        let least = offers.iter().map(|(total, _)| *total).fold(f64::INFINITY, f64::min);
        let tied = offers.iter().enumerate().filter(|(_, (total, _))| *total <= least + least * TIE_SHARE + TIE_MS);
        tied.max_by_key(|(_, (_, hash))| *hash).map(|(place, _)| place)
    }

    #[test]
    fn whoever_comes_in_whatever_order_the_same_wins() {
        let mut dice = fastrand::Rng::with_seed(3);
        for run in 0..2_000 {
            let count = dice.usize(0..40);
            // whole milliseconds: many ties, some a little apart
            let offers: Vec<(f64, u64)> =
                (0..count).map(|_| (1000.0 + f64::from(dice.u32(0..30)), dice.u64(..))).collect();
            let mut best = Best::default();
            for (place, (total, hash)) in offers.iter().enumerate() {
                best.add(rival(place as u32, *total), || *hash);
            }
            let winner = best.winner().map(|winner| winner.id.0 as usize);
            assert_eq!(winner, plain(&offers), "run {run}: {offers:?}");
        }
    }

    #[test]
    fn more_rivals_than_there_is_room_for_cost_the_dearest_its_chance() {
        let mut best = Best::default();
        for place in 0..100u32 {
            best.add(rival(place, 1000.0 + f64::from(place) * 0.1), || u64::from(place));
        }
        let winner = best.winner().expect("somebody");
        assert!(winner.total <= 1011.0 && winner.id.0 >= RIVALS as u32 - 2, "{winner:?}");
        best.add(rival(100, f64::NAN), || u64::MAX);
        assert_ne!(best.winner().map(|winner| winner.id), Some(EndpointId(100)), "a price that is none");
    }
}
