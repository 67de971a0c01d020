//! The cases, one file per mechanism, and the small sums that they share.

use futures::future::LocalBoxFuture;

use crate::report::Finding;
use crate::world::World;

pub mod backup;
pub mod bound;
pub mod cookie;
pub mod first;
pub mod hash;
pub mod keys;
pub mod least;
pub mod marked_down;
pub mod operate;
pub mod passive;
pub mod priority;
pub mod queue;
pub mod random;
pub mod redispatch;
pub mod reload;
pub mod slow_start;
pub mod statistics;
pub mod turns;

type Found<'a> = LocalBoxFuture<'a, anyhow::Result<Vec<Finding>>>;

/// One mechanism.
pub struct Case {
    /// Its name, for `--only`.
    pub name: &'static str,
    /// Drives both sides and compares.
    pub run: for<'a> fn(&'a World) -> Found<'a>,
}

/// All of them; those that take longest come early, since some run at the same time.
pub fn all() -> Vec<Case> {
    macro_rules! cases {
        ($($name:literal: $run:path),* $(,)?) => { vec![$(Case { name: $name, run: |world| Box::pin($run(world)) }),*] };
    }
    cases![
        "slow start": slow_start::run,
        "hash: shares": hash::shares,
        "hash: keys": keys::run,
        "hash: removal": hash::removal,
        "hash: bounded load": bound::run,
        "hash: full endpoint": bound::full,
        "roundrobin": turns::run,
        "leastconn": least::run,
        "first": first::run,
        "random": random::run,
        "backup": backup::run,
        "state and weight at run time": operate::run,
        "cap at run time": operate::caps,
        "maxconn and queue": queue::caps,
        "timeout queue": queue::patience,
        "maxqueue": queue::full,
        "priority class": priority::run,
        "redispatch": redispatch::run,
        "retry-on": redispatch::statuses,
        "passive observation": passive::run,
        "marked down": marked_down::run,
        "cookie insert": cookie::run,
        "statistics": statistics::run,
        "maxconn across a reload": reload::run,
    ]
}

/// How often each of `count` engines occurs.
fn tally(owners: &[usize], count: usize) -> Vec<usize> {
    let mut tally = vec![0; count];
    owners.iter().for_each(|owner| tally[*owner] += 1);
    tally
}

/// `10:20:50`.
fn ratio<T: ToString>(counts: &[T]) -> String {
    counts.iter().map(ToString::to_string).collect::<Vec<_>>().join(":")
}

/// By how much the share of an engine is at most off its weight's, relative to that.
fn worst_share(counts: &[usize], weights: &[u32]) -> f64 {
    let (all, sum) = (counts.iter().sum::<usize>() as f64, f64::from(weights.iter().sum::<u32>()));
    let off = |(count, weight): (&usize, &u32)| (*count as f64 / all / (f64::from(*weight) / sum) - 1.0).abs();
    counts.iter().zip(weights).map(off).fold(0.0, f64::max)
}

/// `1.23 %`.
fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}
