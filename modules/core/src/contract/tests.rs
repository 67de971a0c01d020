//! The contract refuses what it is there to refuse.

use std::collections::HashSet;
use std::panic::catch_unwind;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::black_hole::MOST_WASTED;
use super::*;
use crate::endpoint::Endpoint;
use crate::event::Event;
use crate::strategy::{Context, Needs, Strategy};

const GOOD: u8 = 0;
const ANY_ENDPOINT: u8 = 1;
const FULL_TOO: u8 = 2;
const WEIGHTLESS_TOO: u8 = 3;
const HOARDER: u8 = 4;
const FORGETS_OPTIONS: u8 = 5;
const OUT_OF_NOTHING: u8 = 6;
const UNASKED: u8 = 7;
const CAPPED_ALWAYS: u8 = 8;
const CLINGS: u8 = 9;
const HASTY: u8 = 10;
const SHY: u8 = 11;

/// A module with the given vice.
struct Vice<const KIND: u8>;

#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct NoOptions {}

impl<const KIND: u8> Module for Vice<KIND> {
    const NAME: &'static str = "vice";
    const SUMMARY: &'static str = "does one thing wrong";
    type Options = NoOptions;

    fn build(_options: NoOptions) -> Result<Box<dyn Strategy>, String> {
        Ok(Box::new(Doer::<KIND> { seen: HashSet::new() }))
    }
}

struct Doer<const KIND: u8> {
    seen: HashSet<u64>,
}

impl<const KIND: u8> Strategy for Doer<KIND> {
    fn needs(&self) -> Needs {
        Needs { full_endpoints: KIND == FULL_TOO || KIND == HASTY, ..Needs::default() }
    }

    fn pick(&self, request: &RequestFacts, cx: &mut Context<'_>) -> Pick {
        let weighty = |endpoint: &&Endpoint| KIND == WEIGHTLESS_TOO || endpoint.spec.weight > 0;
        let chosen = match KIND {
            ANY_ENDPOINT => cx.table.iter().filter(weighty).filter(|e| cx.is_free(e)).map(|endpoint| endpoint.id).min(),
            FULL_TOO => cx.endpoints().find(weighty).map(|endpoint| endpoint.id),
            OUT_OF_NOTHING => Some(EndpointId(0)),
            UNASKED if request.session.is_some() => cx.free().filter(weighty).last().map(|endpoint| endpoint.id),
            CAPPED_ALWAYS => cx.endpoints().find(|e| weighty(e) && e.is_free(cx.now)).map(|endpoint| endpoint.id),
            CLINGS if request.pin.is_some() => cx.free().filter(weighty).last().map(|endpoint| endpoint.id),
            HASTY => cx.endpoints().find(|e| weighty(e) && may_hold_more(e, cx)).map(|endpoint| endpoint.id),
            SHY => cx.free().find(|e| weighty(e) && e.ramp(cx.now) > 0.5).map(|endpoint| endpoint.id),
            _ => cx.free().find(weighty).map(|endpoint| endpoint.id),
        };
        chosen.map_or(Pick::Wait, Pick::Endpoint)
    }

    fn observe(&mut self, event: &Event<'_>, _cx: &mut Context<'_>) {
        if let Event::Started { request, .. } = event
            && KIND == HOARDER
        {
            self.seen.extend(request.session);
            self.seen.extend(request.session.map(|session| !session));
            self.seen.extend(request.session.map(|session| session << 32));
            self.seen.extend(request.session.map(|session| !(session << 32)));
        }
    }

    fn options(&self) -> serde_json::Value {
        if KIND == FORGETS_OPTIONS { serde_json::Value::Null } else { serde_json::json!({}) }
    }
}

/// By the whole cap, not by the one that it has reached.
fn may_hold_more(endpoint: &crate::endpoint::Endpoint, cx: &Context<'_>) -> bool {
    cx.uncapped || endpoint.full_cap().is_none_or(|cap| endpoint.in_flight() < cap)
}

fn keeps<const KIND: u8>() -> Result<(), String> {
    catch_unwind(contract::<Vice<KIND>>).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.unwrap_or_else(|| "another panic".into())
    })
}

fn broken<const KIND: u8>(words: &str) {
    let found = keeps::<KIND>().expect_err("the contract let it pass");
    assert!(found.contains(words), "{found}");
}

#[test]
fn a_plain_module_passes() {
    assert_eq!(keeps::<GOOD>(), Ok(()));
}

#[test]
fn vices_are_found() {
    broken::<ANY_ENDPOINT>("not a candidate");
    broken::<FULL_TOO>("is full");
    broken::<WEIGHTLESS_TOO>("weight 0");
    broken::<FORGETS_OPTIONS>("options in force");
    broken::<OUT_OF_NOTHING>("out of nothing");
    broken::<UNASKED>("did not ask for");
    broken::<CAPPED_ALWAYS>("waits for no slot");
    broken::<CLINGS>("looks at pins");
    broken::<HASTY>("slots so far");
    broken::<SHY>("one free endpoint is taken");
}

/// Alone in its process or not: others' memory only adds to the growth.
#[test]
fn hoarding_is_found() {
    if resident_bytes().is_some() {
        broken::<HOARDER>("grew by");
    }
}

/// What the black hole is for: without ejection a plain module that takes the first free endpoint feeds it.
#[test]
fn the_black_hole_attracts_unless_it_is_ejected() {
    for illness in [Illness::FailsFast, Illness::Hangs] {
        let open = BlackHole { ejection: None, ..BlackHole::new(illness, 1) }.play::<Vice<GOOD>>();
        let ejected = BlackHole::new(illness, 1).play::<Vice<GOOD>>();
        assert!(open.wasted > 3 * ejected.wasted && open.share() > 1.5 * MOST_WASTED, "{open:?} {ejected:?}");
        assert_eq!(ejected.lost, 0, "{ejected:?}");
    }
}
