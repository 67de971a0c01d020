//! Tables for a terminal: columns as wide as their widest cell, numbers to the right, no lines, no colours.
//!
//! What comes from outside is shown with its control characters escaped, so that no name can drive the terminal. A
//! table that is wider than [`WIDTH`] gets its first column cut, on a terminal only: scripts see all of it.

use std::fmt::Write;

use textwrap::core::display_width;

/// Columns that a table should fit in.
pub(super) const WIDTH: usize = 100;
/// The first column is cut to no less.
const NAME: usize = 16;
/// What stands for the rest of a name.
const MARK: &str = "..";

/// A table in the making.
pub(super) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(head: &[&'static str]) -> Table {
        Table { head: head.to_vec(), rows: Vec::new() }
    }

    /// One more row; it has as many cells as the head.
    pub(super) fn row<C: ToString>(&mut self, cells: impl IntoIterator<Item = C>) {
        self.rows.push(cells.into_iter().map(|cell| visible(&cell.to_string())).collect());
    }

    /// The text; with `limit`, no wider than that if the first column can give way.
    pub(super) fn text(mut self, limit: Option<usize>) -> String {
        let mut widths: Vec<usize> = self.head.iter().map(|name| display_width(name)).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(display_width(cell));
            }
        }
        let whole: usize = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
        if let (Some(limit), Some(first)) = (limit, widths.first_mut()) {
            *first = (*first).saturating_sub(whole.saturating_sub(limit)).max(NAME.min(*first));
            for row in &mut self.rows {
                row[0] = cut(&row[0], *first);
            }
        }
        let right: Vec<bool> =
            (0..widths.len()).map(|at| at > 0 && self.rows.iter().all(|row| is_figure(&row[at]))).collect();
        let mut text = String::new();
        let head = self.head.iter().map(|name| name.to_uppercase()).collect();
        for row in std::iter::once(&head).chain(&self.rows) {
            line(&mut text, row, &widths, &right);
        }
        text
    }
}

fn line(text: &mut String, cells: &[String], widths: &[usize], right: &[bool]) {
    let mut whole = String::new();
    for ((cell, width), right) in cells.iter().zip(widths).zip(right) {
        let gap = " ".repeat(width.saturating_sub(display_width(cell)));
        let (before, after) = if *right { (gap.as_str(), "") } else { ("", gap.as_str()) };
        let _ = write!(whole, "{before}{cell}{after}  ");
    }
    let _ = writeln!(text, "{}", whole.trim_end());
}

/// A number, a time, nothing: what stands to the right.
fn is_figure(cell: &str) -> bool {
    cell == "-" || cell.starts_with(|first: char| first.is_ascii_digit())
}

fn cut(cell: &str, width: usize) -> String {
    if display_width(cell) <= width {
        return cell.to_owned();
    }
    let mut kept = String::new();
    for letter in cell.chars() {
        if display_width(&kept) + display_width(letter.encode_utf8(&mut [0; 4])) + MARK.len() > width {
            break;
        }
        kept.push(letter);
    }
    kept + MARK
}

/// The text with what a terminal would obey, or would show in another order, escaped.
pub(super) fn visible(text: &str) -> String {
    let obeyed = |letter: char| {
        letter.is_control()
            || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if obeyed(letter) { shown.extend(letter.escape_default()) } else { shown.push(letter) }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["endpoint", "state", "picks"]);
        table.row(["gpu-1", "up", "7"]);
        table.row(["http://a-rather-long-name.example:8000/v1", "drain", "12345"]);
        table
    }

    #[test]
    fn columns_are_aligned_and_figures_stand_to_the_right() {
        let text = table().text(None);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], format!("{:41}  STATE  PICKS", "ENDPOINT"));
        assert_eq!(lines[1], format!("{:41}  up         7", "gpu-1"));
        assert_eq!(lines[2], "http://a-rather-long-name.example:8000/v1  drain  12345");
    }

    #[test]
    fn a_limit_cuts_the_names_and_nothing_else() {
        let text = table().text(Some(40));
        assert!(text.lines().all(|line| display_width(line) <= 40), "{text}");
        assert!(text.contains("..  drain  12345"), "{text}");
        assert!(table().text(Some(10)).contains("http://a-rathe.."), "a name keeps 16 columns");
    }

    #[test]
    fn names_cannot_drive_the_terminal() {
        assert_eq!(visible("a\u{1b}[2Jb\nc\u{202e}d é"), "a\\u{1b}[2Jb\\nc\\u{202e}d é");
        let mut table = Table::new(&["name"]);
        table.row(["\u{1b}]0;owned\u{7}"]);
        assert!(!table.text(None).contains(['\u{1b}', '\u{7}']));
    }

    #[test]
    fn an_empty_table_is_its_head() {
        assert_eq!(Table::new(&["a", "b"]).text(Some(WIDTH)), "A  B\n");
    }
}
