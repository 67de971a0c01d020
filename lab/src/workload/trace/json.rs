//! Traces of one JSON object per line: Mooncake's, and Arriero's access log.

use serde::Deserialize;

use super::Row;

#[derive(Deserialize)]
struct Line {
    // Mooncake, the extract
    t_ms: Option<f64>,
    #[serde(rename = "in")]
    prompt: Option<u32>,
    #[serde(rename = "out")]
    output: Option<u32>,
    h: Option<Vec<u64>>,
    // Mooncake, as published
    timestamp: Option<f64>,
    input_length: Option<u32>,
    output_length: Option<u32>,
    hash_ids: Option<Vec<u64>>,
    // the access log
    time: Option<f64>,
    model: Option<String>,
    prompt_tokens: Option<u32>,
    output_tokens: Option<u32>,
    bytes_in: Option<u64>,
}

/// Bytes of a body per prompt token, where the engine did not tell the prompt's length.
const BYTES_PER_TOKEN: u64 = 4;

/// One line; `None` if it is a log line of a request that no model worked on.
pub(super) fn row(text: &str) -> Result<Option<Row>, String> {
    let line: Line = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if let Some(time) = line.time {
        let Some(output) = line.output_tokens.filter(|tokens| *tokens > 0) else { return Ok(None) };
        let guess = || u32::try_from(line.bytes_in.unwrap_or(0) / BYTES_PER_TOKEN).unwrap_or(u32::MAX).max(1);
        return Ok(Some(Row {
            at_s: time / 1e3,
            prompt_tokens: line.prompt_tokens.unwrap_or_else(guess),
            output_tokens: output,
            model: line.model.map(Into::into),
            ..Row::default()
        }));
    }
    let time = line.t_ms.or(line.timestamp).ok_or("neither t_ms, timestamp nor time")?;
    let mut row = Row {
        at_s: time / 1e3,
        prompt_tokens: line.prompt.or(line.input_length).ok_or("no prompt length")?,
        output_tokens: line.output.or(line.output_length).ok_or("no output length")?,
        ..Row::default()
    };
    row.full_blocks(line.h.or(line.hash_ids).unwrap_or_default());
    Ok(Some(row))
}
