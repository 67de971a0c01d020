//! Brings together what clients saw and what the access log says of the same request, and judges each end.
//!
//! Every request that its client did not leave has exactly one line, with the client's status. An end that is not whole
//! must have a reason outside the proxy:
//!
//! | end | legitimate if |
//! |---|---|
//! | error for a request that deserves it | it is the error that is due |
//! | error 500 | the endpoint of the log line answered with it |
//! | 429, 502, 503, 504 | no endpoint that serves the request was well, in its pool, ready, and less than half full from the sending to the end; for strictly kept keys: its own was not |
//! | broken off after the first byte, or garbage | something was wrong with the endpoint of the log line meanwhile |
//!
//! All else counts as lost.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use serde_json::Value;

use crate::ask::{Ask, Wish};
use crate::book::{Away, TRANSIT, now};
use crate::fleet::Member;
use crate::judge::Ending;

/// Statuses that tell a client to come again: an engine that is away for a time is no reason for others.
const PASSING: [u16; 4] = [429, 502, 503, 504];

/// What a client saw; moments on the run's clock.
pub struct Told {
    pub ask: Ask,
    pub ending: Ending,
    pub sent: u64,
    pub ended: u64,
}

/// The access log, read as it grows, and the clients' accounts that wait for their line.
pub struct Accounts {
    log: PathBuf,
    read: u64,
    rest: Vec<u8>,
    told: BTreeMap<u64, Told>,
    lines: BTreeMap<u64, Value>,
    /// Ends by what explains them.
    pub reasons: BTreeMap<&'static str, u64>,
    /// Errors that are not due: status, end and reason in the log.
    pub errors: BTreeMap<String, u64>,
    /// Lines of requests of the soak's own.
    pub seen: u64,
    pub retries: u64,
    strict: bool,
}

impl Accounts {
    /// `strict`: an error while somebody well had room counts as lost.
    pub fn new(log: PathBuf, strict: bool) -> Accounts {
        Accounts {
            log,
            read: 0,
            rest: Vec::new(),
            told: BTreeMap::new(),
            lines: BTreeMap::new(),
            reasons: BTreeMap::new(),
            errors: BTreeMap::new(),
            seen: 0,
            retries: 0,
            strict,
        }
    }

    /// A client's account.
    pub fn tell(&mut self, told: Told) {
        self.told.insert(told.ask.number, told);
    }

    /// Reads what is new and judges what is complete; what was lost, in words.
    pub fn settle(&mut self, members: &[Member]) -> Vec<String> {
        let mut wrong = Vec::new();
        for line in self.news() {
            let number = line["id"].as_str().and_then(|id| id.strip_prefix("soak-")?.parse().ok());
            let Some(number) = number else { continue };
            self.seen += 1;
            self.retries += line["retries"].as_u64().unwrap_or(0);
            if self.lines.insert(number, line).is_some() {
                wrong.push(format!("request {number} has two lines in the access log"));
            }
        }
        let ripe = |told: &&Told| told.ended + TRANSIT < now() && self.lines.contains_key(&told.ask.number);
        let complete: Vec<u64> = self.told.values().filter(ripe).map(|told| told.ask.number).collect();
        for number in complete {
            if let (Some(told), Some(line)) = (self.told.remove(&number), self.lines.remove(&number)) {
                if let (Ending::Error(status), false) = (&told.ending, matches!(told.ask.wish, Wish::Error(_))) {
                    let (end, reason) =
                        (line["end"].as_str().unwrap_or("?"), line["reason"].as_str().unwrap_or("no reason"));
                    *self.errors.entry(format!("{status} `{end}` {}", without_names(reason))).or_default() += 1;
                }
                match judge(&told, &line, members) {
                    Ok(reason) => *self.reasons.entry(reason).or_default() += 1,
                    Err(words) if !self.strict && words.starts_with("error") => {
                        *self.reasons.entry("error, not judged: this binary has a limit of retries").or_default() += 1;
                    }
                    Err(words) => wrong.push(tell(&told, &words, &line)),
                }
            }
        }
        wrong
    }

