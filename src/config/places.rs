//! Where everything in a YAML text is: one walk that keeps positions and duplicate keys, and no values.
//!
//! A place is named by its path: the keys and list indices from the top, as text (`pools`, `home`, `endpoints`, `2`).
//! Merged (`<<`) and aliased parts are placed where they are used. Only a syntax error stops the walk.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::{DuplicateKeyPolicy, Location, Options, Spanned};

use crate::config::diagnostic::Diagnostic;

/// Keys and list indices from the top of the document.
pub(crate) type Path = Vec<String>;

/// Line and column, from 1.
pub(crate) type Spot = (usize, usize);

/// What stands at a place, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Nothing,
    Scalar,
    List,
    Map,
}

/// Where one node is.
#[derive(Clone, Copy, Debug)]
struct Place {
    key: Option<Spot>,
    value: Spot,
    kind: Kind,
}

/// The places of one text.
#[derive(Debug, Default)]
pub(crate) struct Places {
    by_path: BTreeMap<Path, Place>,
    duplicates: Vec<(Path, Spot)>,
}

/// How this program reads YAML: `yes` is a text, not a truth value; positions instead of ready-made snippets.
pub(crate) fn yaml_options(duplicate_keys: DuplicateKeyPolicy) -> Options {
    serde_yaml::options! { strict_booleans: true, with_snippet: false, duplicate_keys: duplicate_keys }
}

impl Places {
    /// Walks the text. The error is the parser's, with its place.
    pub(crate) fn of(text: &str) -> Result<Places, Box<serde_yaml::Error>> {
        let mut places = Places::default();
        let root: Spanned<Option<Node>> =
            serde_yaml::from_str_with_options(text, yaml_options(DuplicateKeyPolicy::PassThrough))?;
        let at = spot(root.referenced);
        if let Some(node) = root.value {
            places.add(Path::new(), None, at, node);
        }
        Ok(places)
    }

    fn add(&mut self, path: Path, key: Option<Spot>, value: Spot, node: Node) {
        self.by_path.insert(path.clone(), Place { key, value, kind: node.kind() });
        let below = |step: String| path.iter().cloned().chain([step]).collect::<Path>();
        match node {
            Node::Nothing | Node::Scalar => {}
            Node::List(items) => {
                for (index, item) in items.into_iter().enumerate() {
                    self.add(below(index.to_string()), None, spot(item.referenced), item.value);
                }
            }
            Node::Map(entries) => {
                let mut seen = HashSet::<String, std::hash::BuildHasherDefault<std::hash::DefaultHasher>>::default();
                for (name, item) in entries {
                    let key = spot(name.referenced);
                    if seen.insert(name.value.clone()) {
                        self.add(below(name.value), Some(key), spot(item.referenced), item.value);
                    } else {
                        self.duplicates.push((below(name.value), key));
                    }
                }
            }
        }
    }

    /// Where the value is; for a mapping or list under a key, where that key is; for a path that is not there, its
    /// nearest part that is.
    pub(crate) fn value(&self, path: &[String]) -> Option<Spot> {
        self.nearest(path).map(|(place, whole)| match place.key {
            Some(key) if !whole || place.kind != Kind::Scalar => key,
            _ => place.value,
        })
    }

    /// Where the key is; for a list item, where the item is.
    pub(crate) fn key(&self, path: &[String]) -> Option<Spot> {
        self.nearest(path).map(|(place, _)| place.key.unwrap_or(place.value))
    }

    fn nearest(&self, path: &[String]) -> Option<(&Place, bool)> {
        (0..=path.len()).rev().find_map(|len| Some((self.by_path.get(&path[..len])?, len == path.len())))
    }

    /// What stands at the path, in words.
    pub(crate) fn kind(&self, path: &[String]) -> &'static str {
        match self.by_path.get(path).map(|place| place.kind) {
            None | Some(Kind::Nothing) => "empty",
            Some(Kind::Scalar) => "a single value",
            Some(Kind::List) => "a list",
            Some(Kind::Map) => "a mapping",
        }
    }

    /// True if the path is in the text.
    pub(crate) fn has(&self, path: &[String]) -> bool {
        self.by_path.contains_key(path)
    }

    /// The number of items of the list at `path`.
    pub(crate) fn list_len(&self, path: &[String]) -> usize {
        (0..).take_while(|index: &usize| self.by_path.contains_key(&[path, &[index.to_string()]].concat())).count()
    }

    /// Keys that stand twice in one mapping: the second one's path and place.
    pub(crate) fn duplicates(&self) -> &[(Path, Spot)] {
        &self.duplicates
    }
}

/// The source line of a spot, with the finding's other parts left to the caller.
pub(crate) fn placed(file: &str, text: &str, at: Option<Spot>, message: impl Into<String>) -> Diagnostic {
    let (line, column) = at.unwrap_or((0, 0));
    let snippet = line.checked_sub(1).and_then(|skip| text.lines().nth(skip)).map(|line| line.trim_end().to_string());
    Diagnostic { file: file.into(), line, column, message: message.into(), snippet, ..Diagnostic::default() }
}

/// A parser's location as a spot.
pub(crate) fn spot(location: Location) -> Spot {
    (location.line() as usize, location.column() as usize)
}

/// A node without its value.
enum Node {
    Nothing,
    Scalar,
    List(Vec<Spanned<Node>>),
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
}

impl Node {
    fn kind(&self) -> Kind {
        match self {
            Node::Nothing => Kind::Nothing,
            Node::Scalar => Kind::Scalar,
            Node::List(_) => Kind::List,
            Node::Map(_) => Kind::Map,
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Walk)
    }
}

struct Walk;

macro_rules! scalars {
    ($($visit:ident: $type:ty),*) => { $(fn $visit<E>(self, _: $type) -> Result<Node, E> { Ok(Node::Scalar) })* };
}

impl<'de> Visitor<'de> for Walk {
    type Value = Node;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("YAML")
    }

    scalars!(visit_bool: bool, visit_i64: i64, visit_i128: i128, visit_u64: u64, visit_u128: u128, visit_f64: f64,
        visit_str: &str, visit_bytes: &[u8]);

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Nothing)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Nothing)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Map(entries))
    }
}
