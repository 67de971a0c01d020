//! Proof that the soak can fail: books and accounts that are given what must not be, and complain.

use std::time::Duration;

use serde_json::{Value, json};

use crate::accounts::{Accounts, Told};
use crate::ask::{Ask, Wish, draw};
use crate::book::{Away, Book, OVERLAP, TRANSIT, now};
use crate::fleet::{self, Member};
use crate::judge::Ending;

/// Longer than an excess waits to be judged.
async fn long_enough() {
    tokio::time::sleep(Duration::from_micros(OVERLAP + 200_000)).await;
}

#[tokio::test]
async fn an_engine_above_its_cap_is_noticed() {
    let (even, over, left) = (Book::new("even", 2), Book::new("over", 1), Book::new("left", 1));
    let _within = (even.begin(None), even.begin(None));
    let (first, second) = (over.begin(None), over.begin(None));
    let (gone, _stays) = (left.begin(None), left.begin(None));
    drop(gone);
    long_enough().await;
    second.answered();
    drop(first);
    assert_eq!(even.settle(), Vec::<String>::new());
    assert_eq!(over.settle().len(), 1);
    assert_eq!(left.settle(), Vec::<String>::new(), "the first was given up");
    assert_eq!((over.counts().over_cap, left.counts().overlaps), (1, 1));
}

#[tokio::test]
async fn a_lowered_cap_holds_for_what_is_sent_afterwards() {
    let [before, after] = [Book::new("before", 2), Book::new("after", 2)];
    let sent = now();
    tokio::time::sleep(Duration::from_millis(2)).await;
    [&before, &after].into_iter().for_each(|book| book.cap_is(1));
    tokio::time::sleep(Duration::from_millis(2)).await;
    let _stays = (before.begin(Some(sent)), before.begin(Some(sent)));
    let _stays_too = (after.begin(Some(sent)), after.begin(Some(now())));
    long_enough().await;
    assert_eq!((before.settle().len(), after.settle().len()), (0, 1));
}

#[tokio::test]
async fn what_comes_to_an_engine_that_is_out_is_noticed() {
    let book = Book::new("out", 8);
    let sent = now();
    tokio::time::sleep(Duration::from_millis(2)).await;
    book.shut(true);
    tokio::time::sleep(Duration::from_millis(2)).await;
    book.begin(Some(sent)).answered();
    assert_eq!(book.settle().len(), 0, "it was sent before");
    book.begin(Some(now())).answered();
    assert_eq!(book.settle().len(), 1);
}

/// What the accounts make of one request.
async fn verdict(members: &[Member], ask: Ask, ending: Ending, line: &Value) -> (Vec<String>, Vec<&'static str>) {
    let dir = tempfile::tempdir().expect("a folder");
    let log = dir.path().join("log");
    std::fs::write(&log, format!("{line}\n")).expect("a file");
    let mut accounts = Accounts::new(log, true);
    let at = now();
    accounts.tell(Told { ask, ending, sent: at, ended: at });
    while now() < at + TRANSIT + 1000 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut wrong = accounts.settle(members);
    wrong.extend(accounts.close().0);
    (wrong, accounts.reasons.into_keys().collect())
}

fn request(wish: Wish) -> Ask {
    let mut asks = (1..).map(|number| draw(1, number, false, &["0"]));
    let fits = |ask: &Ask| ask.wish == wish && ask.route == "0" && (ask.model == "small" || wish != Wish::Plain);
    asks.find(fits).expect("there are all kinds")
}

#[tokio::test]
async fn an_error_is_lost_only_while_somebody_well_has_room() {
    let members = fleet::start().await;
    let ask = request(Wish::Plain);
    let line = json!({ "id": format!("soak-{}", ask.number), "status": 502, "endpoint": "d", "retries": 2 });
    let (wrong, _) = verdict(&members, ask.clone(), Ending::Error(502), &line).await;
    assert_eq!(wrong.len(), 1, "all are well and idle");
    members.iter().for_each(|member| member.book.leaves(Away::Killed, None));
    let (wrong, reasons) = verdict(&members, ask.clone(), Ending::Error(502), &line).await;
    assert_eq!((wrong.len(), reasons), (0, vec!["an error while nobody well had room"]));
    let (wrong, _) = verdict(&members, ask.clone(), Ending::Error(503), &line).await;
    assert_eq!(wrong.len(), 1, "client and log tell different things");
    let (wrong, _) = verdict(&members, ask, Ending::Error(502), &json!({ "id": "soak-0", "status": 502 })).await;
    assert_eq!(wrong.len(), 2, "a request without a line, and a line without a request");
}

#[tokio::test]
async fn a_broken_stream_is_lost_if_its_engine_was_well() {
    let members = fleet::start().await;
    let ask = request(Wish::Stream);
    let line = json!({ "id": format!("soak-{}", ask.number), "status": 200, "endpoint": "d", "retries": 0 });
    assert_eq!(verdict(&members, ask.clone(), Ending::ErrorEvent, &line).await.0.len(), 1);
    members.iter().filter(|member| member.name == "d").for_each(|member| member.book.leaves(Away::Fault, None));
    assert_eq!(verdict(&members, ask, Ending::ErrorEvent, &line).await.0.len(), 0);
}
