//! The statistics of both after the same script: `show stat` and `/api/stats.csv`, figure by figure.
//!
//! `first` with caps 1 and 2, so that both place alike: good answers, 500s and 400s one by one, then three held and two
//! that wait for them.

use std::collections::BTreeMap;

use crate::engine::Way;
use crate::report::Finding;
use crate::setup::Setup;
use crate::stage::Stage;
use crate::wire::Ask;
use crate::world::World;

/// Figures that must be equal, for endpoints and for the pool.
const OF_ENDPOINTS: &[&str] = &[
    "scur", "smax", "slim", "stot", "econ", "wretr", "wredis", "weight", "act", "bck", "hrsp_1xx", "hrsp_2xx",
    "hrsp_3xx", "hrsp_4xx", "hrsp_5xx", "cli_abrt", "srv_abrt", "status",
];
const OF_THE_POOL: &[&str] = &[
    "qcur", "qmax", "scur", "stot", "econ", "wretr", "wredis", "weight", "act", "bck", "hrsp_2xx", "hrsp_4xx",
    "hrsp_5xx", "cli_abrt", "status",
];
/// Figures that are counted otherwise.
const OTHERWISE: &[(&str, &str)] = &[("e0", "lbtot"), ("e1", "lbtot"), ("BACKEND", "lbtot"), ("BACKEND", "smax")];

/// What is equal, and what is not and why.
pub async fn run(world: &World) -> anyhow::Result<Vec<Finding>> {
    let setup = Setup::of(2).balance("first", "first").engine(0, "maxconn 1", "max_in_flight: 1").engine(
        1,
        "maxconn 2",
        "max_in_flight: 2",
    );
    let rows = world.both(&setup, async |stage| script(stage).await).await?;
    let value = |side: usize, row: &str, column: &str| {
        let cell = rows[side].get(row).and_then(|row| row.get(column)).map_or("", String::as_str);
        // HAProxy says so of a server without checks
        if cell == "no check" { "UP".to_owned() } else { cell.to_owned() }
    };
    let figures = [("e0", OF_ENDPOINTS), ("e1", OF_ENDPOINTS), ("BACKEND", OF_THE_POOL)];
    let figures: Vec<(&str, &str)> =
        figures.iter().flat_map(|(row, columns)| columns.iter().map(|column| (*row, *column))).collect();
    let unlike: Vec<&(&str, &str)> =
        figures.iter().filter(|(row, column)| value(0, row, column) != value(1, row, column)).collect();
    let told = |side: usize, those: &[&(&str, &str)]| {
        let cells = those.iter().map(|(row, column)| format!("{row} {column} {}", value(side, row, column)));
        cells.collect::<Vec<_>>().join(", ")
    };
    let sample = [("e0", "smax"), ("e0", "stot"), ("e1", "smax"), ("e1", "stot"), ("BACKEND", "qmax")];
    let shown: Vec<_> = if unlike.is_empty() { sample.iter().collect() } else { unlike.clone() };
    let bound = format!(
        "{} figures equal: {} of endpoints and {} of the pool",
        figures.len(),
        OF_ENDPOINTS.join(" "),
        OF_THE_POOL.join(" ")
    );
    let equal = Finding::of("statistics", setup.words(), &bound)
        .seen(told(0, &shown), told(1, &shown))
        .holds([true, unlike.is_empty()]);
    let otherwise: Vec<_> = OTHERWISE.iter().collect();
    let other = Finding::of("statistics, counted otherwise", setup.words(), "no bound")
        .seen(told(0, &otherwise), told(1, &otherwise))
        .holds([true, true])
        .differing(
            "HAProxy's `lbtot` leaves out who came from the queue, ours is all picks; HAProxy's `smax` of the whole \
             counts those that wait, ours those that run",
        );
    Ok(vec![equal, other])
}

type Rows = BTreeMap<String, BTreeMap<String, String>>;

async fn script(stage: &mut Stage) -> anyhow::Result<Rows> {
    for (way, count) in [(Way::Answer, 8), (Way::Refuse(500), 2), (Way::Refuse(400), 3)] {
        stage.engines.meet_all(way);
        for _ in 0..count {
            stage.ask_all(&[Ask::chat()]).await?;
            stage.settled().await?;
        }
    }
    stage.engines.meet_all(Way::Hold);
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(stage.place(Ask::chat()).await?.0);
        stage.settled().await?;
    }
    held.push(stage.enqueue(Ask::chat(), 1).await?);
    held.push(stage.enqueue(Ask::chat(), 2).await?);
    for id in held {
        stage.arrived(id).await?;
        stage.release(id).await?;
    }
    stage.settled().await?;
    let rows = stage.proxy.statistics().await?;
    let named = rows.into_iter().filter_map(|row| Some((row.get("svname")?.clone(), row)));
    Ok(named.filter(|(name, _)| name != "FRONTEND").collect())
}
