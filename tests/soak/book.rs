//! What is known of one engine over time: which requests it holds, its cap, and when it was not to be had.
//!
//! Moments and spans are microseconds on the run's own clock ([`now`]). A cap holds for requests that were sent after it
//! was set; a raised one from the moment of asking for it, a lowered one from the moment of the answer.
//!
//! Above its cap an engine may only seem to be: its sender gave a request up, gave the slot on, and the engine hears of the
//! first a little later than of the second. So an excess is judged [`OVERLAP`] later, without those given up by then.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use parking_lot::Mutex;

const SECOND: u64 = 1_000_000;
/// Longest that a given-up request may seem to be there.
pub const OVERLAP: u64 = SECOND;
/// An excused answer's request was sent at most this long ago.
const MEMORY: u64 = 180 * SECOND;
/// A slot may be taken in the proxy's count somewhat before and after it is in ours.
pub const TRANSIT: u64 = SECOND / 2;

/// Microseconds since the run began.
pub fn now() -> u64 {
    static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    BEGIN.elapsed().as_micros() as u64
}

/// Why an engine is not to be had, or not well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Away {
    /// Its requests fail.
    Fault,
    /// It says that it is busy.
    Busy,
    /// It answers 500, which is no reason to try elsewhere.
    Error500,
    /// Not listening.
    Killed,
    /// The operator's word or the configuration's: drain, maint, weight 0, not a member.
    Word,
}

impl Away {
    /// How long the proxy may keep away afterwards: ejection, health, slow start, the longest back-off.
    fn aftermath(self) -> u64 {
        match self {
            Away::Busy => 31 * SECOND,
            Away::Fault | Away::Error500 | Away::Killed => 5 * SECOND,
            Away::Word => 2 * SECOND,
        }
    }

    fn is_sickness(self) -> bool {
        self != Away::Word
    }
}

#[derive(Clone, Copy)]
struct Span {
    from: u64,
    to: u64,
}

impl Span {
    fn meets(self, from: u64, to: u64) -> bool {
        self.from <= to && self.to >= from
    }
}

/// More requests than allowed, perhaps.
struct Excess {
    at: u64,
    present: BTreeMap<u64, u64>,
    allowed: u32,
}

/// See the top.
pub struct Book {
    pub name: &'static str,
    page: Mutex<Page>,
}

#[derive(Default)]
struct Page {
    next: u64,
    /// Requests by number, and when each began.
    held: BTreeMap<u64, u64>,
    /// When it was given up, and when it was answered, of late.
    given_up: BTreeMap<u64, u64>,
    answered: BTreeMap<u64, u64>,
    caps: Vec<(u64, u32)>,
    away: Vec<(Away, Span)>,
    /// More than half of the cap was in use.
    crowded: Vec<Span>,
    crowded_since: Option<u64>,
    /// From when on nothing new may come.
    shut: Option<u64>,
    excesses: Vec<Excess>,
    counts: Counts,
    wrong: Vec<String>,
}

/// For the report.
#[derive(Clone, Copy, Default)]
pub struct Counts {
    pub requests: u64,
    pub given_up: u64,
    /// The most at once, given-up ones included.
    pub most: usize,
    /// Excesses that given-up requests explain, and all others.
    pub overlaps: u64,
    pub over_cap: u64,
    /// Arrivals that were judged against a cap changed at run time less than 10 s before.
    pub near_change: u64,
}

impl Book {
    pub fn new(name: &'static str, cap: u32) -> Arc<Book> {
        let page = Page { caps: vec![(0, cap)], ..Page::default() };
        Arc::new(Book { name, page: Mutex::new(page) })
    }

    /// A request begins; `sent` is when its client sent it.
    pub fn begin(self: &Arc<Self>, sent: Option<u64>) -> Stay {
        let at = now();
        let mut page = self.page.lock();
        let number = page.next;
        page.next += 1;
        page.held.insert(number, at);
        let (held, allowed) = (page.held.len(), page.most_allowed(sent.unwrap_or(0)));
        page.counts.requests += 1;
        page.counts.most = page.counts.most.max(held);
        page.counts.near_change += u64::from(page.caps.last().is_some_and(|(since, _)| *since + 10 * SECOND > at));
        if held > allowed as usize {
            let present = page.held.clone();
            page.excesses.push(Excess { at, present, allowed });
        }
        if let (Some(shut), Some(sent)) = (page.shut, sent)
            && sent > shut
        {
            let words = format!("{}: got a request {} us after it was taken out", self.name, sent - shut);
            page.wrong.push(words);
        }
        page.note_crowd(at);
        Stay { book: self.clone(), number, answered: false }
    }

    /// The connection was closed behind this request's answer: its sender may have given it up before its last byte.
    pub fn closed_behind(&self, number: u64) {
        self.page.lock().given_up.entry(number).or_insert_with(now);
    }

    /// The cap is about to be this.
    pub fn cap_will_be(&self, cap: u32) {
        self.page.lock().set_cap(cap, |new, old| new > old);
    }

    /// The cap is this now.
    pub fn cap_is(&self, cap: u32) {
        self.page.lock().set_cap(cap, |new, old| new < old);
    }

    /// Away from now on; until [`Book::back`], or for this long.
    pub fn leaves(&self, away: Away, lasting: Option<u64>) {
        let at = now();
        let to = lasting.map_or(u64::MAX, |span| at + span);
        let mut page = self.page.lock();
        let known = lasting.is_none() && page.away.iter().any(|(why, span)| *why == away && span.to == u64::MAX);
        if !known {
            page.away.push((away, Span { from: at, to }));
        }
    }

