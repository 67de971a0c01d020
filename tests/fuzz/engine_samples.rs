//! Engines that answer anything: every adapter takes it, refuses it or does without, and tells no impossible figure.
//!
//! A server on the loopback gives the answers of a known engine, some of them changed: other bytes, other values in the
//! JSON, other statuses; or one text to every question. All adapters are asked, and `auto`. Unchanged answers must be
//! recognised. The same answers must give the same load: an adapter keeps nothing between two questions.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arriero::dialect::Dialect;
use arriero::dialect::merge::{self, Source};
use arriero::engine::{Engine, EngineKind, Lists, Load, Probe, ProbeError, Target, detect};
use arriero_core::endpoint::Inventory;
use arriero_core::time::Time;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

use crate::engines::{ENGINES, ODD, ODD_NUMBERS, WORDS};
use crate::input::{Dice, changed, plain_text, seed_of, soup};

/// What is answered to a path (with its query); other paths are not found.
#[derive(Clone, Default)]
struct Answers {
    by_path: BTreeMap<&'static str, (u16, Vec<u8>)>,
    otherwise: Option<Vec<u8>>,
}

/// The server and the way to it, once per thread.
struct Bench {
    runtime: Runtime,
    answers: Arc<Mutex<Answers>>,
    probe: Probe,
}

thread_local! {
    static BENCH: OnceCell<Bench> = const { OnceCell::new() };
}

pub(crate) fn check(input: &[u8]) {
    let (answers, kind, expected) = answers(input);
    BENCH.with(|bench| {
        let bench = bench.get_or_init(Bench::new);
        *bench.answers.lock().unwrap_or_else(PoisonError::into_inner) = answers;
        bench.runtime.block_on(async {
            ask(&bench.probe, kind, expected).await;
        });
    });
}

