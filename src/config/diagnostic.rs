//! One finding in a configuration: place, message, what was found, what is allowed, the line itself, a hint.
//!
//! Lines and columns count from 1, columns in characters. A finding without a place (an unreadable file, a `--to`
//! argument) has line and column 0 and no snippet.

use std::fmt;

use serde::Serialize;

/// One finding. Rendered for a terminal by `Display`, as JSON by serde.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// The file's name as the operator gave it.
    pub file: String,
    /// Line, from 1; 0 = the whole file.
    pub line: usize,
    /// Column, from 1; 0 = the whole file.
    pub column: usize,
    /// What is wrong, in one sentence that names the item.
    pub message: String,
    /// What was found there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// What is allowed there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed: Option<String>,
    /// The source line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snippet: Option<String>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Diagnostic {
    /// Without the line of the file, which may hold a secret: for logs and answers.
    pub fn without_source(&self) -> Diagnostic {
        Diagnostic { snippet: None, ..self.clone() }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(out, "{}:{}:{}: ", self.file, self.line, self.column)?;
        } else {
            write!(out, "{}: ", self.file)?;
        }
        write!(out, "{}", self.message)?;
        let margin = self.line.to_string().len();
        if let Some(snippet) = &self.snippet {
            let lead: String = snippet
                .chars()
                .take(self.column.saturating_sub(1))
                .map(|letter| if letter == '\t' { '\t' } else { ' ' })
                .collect();
            write!(out, "\n {} | {snippet}\n {:margin$} | {lead}^", self.line, "")?;
        }
        for (label, text) in [("found", &self.found), ("allowed", &self.allowed), ("hint", &self.hint)] {
            if let Some(text) = text {
                write!(out, "\n {:margin$} = {label}: {text}", "")?;
            }
        }
        Ok(())
    }
}

/// All findings for a terminal, one blank line between them.
pub fn render(findings: &[Diagnostic]) -> String {
    findings.iter().map(Diagnostic::to_string).collect::<Vec<_>>().join("\n\n")
}
