//! The counting engines count right: what is held, who leaves, what is closed. No proxy takes part.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use arriero_side_by_side::engine::{Engines, NAMELESS, Way};
use arriero_side_by_side::wire::{Answer, Ask, Connection};

fn ask(engines: &Engines, engine: usize, id: u64) -> tokio::task::JoinHandle<anyhow::Result<Answer>> {
    let to = engines.addresses()[engine];
    tokio::spawn(async move { Connection::to(to).ask(&Ask::chat(), Some(id)).await })
}

async fn counts(engines: &Engines, due: &[u32]) {
    engines.until("these counts", |state| (state.in_flight == due).then_some(())).await.expect("counts");
}

#[tokio::test]
async fn held_requests_count_until_they_are_let_go_or_leave() {
    let engines = Engines::start(2).unwrap();
    engines.meet_all(Way::Hold);
    let first = ask(&engines, 0, 1);
    counts(&engines, &[1, 0]).await;
    let second = ask(&engines, 0, 2);
    counts(&engines, &[2, 0]).await;
    assert!(engines.release(1), "the first is held");
    assert!(!engines.release(1), "and held no more");
    let answer = first.await.unwrap().unwrap();
    assert_eq!((answer.status, answer.engine()), (200, Some(0)));
    counts(&engines, &[1, 0]).await;
    second.abort();
    counts(&engines, &[0, 0]).await;
    let (most, shares) = engines.read(|state| (state.most.clone(), state.shares(0)));
    assert_eq!((most, shares), (vec![2, 0], vec![2, 0]));
}

#[tokio::test]
async fn questions_do_not_count_and_statuses_are_given() {
    let engines = Engines::start(1).unwrap();
    engines.meet(0, Way::Hold);
    let mut connection = Connection::to(engines.addresses()[0]);
    let models = connection.ask(&Ask::get("/v1/models"), None).await.unwrap();
    assert!(String::from_utf8(models.body).unwrap().contains("\"id\":\"m\""));
    assert!(engines.read(|state| state.arrivals.is_empty()));
    engines.meet(0, Way::Refuse(503));
    assert_eq!(connection.ask(&Ask::chat(), None).await.unwrap().status, 503);
    assert_eq!(engines.read(|state| state.arrivals[0].id), NAMELESS);
    engines.meet(0, Way::Reset);
    assert!(connection.ask(&Ask::chat(), None).await.is_err(), "a reset is no answer");
    counts(&engines, &[0]).await;
}

#[tokio::test]
async fn a_closed_engine_refuses_until_it_opens_at_its_address() {
    let engines = Engines::start(2).unwrap();
    let mut connection = Connection::to(engines.addresses()[1]);
    assert_eq!(connection.ask(&Ask::chat(), None).await.unwrap().engine(), Some(1));
    engines.close(1).await.unwrap();
    assert!(connection.ask(&Ask::chat(), None).await.is_err(), "kept connections are cut");
    let mut fresh = Connection::to(engines.addresses()[1]);
    assert!(fresh.ask(&Ask::chat(), None).await.is_err(), "new ones are refused");
    engines.open(1).unwrap();
    assert_eq!(fresh.ask(&Ask::chat(), None).await.unwrap().engine(), Some(1));
}