/// The answers, the kind to ask as, and what unchanged answers must be taken for.
fn answers(input: &[u8]) -> (Answers, EngineKind, Option<EngineKind>) {
    let any_kind = EngineKind::ALL[seed_of(input) as usize % EngineKind::ALL.len()];
    if let Some(text) = plain_text(input) {
        return (Answers { otherwise: Some(text.to_vec()), ..Answers::default() }, any_kind, None);
    }
    let mut dice = Dice::new(input);
    let (name, known) = ENGINES[dice.below(ENGINES.len())];
    let as_known = |(path, body): &(&'static str, &str)| (*path, (200, body.as_bytes().to_vec()));
    let mut answers = Answers { by_path: known.iter().map(as_known).collect(), otherwise: None };
    let kind = name.parse().unwrap_or(any_kind);
    let changes = dice.below(4);
    for _ in 0..changes {
        let (path, body) = known[dice.below(known.len())];
        let body = change(body.as_bytes(), &mut dice);
        let status = if dice.one_in(6) { [500, 503, 404, 401, 429, 302, 204][dice.below(7)] } else { 200 };
        answers.by_path.insert(path, (status, if status == 204 { Vec::new() } else { body }));
    }
    if changes == 0 {
        return (answers, EngineKind::Auto, name.parse().ok());
    }
    let asked = match dice.below(6) {
        0 => EngineKind::Auto,
        1 => any_kind,
        _ => kind,
    };
    (answers, asked, None)
}

fn change(body: &[u8], dice: &mut Dice<'_>) -> Vec<u8> {
    match (dice.below(4), serde_json::from_slice::<Value>(body)) {
        (0, _) => {
            let length = dice.below(40);
            let bytes: Vec<u8> = (0..length).map(|_| dice.byte()).collect();
            soup(Dice::new(&bytes), &WORDS)
        }
        (1, _) => changed(body, 3, dice, &WORDS),
        (_, Err(_)) => with_odd_numbers(body, dice),
        (_, Ok(mut value)) => {
            for _ in 0..1 + dice.below(3) {
                let depth = dice.below(7);
                put_odd(&mut value, depth, dice);
            }
            value.to_string().into_bytes()
        }
    }
}

/// A page of metrics with other numbers in up to three places.
fn with_odd_numbers(page: &[u8], dice: &mut Dice<'_>) -> Vec<u8> {
    let page = String::from_utf8_lossy(page);
    let mut words: Vec<&str> = page.split_inclusive([' ', '\n']).collect();
    let places: Vec<usize> = (0..words.len()).filter(|place| words[*place].trim().parse::<f64>().is_ok()).collect();
    if !places.is_empty() {
        for _ in 0..1 + dice.below(3) {
            words[places[dice.below(places.len())]] = dice.pick(&ODD_NUMBERS);
        }
    }
    words.concat().into_bytes()
}

/// Puts an odd value `depth` levels down, or where the way ends.
fn put_odd(value: &mut Value, depth: usize, dice: &mut Dice<'_>) {
    match value {
        Value::Array(items) if depth > 0 && !items.is_empty() => {
            let place = dice.below(items.len());
            put_odd(&mut items[place], depth - 1, dice);
        }
        Value::Object(fields) if depth > 0 && !fields.is_empty() => {
            let place = dice.below(fields.len());
            let inner = fields.values_mut().nth(place).expect("a place in range");
            put_odd(inner, depth - 1, dice);
        }
        leaf => *leaf = serde_json::from_str(dice.pick(&ODD)).expect("JSON"),
    }
}

async fn ask(probe: &Probe, kind: EngineKind, expected: Option<EngineKind>) {
    let (description, engine) = match detect(probe, kind).await {
        Ok(detected) => detected,
        Err(error) => {
            assert_eq!(expected, None, "a known engine is refused: {error}");
            return is_short(&error);
        }
    };
    assert_ne!(description.kind, EngineKind::Auto, "an adapter must be chosen");
    assert!(kind == EngineKind::Auto || description.kind == kind, "{kind} became {}", description.kind);
    assert!(expected.is_none_or(|expected| expected == description.kind), "taken for {}", description.kind);
    let first = turn(&*engine).await;
    assert_eq!(turn(&*engine).await, first, "the same answers, another reading");
}

type Turn = (Result<(), ProbeError>, Result<(Inventory, Lists), ProbeError>, Result<Load, ProbeError>);

/// One round of questions as the watch asks them.
async fn turn(engine: &dyn Engine) -> Turn {
    let health = engine.health().await;
    let inventory = engine.inventory().await;
    let known = inventory.as_ref().map_or(Inventory::Unknown, |(inventory, _)| inventory.clone());
    let sample = engine.sample(&known).await;
    if let Ok((inventory, lists)) = &inventory {
        is_mergeable(lists);
        assert_ne!(*inventory, Inventory::Unknown, "an answer is an inventory");
    }
    if let Ok(load) = &sample {
        is_possible(load);
    }
    health.as_ref().err().into_iter().chain(inventory.as_ref().err()).chain(sample.as_ref().err()).for_each(is_short);
    (health, inventory, sample)
}

fn is_possible(load: &Load) {
    assert!(load.kv_used.is_none_or(|share| (0.0..=1.0).contains(&share)), "KV share {:?}", load.kv_used);
    assert_ne!(load.slots, Some(0), "an engine without slots");
    let sample = load.clone().into_sample(Time::from_millis(7));
    assert_eq!((sample.running, sample.waiting), (load.running, load.waiting));
}

/// An error tells what was asked and why it failed, and nothing of a body.
fn is_short(error: &ProbeError) {
    let text = error.to_string();
    assert!(text.len() < 400 && !text.contains("odd-secret"), "{text}");
}

/// What clients are shown can be made of whatever the engine listed.
fn is_mergeable(lists: &Lists) {
    let twice = |name: &str| vec![name.to_owned(), format!("{name}-too")];
    for list in [&lists.models, &lists.tags] {
        let list = Value::from(list.clone());
        let sources = [Source { list: &list, public: &twice }];
        for dialect in [Dialect::OpenAi, Dialect::Anthropic] {
            let merged = merge::models(&sources, dialect);
            let rows = merged["data"].as_array().expect("a list");
            assert!(rows.iter().all(|row| row["id"].is_string()), "{merged}");
        }
        assert!(merge::tags(&sources)["models"].is_array());
        assert!(merge::ps(&sources)["models"].is_array());
    }
}

impl Bench {
    fn new() -> Bench {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let answers = Arc::<Mutex<Answers>>::default();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let target = Target { url, timeout: Duration::from_secs(10), ..Target::default() };
        let probe = {
            let _inside = runtime.enter();
            Probe::new(&target, None).expect("a good target")
        };
        runtime.spawn(serve(listener, answers.clone()));
        Bench { runtime, answers, probe }
    }
}

async fn serve(listener: TcpListener, answers: Arc<Mutex<Answers>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let answers = answers.clone();
        tokio::spawn(async move {
            // ends when the client hangs up
            let _ = connection(stream, &answers).await;
        });
    }
}

/// Answers one request after the other.
async fn connection(stream: TcpStream, answers: &Mutex<Answers>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut request = String::new();
        while !request.ends_with("\r\n\r\n") {
            if stream.read_line(&mut request).await? == 0 {
                return Ok(());
            }
        }
        let path = request.split(' ').nth(1).unwrap_or_default();
        let (status, body) = {
            let answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
            let known = answers.by_path.get(path).cloned();
            let otherwise = answers.otherwise.clone().map(|body| (200, body));
            known.or(otherwise).unwrap_or((404, b"{\"error\":\"not found\"}".to_vec()))
        };
        let length = if status == 204 { String::new() } else { format!("content-length: {}\r\n", body.len()) };
        let head = format!("HTTP/1.1 {status} Answer\r\n{length}content-type: application/json\r\n\r\n");
        stream.write_all(&[head.as_bytes(), &body].concat()).await?;
        stream.flush().await?;
    }
}