    /// What never found its other half, once all has been said: words, and requests whose client left unheard.
    pub fn close(&mut self) -> (Vec<String>, u64) {
        let (left, other): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.told).into_values().partition(|told| told.ending == Ending::Left);
        let mut wrong: Vec<String> =
            other.iter().map(|told| tell(told, "no line in the access log", &Value::Null)).collect();
        wrong.extend(self.lines.values().map(|line| format!("a line without a request, or a second one: {line}")));
        (wrong, left.len() as u64)
    }

    /// True if every account has found its line, but those of clients that left.
    pub fn complete(&self) -> bool {
        self.lines.is_empty() && self.told.values().all(|told| told.ending == Ending::Left)
    }

    /// Lines that are new in the log.
    fn news(&mut self) -> Vec<Value> {
        let Ok(mut file) = std::fs::File::open(&self.log) else { return Vec::new() };
        if file.seek(SeekFrom::Start(self.read)).is_err() {
            return Vec::new();
        }
        self.read += file.read_to_end(&mut self.rest).unwrap_or(0) as u64;
        let end = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |place| place + 1);
        let whole: Vec<u8> = self.rest.drain(..end).collect();
        whole.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
    }
}

/// A reason without the numbers and names in it, so that equal ones are counted together.
fn without_names(reason: &str) -> String {
    let word =
        |word: &str| if word.contains(|sign: char| sign.is_ascii_digit()) { "N".to_owned() } else { word.to_owned() };
    let words: Vec<String> = reason.split(' ').take(12).map(word).collect();
    words.join(" ")
}

fn tell(told: &Told, words: &str, line: &Value) -> String {
    let Ask { number, path, route, model, h2, leave, wish, .. } = &told.ask;
    let (ending, took) = (&told.ending, (told.ended - told.sent) / 1000);
    format!(
        "{words}: request {number} ({path} route {route} model {model} h2 {h2} {leave:?} {wish:?}), {took} ms: {ending:?}; log: {line}"
    )
}

/// What explains the end; else what is wrong, in words.
fn judge(told: &Told, line: &Value, members: &[Member]) -> Result<&'static str, String> {
    let Told { ask, ending, sent, ended } = told;
    let endpoint = members.iter().find(|member| line["endpoint"] == member.name);
    let sick = |only| endpoint.is_some_and(|member| member.book.was_sick(*sent, *ended, only));
    let logged = line["status"].as_u64().unwrap_or(0);
    let status = match ending {
        Ending::Left => return Ok("its own client left"),
        Ending::Lost(_) => return Err("lost".to_owned()),
        Ending::Error(status) => u64::from(*status),
        _ => 200,
    };
    if logged != status {
        return Err(format!("the client saw status {status}"));
    }
    match ending {
        Ending::Whole => Ok("answered whole"),
        Ending::Error(status) if ask.wish == Wish::Error(*status) => Ok("an error that is due"),
        Ending::Error(500) if sick(Some(Away::Error500)) => Ok("an engine's own 500"),
        Ending::Error(503)
            if ask.route == "hard" && line["reason"].as_str().is_some_and(|words| words.contains("holds this")) =>
        {
            Ok("a strictly kept key, its endpoint away")
        }
        Ending::Error(status) if !PASSING.contains(status) => Err(format!("error {status} tells that it is for good")),
        Ending::Error(_) => {
            match members.iter().find(|member| member.serves(ask) && member.book.had_room(*sent, *ended)) {
                Some(member) => Err(format!("error although {} had room", member.name)),
                None => Ok("an error while nobody well had room"),
            }
        }
        _ if sick(None) => Ok("broken by a sick engine"),
        _ => Err("broken by an engine that was well".to_owned()),
    }
}
