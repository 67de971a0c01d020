//! A check of the operator's own: which answers pass, and what it asks.

use super::fake::{Answer, Fake, impatient, is_late};
use crate::engine::check::ask;
use crate::engine::{Check, Probe, ProbeError, Target};

fn check(path: &str) -> Check {
    Check { path: path.into(), ..Check::default() }
}

#[tokio::test]
async fn statuses_are_200_to_299_unless_others_are_named() {
    let fake = Fake::start().await;
    let probe = fake.probe();
    let named = Check { statuses: vec![(200, 200), (300, 399)], ..check("/live") };
    for (status, by_default, by_name) in [
        (200, true, true),
        (204, true, false),
        (299, true, false),
        (300, false, true),
        (302, false, true),
        (399, false, true),
        (401, false, false),
        (404, false, false),
        (500, false, false),
    ] {
        fake.set("/live", Answer::Full(status, vec![]));
        assert_eq!(ask(&probe, &check("/live")).await.is_ok(), by_default, "{status} by default");
        let outcome = ask(&probe, &named).await;
        assert_eq!(outcome.is_ok(), by_name, "{status} among 200 and 300-399");
        if let Err(error) = outcome {
            assert_eq!(error, ProbeError::Status { path: "/live".into(), status });
        }
    }
}

#[tokio::test]
async fn a_text_must_stand_in_the_first_64_kib() {
    let fake = Fake::start().await;
    let probe = fake.probe();
    let wants = Check { body: Some("ready".into()), ..check("/live") };
    let padded = |before: usize| [vec![b' '; before], b"ready".to_vec(), vec![b' '; 1 << 20]].concat();
    for (before, passes) in [(0, true), (1000, true), ((64 << 10) - 5, true), ((64 << 10) - 4, false), (1 << 20, false)]
    {
        fake.set("/live", Answer::Full(200, padded(before)));
        assert_eq!(ask(&probe, &wants).await.is_ok(), passes, "after {before} bytes");
    }
    fake.text("/live", 200, "read");
    let error = ask(&probe, &wants).await.expect_err("the text is not there");
    assert!(matches!(&error, ProbeError::Garbage { path, .. } if path == "/live"), "{error}");
    assert!(!error.to_string().contains("read\""), "nothing of the body is told");
    fake.text("/live", 500, "ready");
    assert!(ask(&probe, &wants).await.is_err(), "the status counts as well");
}

#[tokio::test]
async fn a_hanging_answer_fails_in_time_and_an_endless_body_matters_only_to_a_text() {
    let fake = Fake::start().await;
    let probe = impatient(&fake);
    fake.set("/live", Answer::Hang);
    assert!(is_late(&ask(&probe, &check("/live")).await));
    fake.set("/live", Answer::Stall);
    assert_eq!(ask(&probe, &check("/live")).await, Ok(()));
    let wants = |text: &str| Check { body: Some(text.into()), ..check("/live") };
    assert_eq!(ask(&probe, &wants("data")).await, Ok(()), "it came before the rest");
    assert!(is_late(&ask(&probe, &wants("ready")).await));
}

#[tokio::test]
async fn it_goes_the_way_of_every_question() {
    let fake = Fake::start().await;
    for (base, path, asked) in [
        ("", "/live?deep=1&x=%20", "/live?deep=1&x=%20"),
        ("/gpu/v1", "/live", "/gpu/live"),
        ("/gpu/v1", "/v1/models", "/gpu/v1/models"),
    ] {
        let target = Target {
            url: format!("{}{base}", fake.url),
            headers: vec![("x-team".into(), "blue".into())],
            api_key: Some("k".into()),
            ..fake.target()
        };
        fake.text(asked, 200, "");
        ask(&Probe::new(&target, None).expect("a good target"), &check(path)).await.expect("passes");
        let last = fake.asked().pop().expect("it asked");
        assert_eq!(last.path, asked);
        assert_eq!(last.headers["authorization"], "Bearer k");
        assert_eq!(last.headers["x-team"], "blue");
    }
}
