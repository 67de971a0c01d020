//! Lists as tables, and the words for figures in them. `-` = not known; times below 10 s are milliseconds.

use std::io::IsTerminal;

use super::table::{Table, WIDTH};
use crate::admin::control::{AffinityTable, EndpointReport, PoolReport, QueueReport, RouteReport, SetHere, StatRow};

/// A table fits its terminal; a script gets it whole.
pub(super) fn shown(table: Table) -> String {
    table.text(std::io::stdout().is_terminal().then_some(WIDTH))
}

pub(super) fn count(number: usize, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

pub(super) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// `45s`, `12min`, `3h20min`, `5d`: no blanks, so that columns stay columns for scripts.
pub(super) fn span(seconds: f64) -> String {
    let s = seconds.max(0.0).round() as u64;
    match s {
        0..120 => format!("{s}s"),
        120..7200 => format!("{}min", s / 60),
        7200..172_800 => format!("{}h{}min", s / 3600, s % 3600 / 60),
        _ => format!("{}d", s / 86_400),
    }
}

pub(super) fn millis(ms: Option<f64>) -> String {
    or_dash(ms.map(|ms| if ms < 10_000.0 { format!("{ms:.0}ms") } else { format!("{:.1}s", ms / 1000.0) }))
}

pub(super) fn pools(pools: &[PoolReport]) -> String {
    let mut table = Table::new(&["pool", "endpoints", "up", "queued", "most", "in-flight", "picks"]);
    for pool in pools {
        let up = pool.endpoints.iter().filter(|endpoint| endpoint.standing() == "up").count();
        let queue = &pool.queue;
        table.row([
            pool.name.clone(),
            pool.endpoints.len().to_string(),
            up.to_string(),
            format!("{}/{}", queue.queued, queue.max_requests),
            queue.most_queued.to_string(),
            pool.in_flight.to_string(),
            pool.picks.to_string(),
        ]);
    }
    shown(table)
}

pub(super) fn queues(queues: &[QueueReport]) -> String {
    let mut table =
        Table::new(&["pool", "queued", "most", "limit", "bytes", "byte-limit", "timeout", "oldest", "per-s"]);
    for queue in queues {
        table.row([
            queue.pool.clone(),
            queue.queued.to_string(),
            queue.most_queued.to_string(),
            queue.max_requests.to_string(),
            queue.queued_bytes.to_string(),
            queue.max_bytes.to_string(),
            span(queue.timeout_s),
            or_dash(queue.oldest_s.map(span)),
            or_dash(queue.drains_per_s.map(|rate| format!("{rate:.1}"))),
        ]);
    }
    shown(table)
}

/// A `*` is behind what was set at run time.
pub(super) fn endpoints(endpoints: &[EndpointReport]) -> String {
    let head = ["endpoint", "pool", "state", "health", "weight", "in-flight", "ttft", "picks", "retries", "failed"];
    let mut table = Table::new(&head);
    for endpoint in endpoints {
        let star = |what| if endpoint.set_here.contains(&what) { "*" } else { "" };
        let backup = if endpoint.backup { ",backup" } else { "" };
        table.row([
            endpoint.name.clone(),
            endpoint.pool.clone(),
            format!("{}{}{backup}", endpoint.standing(), star(SetHere::State)),
            endpoint.health.word().to_owned(),
            format!("{}{}", endpoint.weight, star(SetHere::Weight)),
            format!("{}/{}{}", endpoint.in_flight, or_dash(endpoint.max_in_flight), star(SetHere::MaxInFlight)),
            millis(endpoint.ttft_ms),
            endpoint.picks.to_string(),
            endpoint.retries.to_string(),
            endpoint.failures.to_string(),
        ]);
    }
    shown(table)
}

pub(super) fn routes(routes: &[RouteReport]) -> String {
    let mut table = Table::new(&["route", "pools", "balance", "goes-by", "why"]);
    for route in routes {
        for (at, target) in route.targets.iter().enumerate() {
            let first = |word: &str| if at == 0 { word.to_owned() } else { String::new() };
            let star = if route.set_here { "*" } else { "" };
            let share = if route.targets.len() > 1 { format!(" x{}", target.weight) } else { String::new() };
            table.row([
                first(&route.name),
                format!("{}{share}", target.pool),
                first(&format!("{}{star}", route.module)),
                or_dash(target.goes_by.as_ref()),
                target.why.clone().unwrap_or_else(|| first(&route.why)),
            ]);
        }
    }
    let shadows = shadows(routes);
    shown(table) + &shadows.map_or_else(String::new, |table| format!("\n{}", shown(table)))
}

/// What routes' shadows would have done; `None` where no route has one.
fn shadows(routes: &[RouteReport]) -> Option<Table> {
    let all = routes.iter().flat_map(|route| route.targets.iter().map(move |target| (route, target)));
    let shadows: Vec<_> = all.filter_map(|(route, target)| Some((route, target, target.shadow.as_ref()?))).collect();
    let mut table =
        Table::new(&["shadow-of", "pool", "strategy", "asked", "agreed", "elsewhere", "waits", "saving (estimated)"]);
    for (route, target, shadow) in &shadows {
        let off = if shadow.off { " (off: it panicked)" } else { "" };
        table.row([
            route.name.clone(),
            target.pool.clone(),
            format!("{}{off}", shadow.goes_by.as_ref().unwrap_or(&shadow.module)),
            shadow.asked.to_string(),
            shadow.agreed.to_string(),
            shadow.differed.to_string(),
            shadow.waits.to_string(),
            or_dash(shadow.estimated_saving_ms.map(|ms| format!("{ms:.0}ms/request"))),
        ]);
    }
    (!shadows.is_empty()).then_some(table)
}

pub(super) fn stats(rows: &[StatRow]) -> String {
    let head =
        ["pxname", "svname", "status", "weight", "qcur", "scur", "smax", "slim", "stot", "econ", "eresp", "wretr"];
    let mut table = Table::new(&[&head[..], &["qtime", "rtime", "ttime", "ttft"]].concat());
    for row in rows {
        let words = [row.pxname.clone(), row.svname.clone(), or_dash(row.status.as_ref())];
        let figures = [
            row.weight, row.qcur, row.scur, row.smax, row.slim, row.stot, row.econ, row.eresp, row.wretr, row.qtime,
            row.rtime, row.ttime, row.ttft,
        ];
        table.row(words.into_iter().chain(figures.map(or_dash)));
    }
    shown(table)
}

pub(super) fn affinity(told: &AffinityTable) -> String {
    let mut table = Table::new(&["key", "kind", "pool", "endpoint", "idle", "expires-in"]);
    for row in &told.rows {
        let (idle, rest) = (span(row.idle_s), span(row.expires_in_s));
        table.row([&row.key, &row.kind, &row.pool, &row.endpoint, &idle, &rest]);
    }
    let hidden = told.entries.saturating_sub(told.rows.len());
    let more = if hidden > 0 { format!("and {hidden} more: --limit shows them\n") } else { String::new() };
    shown(table) + &more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_times_are_short() {
        let spans = [0.4, 61.0, 300.0, 7_265.0, 200_000.0].map(span);
        assert_eq!(spans, ["0s", "61s", "5min", "2h1min", "2d"]);
        assert_eq!([Some(182.4), Some(12_340.0), None].map(millis), ["182ms", "12.3s", "-"]);
    }
}
