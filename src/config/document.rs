//! One YAML text, read into types with every error kept: at least one finding for each broken key or list item.
//!
//! 1. [`Places`] walks the text once: syntax errors stop here, duplicate keys are noted.
//! 2. [`Document::read`] reads a type at a path. An error is placed by its path, its path is marked, and the text is
//!    read again without it, until it reads ([`crate::config::recover`]).
//! 3. Checks of the meaning place their findings by path too ([`Document::at`], [`Document::at_key`]).

use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;
use std::path::{Path as FilePath, PathBuf};

use serde::de::{
    Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_yaml::{DuplicateKeyPolicy, Error};

use crate::config::diagnostic::Diagnostic;
use crate::config::expand::Env;
use crate::config::places::{Path, Places, placed, spot, yaml_options};
use crate::config::recover::{Recovering, Run};
use crate::config::wording::{Wording, wording};

/// More errors than this in one text are not searched for.
const MOST_FINDINGS: usize = 100;

/// One text with its places, its findings and what of it is broken.
pub struct Document<'e> {
    name: String,
    dir: PathBuf,
    text: String,
    places: Places,
    env: &'e Env<'e>,
    broken: BTreeSet<Path>,
    findings: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

/// The steps of a path: `steps(["pools", "home"])`.
pub fn steps<const N: usize>(parts: [&str; N]) -> Path {
    parts.iter().map(|part| part.to_string()).collect()
}

impl<'e> Document<'e> {
    /// Opens a text; `dir` is where the files are that it names. The error is the one finding of a text that is not YAML.
    pub fn open(name: &str, text: &str, dir: &FilePath, env: &'e Env<'e>) -> Result<Document<'e>, Box<Diagnostic>> {
        let places = Places::of(text).map_err(|error| Box::new(syntax(name, text, &error)))?;
        let mut document = Document {
            name: name.into(),
            dir: dir.into(),
            text: text.into(),
            places,
            env,
            broken: BTreeSet::new(),
            findings: Vec::new(),
            warnings: Vec::new(),
        };
        for (path, spot) in document.places.duplicates().to_vec() {
            let key = path.last().map(String::as_str).unwrap_or_default();
            let first = document.places.key(&path).map(|(line, _)| format!("the first one is in line {line}"));
            let finding = placed(name, text, Some(spot), format!("key `{key}` stands twice here"));
            document.findings.push(Diagnostic { found: first, ..finding });
        }
        Ok(document)
    }

    /// The text's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A file named in the text: relative to the text's own folder.
    pub fn beside(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    /// True if the path stands in the text.
    pub fn has(&self, path: &[String]) -> bool {
        self.places.has(path)
    }

    /// Reads the whole text. `None` only if nothing of it can be used.
    pub fn read<T: DeserializeOwned>(&mut self) -> Option<T> {
        self.read_at(&[])
    }

    /// Reads the value at a path. Its broken parts are left out and reported; `None` if it is broken as a whole.
    pub fn read_at<T: DeserializeOwned>(&mut self, at: &[String]) -> Option<T> {
        let mut skip: BTreeSet<Path> = self.broken.iter().filter(|path| path.starts_with(at)).cloned().collect();
        while self.findings.len() < MOST_FINDINGS {
            let run = Run { broken: &skip, env: self.env, path: Default::default(), failed: Default::default() };
            let options = yaml_options(DuplicateKeyPolicy::FirstWins);
            let read = serde_yaml::with_deserializer_from_str_with_options(&self.text, options, |inner| {
                At { path: at, found: PhantomData }.deserialize(Recovering { inner, run: &run })
            });
            let error = match read {
                Ok(value) => return value,
                Err(error) => error,
            };
            let (path, at_key) = run.failed.into_inner().unwrap_or_default();
            self.report(&path, at_key, &error, &skip);
            self.broken.insert(path.clone());
            if at.starts_with(&path) || !skip.insert(path) {
                return None;
            }
        }
        None
    }

    /// A missing key below which something broken was left out has been reported already.
    fn report(&mut self, path: &Path, at_key: bool, error: &Error, skip: &BTreeSet<Path>) {
        if let Error::SerdeMissingField { field, .. } = error.without_snippet() {
            let missing: Path = path.iter().cloned().chain([field.to_string()]).collect();
            if skip.contains(&missing) {
                return;
            }
        }
        let Wording { message, found, allowed, hint } = wording(path, self.places.kind(path), error);
        let spot = if at_key { self.places.key(path) } else { self.places.value(path) };
        let finding = placed(&self.name, &self.text, spot, message);
        self.findings.push(Diagnostic { found, allowed, hint, ..finding });
    }

    /// A finding at the value of a path, to be completed.
    pub fn at(&mut self, path: &[String], message: impl Into<String>) -> &mut Diagnostic {
        self.push(self.places.value(path), message.into())
    }

    /// A finding at the key of a path, to be completed.
    pub fn at_key(&mut self, path: &[String], message: impl Into<String>) -> &mut Diagnostic {
        self.push(self.places.key(path), message.into())
    }

    /// Something at the value of a path that is allowed, but should be known.
    pub fn warn(&mut self, path: &[String], message: impl Into<String>) {
        self.warnings.push(placed(&self.name, &self.text, self.places.value(path), message));
    }

    /// What is allowed, but should be known.
    pub(crate) fn take_warnings(&mut self) -> Vec<Diagnostic> {
        let mut warnings = std::mem::take(&mut self.warnings);
        warnings.sort_by_key(|warning| (warning.line, warning.column));
        warnings.dedup();
        warnings
    }

    /// A finding of a text that this one includes.
    pub(crate) fn adopt(&mut self, finding: Diagnostic) {
        self.findings.push(finding);
    }

    fn push(&mut self, spot: Option<(usize, usize)>, message: String) -> &mut Diagnostic {
        let index = self.findings.len();
        self.findings.push(placed(&self.name, &self.text, spot, message));
        &mut self.findings[index]
    }

    /// True if the value at the path, or something that it is part of, was left out.
    pub fn is_broken(&self, path: &[String]) -> bool {
        (0..=path.len()).any(|len| self.broken.contains(&path[..len]))
    }

    /// True if something at or below the path was left out.
    pub fn is_damaged(&self, path: &[String]) -> bool {
        self.is_broken(path) || self.broken.iter().any(|broken| broken.starts_with(path))
    }

    /// What was left out.
    pub(crate) fn broken(&self) -> &BTreeSet<Path> {
        &self.broken
    }

    /// The indices of the list's items that were read, in order.
    pub fn sound_items(&self, list: &[String]) -> Vec<usize> {
        let len = self.places.list_len(list);
        (0..len).filter(|index| !self.broken.contains(&[list, &[index.to_string()]].concat())).collect()
    }

    /// "file:line" of a path, to point at from elsewhere.
    pub fn line_of(&self, path: &[String]) -> String {
        format!("{}:{}", self.name, self.places.key(path).map_or(0, |(line, _)| line))
    }

    /// All findings, in the order of the text.
    pub fn into_findings(mut self) -> Vec<Diagnostic> {
        self.findings.sort_by_key(|finding| (finding.line, finding.column));
        self.findings.dedup();
        self.findings
    }
}

fn syntax(name: &str, text: &str, error: &Error) -> Diagnostic {
    let Wording { message, found, allowed, hint } = wording(&[], "empty", error);
    let finding = placed(name, text, error.location().map(spot), message);
    let bare_glob =
        finding.snippet.as_deref().is_some_and(|line| line.chars().nth(finding.column.saturating_sub(1)) == Some('*'));
    if bare_glob {
        let message = "an unquoted `*` starts a YAML alias, and there is no such anchor".into();
        return Diagnostic { message, hint: Some("quote the glob: \"*...\"".into()), ..finding };
    }
    Diagnostic { found, allowed, hint, ..finding }
}

/// Goes down to `path` and reads a `T` there; everything else is passed over.
struct At<'p, T> {
    path: &'p [String],
    found: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for At<'_, T> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<T>, D::Error> {
        if self.path.is_empty() { T::deserialize(deserializer).map(Some) } else { deserializer.deserialize_any(self) }
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for At<'_, T> {
    type Value = Option<T>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a mapping or a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Option<T>, A::Error> {
        let Some((step, path)) = self.path.split_first() else { return Err(A::Error::custom("no step")) };
        let mut value = None;
        while let Some(key) = entries.next_key::<String>()? {
            if key == *step && value.is_none() {
                value = entries.next_value_seed(At { path, found: self.found })?;
            } else {
                entries.next_value::<IgnoredAny>()?;
            }
        }
        Ok(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Option<T>, A::Error> {
        let Some((step, path)) = self.path.split_first() else { return Err(A::Error::custom("no step")) };
        let before = step.parse::<usize>().map_err(A::Error::custom)?;
        for _ in 0..before {
            items.next_element::<IgnoredAny>()?;
        }
        let value = items.next_element_seed(At { path, found: self.found })?.flatten();
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(value)
    }
}