    /// No longer away for this reason.
    pub fn back(&self, away: Away) {
        let at = now();
        let mut page = self.page.lock();
        page.away
            .iter_mut()
            .filter(|(why, span)| *why == away && span.to == u64::MAX)
            .for_each(|(_, span)| span.to = at);
    }

    /// From now on nothing new may come, or it may again.
    pub fn shut(&self, shut: bool) {
        let mut page = self.page.lock();
        page.shut = shut.then(|| page.shut.unwrap_or_else(now));
    }

    /// True if between these moments it was well, in its pool, ready, and never more than half full. Ask [`TRANSIT`] later.
    pub fn had_room(&self, from: u64, to: u64) -> bool {
        let page = self.page.lock();
        let away = page.away.iter().any(|(why, span)| span.meets(from.saturating_sub(why.aftermath()), to));
        let (early, late) = (from.saturating_sub(TRANSIT), to + TRANSIT);
        let crowded = page.crowded.iter().any(|span| span.meets(early, late));
        !away && !crowded && page.crowded_since.is_none_or(|since| since > late)
    }

    /// True if something was wrong with it between these moments; `only` = this.
    pub fn was_sick(&self, from: u64, to: u64, only: Option<Away>) -> bool {
        let page = self.page.lock();
        let counts = |why: Away| only.map_or(why.is_sickness(), |only| why == only);
        page.away.iter().any(|(why, span)| counts(*why) && span.meets(from, to))
    }

    /// Judges old excesses, forgets what is too old to matter; what was wrong since the last call.
    pub fn settle(&self) -> Vec<String> {
        let at = now();
        let mut page = self.page.lock();
        let (old, young) = std::mem::take(&mut page.excesses).into_iter().partition(|excess| excess.at + OVERLAP < at);
        page.excesses = young;
        let old: Vec<Excess> = old;
        for excess in old {
            let gone = |number: &&u64| page.given_up.get(number).is_some_and(|when| *when <= excess.at + OVERLAP);
            let there = excess.present.len() - excess.present.keys().filter(gone).count();
            if there <= excess.allowed as usize {
                page.counts.overlaps += 1;
                continue;
            }
            page.counts.over_cap += 1;
            let stays: Vec<String> =
                excess.present.iter().map(|(number, from)| page.stay(excess.at, *number, *from)).collect();
            let words = format!("{}: {there} at once, {} are allowed: {}", self.name, excess.allowed, stays.join("; "));
            page.wrong.push(words);
        }
        let oldest = at.saturating_sub(MEMORY);
        page.given_up.retain(|_, when| *when + 10 * OVERLAP > at);
        page.answered.retain(|_, when| *when + 10 * OVERLAP > at);
        page.away.retain(|(why, span)| span.to.saturating_add(why.aftermath()) > oldest);
        page.crowded.retain(|span| span.to > oldest);
        std::mem::take(&mut page.wrong)
    }

    pub fn counts(&self) -> Counts {
        self.page.lock().counts
    }

    /// Requests that it holds now.
    pub fn held(&self) -> usize {
        self.page.lock().held.len()
    }
}

impl Page {
    /// A request's time here, in words, as seen from a moment.
    fn stay(&self, at: u64, number: u64, from: u64) -> String {
        let after = |when: &u64| (*when).saturating_sub(at) / 1000;
        let end = match (self.given_up.get(&number), self.answered.get(&number)) {
            (Some(when), _) => format!("given up {} ms later", after(when)),
            (None, Some(when)) => format!("answered {} ms later", after(when)),
            (None, None) => "still there".to_owned(),
        };
        format!("{number} came {} ms before, {end}", (at - from) / 1000)
    }

    fn cap(&self) -> u32 {
        self.caps.last().map_or(u32::MAX, |(_, cap)| *cap)
    }

    fn set_cap(&mut self, cap: u32, if_so: fn(u32, u32) -> bool) {
        if if_so(cap, self.cap()) {
            self.caps.push((now(), cap));
        }
    }

    /// The highest cap that was in force at any time since.
    fn most_allowed(&self, since: u64) -> u32 {
        let before = self.caps.partition_point(|(from, _)| *from <= since).saturating_sub(1);
        self.caps[before..].iter().map(|(_, cap)| *cap).max().unwrap_or(u32::MAX)
    }

    fn note_crowd(&mut self, at: u64) {
        let crowded = self.held.len() * 2 > self.cap() as usize;
        match (crowded, self.crowded_since) {
            (true, None) => self.crowded_since = Some(at),
            (false, Some(from)) => {
                self.crowded_since = None;
                self.crowded.push(Span { from, to: at });
            }
            _ => {}
        }
    }
}

/// A request's time at an engine; given up unless it was answered.
pub struct Stay {
    book: Arc<Book>,
    number: u64,
    answered: bool,
}

impl Stay {
    pub fn number(&self) -> u64 {
        self.number
    }

    /// It is answered to the end.
    pub fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        let at = now();
        let mut page = self.book.page.lock();
        page.held.remove(&self.number);
        if self.answered {
            page.answered.insert(self.number, at);
        } else {
            page.counts.given_up += 1;
            page.given_up.insert(self.number, at);
        }
        page.note_crowd(at);
    }
}
