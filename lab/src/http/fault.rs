//! How an engine misbehaves on demand. A fault touches inference requests only; probes stay well, unless it is `Refuse`.

use serde::{Deserialize, Serialize};

/// A way to fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum FaultKind {
    /// Well.
    #[default]
    None,
    /// 503 at once, with the busy text of a full queue.
    Busy,
    /// 500 at once.
    Error,
    /// Takes the request and never answers.
    Hang,
    /// Cuts the connection after this many body chunks.
    Reset {
        /// Chunks that still get through.
        after_chunks: u32,
    },
    /// The whole engine works this many times slower, above 0; the probability does not matter.
    Slow {
        /// 4 = a quarter of the speed.
        factor: f64,
    },
    /// Sends bytes that are neither JSON nor SSE, with status 200.
    Garbage,
    /// Stops listening and cuts every connection; the probability does not matter.
    Refuse,
}

/// A fault and how often it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// What goes wrong.
    #[serde(flatten)]
    pub kind: FaultKind,
    /// Probability per request, 0 to 1.
    #[serde(default = "certain")]
    pub p: f64,
    /// Wait before a `Busy` or `Error` answer, real milliseconds.
    #[serde(default)]
    pub delay_ms: u64,
    /// Heal after this many real milliseconds; absent: stays until changed.
    #[serde(default)]
    pub for_ms: Option<u64>,
}

fn certain() -> f64 {
    1.0
}

impl Fault {
    /// Strikes every request until changed.
    pub fn always(kind: FaultKind) -> Fault {
        Fault { kind, p: 1.0, delay_ms: 0, for_ms: None }
    }

    /// No fault.
    pub fn none() -> Fault {
        Fault::always(FaultKind::None)
    }

    /// Strikes with probability `p`.
    pub fn sometimes(kind: FaultKind, p: f64) -> Fault {
        Fault { p, ..Fault::always(kind) }
    }
}

impl Default for Fault {
    fn default() -> Fault {
        Fault::none()
    }
}
