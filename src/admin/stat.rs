//! Statistics with HAProxy's names for the columns that its operators know, as JSON rows and as CSV.
//!
//! Times are milliseconds, averages over the last 1024 requests; `lastchg` is seconds. `None` is an empty field: not
//! known, or of no meaning for that row.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One row.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct StatRow {
    /// The pool, or the route of a `FRONTEND` row.
    pub pxname: String,
    /// The endpoint; `BACKEND` = the pool's sum, `FRONTEND` = a route.
    pub svname: String,
    /// Requests that wait now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qcur: Option<u64>,
    /// The most that waited at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qmax: Option<u64>,
    /// Requests in flight now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scur: Option<u64>,
    /// The most in flight at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smax: Option<u64>,
    /// The cap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slim: Option<u64>,
    /// Requests in all; of an endpoint, attempts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stot: Option<u64>,
    /// Bytes of request bodies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bin: Option<u64>,
    /// Bytes of answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bout: Option<u64>,
    /// Connections that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub econ: Option<u64>,
    /// Answers that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eresp: Option<u64>,
    /// Retries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wretr: Option<u64>,
    /// Retries that went to another endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wredis: Option<u64>,
    /// `UP`, `DOWN`, `DRAIN`, `MAINT`, `no check`, `OPEN` (a route); and ours: `STARTING`, `EJECTED`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The weight in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u64>,
    /// Endpoints of the first tier that are up; of an endpoint, 1 if it is of that tier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub act: Option<u64>,
    /// Backups that are up; of an endpoint, 1 if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bck: Option<u64>,
    /// Checks that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chkfail: Option<u64>,
    /// Times that it turned down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chkdown: Option<u64>,
    /// Seconds since its health changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lastchg: Option<u64>,
    /// Slow start: per cent of its weight and cap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttle: Option<u64>,
    /// Times that it was picked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lbtot: Option<u64>,
    /// How the last check went, in a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check_status: Option<String>,
    /// Answers 1xx.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hrsp_1xx: Option<u64>,
    /// Answers 2xx.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hrsp_2xx: Option<u64>,
    /// Answers 3xx.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hrsp_3xx: Option<u64>,
    /// Answers 4xx.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hrsp_4xx: Option<u64>,
    /// Answers 5xx.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hrsp_5xx: Option<u64>,
    /// Requests in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub req_tot: Option<u64>,
    /// Clients that left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cli_abrt: Option<u64>,
    /// Engines that broke off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub srv_abrt: Option<u64>,
    /// Mean time in the queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qtime: Option<u64>,
    /// Mean time to connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ctime: Option<u64>,
    /// Mean time to the first byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtime: Option<u64>,
    /// Mean time in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttime: Option<u64>,
    /// Mean time to the first token. Ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttft: Option<u64>,
    /// Output tokens. Ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
}

/// The columns of the CSV form: HAProxy's first 62 at their places, so that scripts which count columns find theirs,
/// then our own. What we do not have stays empty.
pub(super) const COLUMNS: [&str; 64] = [
    "pxname",
    "svname",
    "qcur",
    "qmax",
    "scur",
    "smax",
    "slim",
    "stot",
    "bin",
    "bout",
    "dreq",
    "dresp",
    "ereq",
    "econ",
    "eresp",
    "wretr",
    "wredis",
    "status",
    "weight",
    "act",
    "bck",
    "chkfail",
    "chkdown",
    "lastchg",
    "downtime",
    "qlimit",
    "pid",
    "iid",
    "sid",
    "throttle",
    "lbtot",
    "tracked",
    "type",
    "rate",
    "rate_lim",
    "rate_max",
    "check_status",
    "check_code",
    "check_duration",
    "hrsp_1xx",
    "hrsp_2xx",
    "hrsp_3xx",
    "hrsp_4xx",
    "hrsp_5xx",
    "hrsp_other",
    "hanafail",
    "req_rate",
    "req_rate_max",
    "req_tot",
    "cli_abrt",
    "srv_abrt",
    "comp_in",
    "comp_out",
    "comp_byp",
    "comp_rsp",
    "lastsess",
    "last_chk",
    "last_agt",
    "qtime",
    "ctime",
    "rtime",
    "ttime",
    "ttft",
    "tokens",
];

/// The rows as CSV: a first line `# pxname,svname,...`, each line ends with a comma, an empty line at the end.
pub fn csv(rows: &[StatRow]) -> String {
    let mut text = format!("# {},\n", COLUMNS.join(","));
    for row in rows {
        let fields = serde_json::to_value(row).unwrap_or_default();
        for column in COLUMNS {
            match (column, fields.get(column)) {
                ("type", _) => text += row.kind(),
                (_, Some(serde_json::Value::String(word))) => text += &quoted(word),
                (_, Some(number)) => text += &number.to_string(),
                (_, None) => {}
            }
            text.push(',');
        }
        text.push('\n');
    }
    text.push('\n');
    text
}

impl StatRow {
    /// HAProxy's number of the row's kind: 0 = frontend, 1 = the pool's sum, 2 = endpoint.
    fn kind(&self) -> &'static str {
        match self.svname.as_str() {
            "FRONTEND" => "0",
            "BACKEND" => "1",
            _ => "2",
        }
    }
}

/// Quoted only where it must be: with a comma, a quote or a line's end in it; quotes inside are doubled.
fn quoted(word: &str) -> String {
    if word.contains([',', '"', '\r', '\n']) { format!("\"{}\"", word.replace('"', "\"\"")) } else { word.to_owned() }
}
