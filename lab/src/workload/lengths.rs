//! How long requests are, and what they share: rows of a trace, or of the generator that stands for it.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::chance::Chance;
use super::published::Table;
use super::sessions;
use super::trace::{Row, read_trace};

/// Where lengths come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum LengthsSpec {
    /// Rows of a trace.
    Trace {
        /// Its file in the folder of traces, without `.csv`, `.jsonl` and `.gz`.
        file: String,
        /// What stands in for it where there is no such folder.
        generator: Generator,
        /// The rows in their order, each once; else drawn with replacement.
        #[serde(default)]
        in_order: bool,
    },
    /// All alike, but for a factor on both figures: 1 + `deviation` x a normal value, at least `floor`.
    Scaled {
        /// Prompt, tokens.
        prompt: f64,
        /// Output, tokens.
        output: f64,
        /// Standard deviation of the factor.
        deviation: f64,
        /// The least factor.
        floor: f64,
    },
    /// Exponential output, tokens, without a prompt: for what queueing theory knows.
    Exponential(f64),
}

/// The generators of published statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Generator {
    /// Azure 2023, conversation.
    Azure2023Conv,
    /// Azure 2023, code.
    Azure2023Code,
    /// Mooncake, conversation: sessions that share prefixes.
    MooncakeConversation,
}

/// Lengths, ready to be drawn from.
#[derive(Clone, Debug)]
pub struct Lengths {
    spec: LengthsSpec,
    rows: Option<Arc<[Row]>>,
    mean: (f64, f64),
}

impl Lengths {
    /// Reads the trace if there is a folder that has it.
    pub fn load(spec: &LengthsSpec, traces: Option<&Path>) -> Result<Lengths, String> {
        let found = match (spec, traces) {
            (LengthsSpec::Trace { file, .. }, Some(folder)) => {
                let names = ["csv.gz", "jsonl.gz", "csv", "jsonl"].map(|kind| folder.join(format!("{file}.{kind}")));
                let path = names.iter().find(|path| path.is_file());
                Some(path.ok_or_else(|| format!("{}: no trace called {file}", folder.display()))?.clone())
            }
            _ => None,
        };
        let rows: Option<Arc<[Row]>> = found.map(|path| read_trace(&path)).transpose()?.map(Into::into);
        Ok(Lengths { mean: mean(spec, rows.as_deref()), spec: spec.clone(), rows })
    }

    /// These rows, in their order.
    pub fn of_rows(rows: Vec<Row>) -> Lengths {
        let generator = Generator::Azure2023Conv;
        let spec = LengthsSpec::Trace { file: String::new(), generator, in_order: true };
        let rows: Arc<[Row]> = rows.into();
        Lengths { mean: mean(&spec, Some(&rows)), spec, rows: Some(rows) }
    }

    /// Mean prompt and output, tokens.
    pub fn mean(&self) -> (f64, f64) {
        self.mean
    }

    /// Rows of a trace that was read.
    pub fn rows(&self) -> Option<&[Row]> {
        self.rows.as_deref()
    }

    pub(super) fn draw(&self, count: usize, chance: &mut Chance) -> Result<Vec<Row>, String> {
        match (&self.spec, &self.rows) {
            (LengthsSpec::Trace { in_order: true, .. }, Some(rows)) => Ok(rows.iter().take(count).cloned().collect()),
            (LengthsSpec::Trace { .. }, Some(rows)) => {
                let gaps = rows.iter().cycle().take(count);
                Ok(gaps.map(|gap| Row { gap_s: gap.gap_s, ..rows[chance.place(rows.len())].clone() }).collect())
            }
            (LengthsSpec::Trace { generator, .. }, None) => Ok(generate(*generator, count, chance)),
            (LengthsSpec::Scaled { prompt, output, deviation, floor }, _) => {
                let mut next = || {
                    let factor = (1.0 + deviation * chance.normal()).max(*floor);
                    Row::of(prompt * factor, output * factor)
                };
                Ok((0..count).map(|_| next()).collect())
            }
            (LengthsSpec::Exponential(mean), _) => {
                Ok((0..count).map(|_| Row::of(0.0, mean * chance.exponential())).collect())
            }
        }
    }
}

fn generate(generator: Generator, count: usize, chance: &mut Chance) -> Vec<Row> {
    let Some([prompt, output]) = Table::of(generator) else { return sessions::rows(count, chance) };
    (0..count).map(|_| Row::of(prompt.at(chance.share()), output.at(chance.share()))).collect()
}

fn mean(spec: &LengthsSpec, rows: Option<&[Row]>) -> (f64, f64) {
    if let Some(rows) = rows {
        let count = rows.len().max(1) as f64;
        let sum = |of: fn(&Row) -> u32| rows.iter().map(|row| f64::from(of(row))).sum::<f64>();
        return (sum(|row| row.prompt_tokens) / count, sum(|row| row.output_tokens) / count);
    }
    match spec {
        LengthsSpec::Trace { generator, .. } => {
            Table::of(*generator).map_or((12_035.0, 343.0), |tables| (tables[0].mean(), tables[1].mean()))
        }
        LengthsSpec::Scaled { prompt, output, .. } => (*prompt, *output),
        LengthsSpec::Exponential(output) => (0.0, *output),
    }
}
