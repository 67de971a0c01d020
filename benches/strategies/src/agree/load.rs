//! The load generator: every request at its own moment whatever became of those before (open loop), from a thread of its
//! own. The calling thread keeps the time, since it can sleep more exactly than a runtime.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use arriero_lab::sim::{Profile, Scenario};
use arriero_lab::workload::Request;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::wire::{Answer, Wire};

/// Bytes of one token.
const TOKEN_BYTES: usize = 4;
/// What the engine counts of a message beside its text: the role and two ends of line, bytes.
const AROUND: usize = "user".len() + 2;
/// Every moment is this much after the call.
const LEAD: Duration = Duration::from_millis(200);

/// How requests are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Ollama's own chat, whose answers tell durations.
    Ollama,
    /// OpenAI chat.
    OpenAi,
}

impl Form {
    /// Ollama's where all engines speak it.
    pub(super) fn of(scenario: &Scenario) -> Form {
        let all = scenario.profiles.values().all(|profile| matches!(profile, Profile::Ollama(_)));
        if all { Form::Ollama } else { Form::OpenAi }
    }

    fn path(self) -> &'static str {
        match self {
            Form::Ollama => "/api/chat",
            Form::OpenAi => "/v1/chat/completions",
        }
    }

    fn mark(self) -> &'static str {
        match self {
            Form::Ollama => "\"done\":true",
            Form::OpenAi => "[DONE]",
        }
    }

    /// A streaming chat of one message that makes as many prompt tokens as wanted, but for the very shortest.
    fn body(self, model: &str, index: usize, tokens: u32) -> Bytes {
        let length = (tokens as usize * TOKEN_BYTES).saturating_sub(AROUND).max(1);
        let mut text = format!("{index} ");
        text.extend(std::iter::repeat_n('x', length.saturating_sub(text.len())));
        text.truncate(length);
        let messages = serde_json::json!([{ "role": "user", "content": text }]);
        Bytes::from(serde_json::json!({ "model": model, "messages": messages, "stream": true }).to_string())
    }
}

/// A request and its answer; times are real, from the intended moment on.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    /// How much later than intended it went out.
    pub(super) lag: Duration,
    /// To the first part of the answer.
    pub(super) first: Option<Duration>,
    /// To its end.
    pub(super) end: Duration,
    /// The endpoint's name.
    pub(super) endpoint: Option<String>,
    /// Answered wholly.
    pub(super) whole: bool,
}

/// Plays `requests`, at their moments after the start, against a proxy. `sent` is called with the number of requests
/// under way or over, before each.
pub(super) fn replay(
    address: SocketAddr,
    form: Form,
    models: &[String],
    requests: &[Request],
    sent: &mut dyn FnMut(usize),
) -> Result<Vec<Heard>, String> {
    let bodies: Vec<Bytes> = requests
        .iter()
        .enumerate()
        .map(|(index, request)| form.body(&models[request.model], index, request.prompt_tokens))
        .collect();
    let moments: Vec<Duration> = requests.iter().map(|request| Duration::from_micros(request.at.0)).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
    let start = Instant::now() + LEAD;
    let (sender, due) = mpsc::unbounded_channel();
    thread::scope(|threads| {
        let outputs: Vec<u32> = requests.iter().map(|request| request.output_tokens).collect();
        let intended = &moments;
        let asking = threads.spawn(move || runtime.block_on(ask_all(Wire::new(address), form, due, bodies, outputs)));
        for (index, moment) in intended.iter().enumerate() {
            sent(index);
            thread::sleep((start + *moment).saturating_duration_since(Instant::now()));
            if sender.send(index).is_err() {
                break;
            }
        }
        drop(sender);
        let answers = asking.join().map_err(|_| "the load generator panicked".to_owned())?;
        let heard = |(index, answer): (usize, Answer)| {
            let from = start + moments[index];
            Heard {
                lag: answer.sent.saturating_duration_since(from),
                first: answer.first.map(|at| at.saturating_duration_since(from)),
                end: answer.end.saturating_duration_since(from),
                endpoint: answer.endpoint,
                whole: answer.whole,
            }
        };
        Ok(answers.into_iter().map(heard).collect())
    })
}

/// Asks as the numbers come; the answers in the order of the numbers.
async fn ask_all(
    wire: Wire,
    form: Form,
    mut due: mpsc::UnboundedReceiver<usize>,
    bodies: Vec<Bytes>,
    outputs: Vec<u32>,
) -> Vec<(usize, Answer)> {
    let mut asking = JoinSet::new();
    while let Some(index) = due.recv().await {
        let (wire, body, tokens) = (wire.clone(), bodies[index].clone(), outputs[index]);
        asking.spawn(async move { (index, wire.post(form.path(), body, tokens, form.mark()).await) });
    }
    let mut answers = asking.join_all().await;
    answers.sort_unstable_by_key(|(index, _)| *index);
    answers
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_body_makes_the_tokens_that_are_wanted() {
        for tokens in [2, 3, 4, 100, 5000] {
            let body = Form::Ollama.body("m", 1234, tokens);
            let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let text = value["messages"][0]["content"].as_str().unwrap();
            assert_eq!((text.len() + AROUND).div_ceil(TOKEN_BYTES), tokens as usize);
        }
    }
}
