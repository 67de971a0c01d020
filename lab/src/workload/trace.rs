//! Trace files, plain or `.gz`, told apart by their first line. Times become seconds since the first row.
//!
//! | first line | trace |
//! |---|---|
//! | `t_s,input_tokens,output_tokens` | an extract of Azure's |
//! | `TIMESTAMP,ContextTokens,GeneratedTokens` | Azure 2023 and 2024 as published |
//! | `Timestamp,...,Request tokens,Response tokens,...` | BurstGPT |
//! | `{"t_ms":...}`, `{"timestamp":...,"input_length":...}` | Mooncake, an extract or as published |
//! | `{"time":...,"id":...}` | Arriero's own access log |
//!
//! Rows without output, or that no engine answered, are left out of an access log; in the others they stay.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use flate2::read::MultiGzDecoder;

use super::PREFIX_TOKENS;

mod csv;
mod json;

/// One request of a trace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// When it came, seconds since the first.
    pub at_s: f64,
    /// Seconds since the one before.
    pub gap_s: f64,
    /// Prompt, tokens.
    pub prompt_tokens: u32,
    /// Output, tokens.
    pub output_tokens: u32,
    /// The prompt's leading full blocks (see [`super::Request::blocks`]).
    pub blocks: Arc<[u64]>,
    /// The model, where the trace names it.
    pub model: Option<Arc<str>>,
}

impl Row {
    /// A row of these lengths, rounded, at least one token each way.
    pub(super) fn of(prompt: f64, output: f64) -> Row {
        let tokens = |value: f64| value.round().max(1.0) as u32;
        Row { prompt_tokens: tokens(prompt), output_tokens: tokens(output), ..Row::default() }
    }

    /// Keeps of the blocks those that are full.
    fn full_blocks(&mut self, blocks: impl IntoIterator<Item = u64>) {
        self.blocks = blocks.into_iter().take((self.prompt_tokens / PREFIX_TOKENS) as usize).collect();
    }
}

/// Reads a trace file. The error names the line.
pub fn read_trace(path: &Path) -> Result<Vec<Row>, String> {
    let named = |error: String| format!("{}: {error}", path.display());
    let file = File::open(path).map_err(|error| named(error.to_string()))?;
    let packed = path.extension().is_some_and(|kind| kind == "gz");
    let reader: Box<dyn Read> = if packed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    rows(BufReader::new(reader)).map_err(named)
}

/// Reads a trace.
pub(super) fn rows(reader: impl BufRead) -> Result<Vec<Row>, String> {
    let mut lines = (1..).zip(reader.lines());
    let Some((_, first)) = lines.next() else { return Err("an empty file".into()) };
    let first = first.map_err(|error| error.to_string())?;
    let first = first.trim_start_matches('\u{feff}').trim();
    let mut rows = Vec::new();
    let csv = if first.starts_with('{') { None } else { Some(csv::Columns::of(first)?) };
    if csv.is_none() {
        rows.extend(json::row(first).map_err(|error| format!("line 1: {error}"))?);
    }
    for (number, line) in lines {
        let line = line.map_err(|error| format!("line {number}: {error}"))?;
        if line.trim().is_empty() {
            continue;
        }
        let row = match &csv {
            Some(columns) => columns.row(line.trim()).map(Some),
            None => json::row(line.trim()),
        };
        rows.extend(row.map_err(|error| format!("line {number}: {error}"))?);
    }
    rows.sort_by(|one, other| one.at_s.total_cmp(&other.at_s));
    let start = rows.first().map_or(0.0, |row| row.at_s);
    let mut before = 0.0;
    for row in &mut rows {
        row.at_s -= start;
        row.gap_s = row.at_s - before;
        before = row.at_s;
    }
    if rows.is_empty() { Err("no requests in it".into()) } else { Ok(rows) }
}

#[cfg(test)]
mod tests;
