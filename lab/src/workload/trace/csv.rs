//! Traces with columns: Azure's and BurstGPT's. Times are seconds, or dates with a time of day.

use super::Row;

/// Where the columns are.
pub(super) struct Columns {
    time: usize,
    prompt: usize,
    output: usize,
    model: Option<usize>,
}

impl Columns {
    /// Finds them in the header.
    pub(super) fn of(header: &str) -> Result<Columns, String> {
        let names: Vec<String> = header.split(',').map(|name| name.trim().to_ascii_lowercase()).collect();
        let find = |known: &[&str]| {
            let place = names.iter().position(|name| known.contains(&name.as_str()));
            place.ok_or_else(|| format!("line 1: no column {known:?} in {header:?}"))
        };
        Ok(Columns {
            time: find(&["t_s", "timestamp"])?,
            prompt: find(&["input_tokens", "contexttokens", "request tokens"])?,
            output: find(&["output_tokens", "generatedtokens", "response tokens"])?,
            model: find(&["model"]).ok(),
        })
    }

    /// One line.
    pub(super) fn row(&self, line: &str) -> Result<Row, String> {
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        let cell = |place: usize| cells.get(place).copied().ok_or_else(|| format!("{} columns", cells.len()));
        let tokens = |place: usize| {
            let text = cell(place)?;
            text.parse::<f64>().map(|value| value as u32).map_err(|_| format!("{text:?} is no number of tokens"))
        };
        Ok(Row {
            at_s: seconds(cell(self.time)?)?,
            prompt_tokens: tokens(self.prompt)?,
            output_tokens: tokens(self.output)?,
            model: self.model.and_then(|place| cells.get(place)).map(|name| (*name).into()),
            ..Row::default()
        })
    }
}

/// Seconds of a plain number, or of `2023-11-16 18:17:03.9799600`.
fn seconds(text: &str) -> Result<f64, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(seconds);
    }
    date_seconds(text).ok_or_else(|| format!("{text:?} is no time"))
}

fn date_seconds(text: &str) -> Option<f64> {
    let (date, time) = text.split_once([' ', 'T'])?;
    let mut date = date.split('-').map(str::parse::<i64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let time = time.trim_end_matches('Z').split(['+']).next()?;
    let mut time = time.split(':').map(str::parse::<f64>);
    let (hour, minute, second) = (time.next()?.ok()?, time.next()?.ok()?, time.next()?.ok()?);
    Some((days(year, month, day) - days(2000, 1, 1)) as f64 * 86_400.0 + hour * 3600.0 + minute * 60.0 + second)
}

/// Days since the first of March of year 0, by whole years and months that begin in March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month < 3 { year - 1 } else { year };
    let month = (month + 9) % 12;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (month * 306 + 5) / 10 + day - 1
}
