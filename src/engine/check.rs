//! A health check of one's own: GET a path, judge status and text. It replaces the question that the engine's kind
//! suggests; what the engine is, has and does is asked as before. It goes the way of every question: the endpoint's
//! credentials, TLS, base path, headers and time limit. Without a text the body is not judged; of a body, the first
//! 64 KiB count.

use memchr::memmem;
use reqwest::Response;

use crate::engine::probe::{Probe, ProbeError};

/// How much of a body is read, in bytes.
const BODY_LIMIT: usize = 64 << 10;

/// What to ask, and what is a good answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Check {
    /// The path, with its query if it has one. Like the engine's own paths it lies beside a base path's `/v1`.
    pub path: String,
    /// Good statuses, as ranges with both ends included; none = 200-299.
    pub statuses: Vec<(u16, u16)>,
    /// Text that the body must hold, byte by byte.
    pub body: Option<String>,
}

impl Check {
    fn welcomes(&self, status: u16) -> bool {
        let is_in = |(low, high): &(u16, u16)| (*low..=*high).contains(&status);
        if self.statuses.is_empty() { (200..=299).contains(&status) } else { self.statuses.iter().any(is_in) }
    }
}

/// Asks, and judges the answer.
pub(super) async fn ask(probe: &Probe, check: &Check) -> Result<(), ProbeError> {
    let path = check.path.as_str();
    let mut response = probe.ask(path, &[]).await?;
    let status = response.status().as_u16();
    if !check.welcomes(status) {
        return Err(ProbeError::Status { path: path.into(), status });
    }
    match &check.body {
        Some(text) if !holds(probe, path, &mut response, text).await? => {
            Err(ProbeError::Garbage { path: path.into(), why: "the answer does not hold the text asked for" })
        }
        Some(_) => Ok(()),
        None => {
            finish(&mut response).await;
            Ok(())
        }
    }
}

/// True if the first [`BODY_LIMIT`] bytes hold the text; reads no further than it must.
async fn holds(probe: &Probe, path: &str, response: &mut Response, text: &str) -> Result<bool, ProbeError> {
    let mut body = Vec::new();
    loop {
        let chunk = response.chunk().await.map_err(|error| probe.failure(path, &error))?;
        let Some(chunk) = chunk else { return Ok(text.is_empty()) };
        let seen = body.len().saturating_sub(text.len());
        body.extend_from_slice(&chunk[..chunk.len().min(BODY_LIMIT - body.len())]);
        if memmem::find(&body[seen..], text.as_bytes()).is_some() {
            return Ok(true);
        }
        if body.len() == BODY_LIMIT {
            return Ok(false);
        }
    }
}

/// Reads a short body to its end, so that the connection can be used again. What goes wrong there is no matter.
async fn finish(response: &mut Response) {
    if response.content_length().is_some_and(|length| length <= BODY_LIMIT as u64) {
        while let Ok(Some(_)) = response.chunk().await {}
    }
}
