//! A deserializer around another that knows its path, leaves out what is marked broken, and fills in `${VAR}`.
//!
//! Serde stops at the first error. So a text is read again and again: every run reports one error and marks its path;
//! the next run skips that key or list item as if it were not there. What comes out in the end is all errors, and a
//! value made of everything that is sound. See [`crate::config::document`].

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    Visitor,
};

use crate::config::expand::{Env, expand};
use crate::config::places::Path;

/// What one run over the text shares.
pub(crate) struct Run<'c> {
    /// Paths to leave out.
    pub(crate) broken: &'c BTreeSet<Path>,
    /// Where variables come from.
    pub(crate) env: &'c Env<'c>,
    /// Where the run is.
    pub(crate) path: RefCell<Path>,
    /// Where it failed first: the innermost path, and whether the key itself is to blame.
    pub(crate) failed: RefCell<Option<(Path, bool)>>,
}

impl Run<'_> {
    /// Notes the innermost failing path; the errors of its parents say the same again.
    fn fail<E>(&self, error: E, at_key: bool) -> E {
        self.failed.borrow_mut().get_or_insert_with(|| (self.path.borrow().clone(), at_key));
        error
    }

    fn enter(&self, step: String) -> bool {
        let mut path = self.path.borrow_mut();
        path.push(step);
        !self.broken.contains(&*path)
    }

    fn leave(&self) {
        self.path.borrow_mut().pop();
    }
}

/// The deserializer.
pub(crate) struct Recovering<'c, D> {
    pub(crate) inner: D,
    pub(crate) run: &'c Run<'c>,
}

macro_rules! forward {
    ($($method:ident($($arg:ident: $type:ty),*))*) => {
        $(fn $method<V: Visitor<'de>>(self, $($arg: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method($($arg,)* Watch { inner: visitor, run: self.run, parse: false })
        })*
    };
}

/// Numbers and truth values are asked for as whatever stands there, so that a variable can hold one and an error can
/// say what was found.
macro_rules! ask_for_any {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.inner.deserialize_any(Watch { inner: visitor, run: self.run, parse: true })
        })*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Recovering<'_, D> {
    type Error = D::Error;

    ask_for_any! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64
    }

    forward! {
        deserialize_any()
        deserialize_char()
        deserialize_str()
        deserialize_string()
        deserialize_bytes()
        deserialize_byte_buf()
        deserialize_option()
        deserialize_unit()
        deserialize_unit_struct(name: &'static str)
        deserialize_newtype_struct(name: &'static str)
        deserialize_seq()
        deserialize_tuple(len: usize)
        deserialize_tuple_struct(name: &'static str, len: usize)
        deserialize_map()
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
        deserialize_identifier()
        deserialize_ignored_any()
    }
}

/// The visitor around the caller's visitor.
struct Watch<'c, V> {
    inner: V,
    run: &'c Run<'c>,
    /// True if a filled-in text stands for a number or a truth value.
    parse: bool,
}

impl<'de, V: Visitor<'de>> Watch<'_, V> {
    fn filled<E: Error>(self, raw: &str, text: &str) -> Result<V::Value, E> {
        if !self.parse {
            return self.inner.visit_str(text);
        }
        if let Ok(number) = text.parse::<u64>() {
            self.inner.visit_u64(number)
        } else if let Ok(number) = text.parse::<i64>() {
            self.inner.visit_i64(number)
        } else if let Ok(number) = text.parse::<f64>() {
            self.inner.visit_f64(number)
        } else if let Ok(truth) = text.parse::<bool>() {
            self.inner.visit_bool(truth)
        } else {
            Err(E::invalid_type(Unexpected::Str(raw), &self.inner))
        }
    }
}

macro_rules! pass {
    ($($visit:ident: $type:ty),*) => {
        $(fn $visit<E: Error>(self, value: $type) -> Result<V::Value, E> { self.inner.$visit(value) })*
    };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Watch<'_, V> {
    type Value = V::Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(out)
    }

    pass!(visit_bool: bool, visit_i8: i8, visit_i16: i16, visit_i32: i32, visit_i64: i64, visit_i128: i128,
        visit_u8: u8, visit_u16: u16, visit_u32: u32, visit_u64: u64, visit_u128: u128, visit_f32: f32,
        visit_f64: f64, visit_char: char, visit_bytes: &[u8], visit_byte_buf: Vec<u8>);

    fn visit_str<E: Error>(self, text: &str) -> Result<V::Value, E> {
        if !text.contains('$') {
            return self.inner.visit_str(text);
        }
        let filled = expand(text, self.run.env).map_err(E::custom)?;
        self.filled(text, &filled)
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.inner.visit_some(Recovering { inner, run: self.run })
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.inner.visit_newtype_struct(Recovering { inner, run: self.run })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        self.inner.visit_seq(Items { inner, run: self.run, index: 0 })
    }

    fn visit_map<A: MapAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        self.inner.visit_map(Entries { inner, run: self.run, key: String::new() })
    }

    fn visit_enum<A: EnumAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        self.inner.visit_enum(inner)
    }
}

struct Items<'c, A> {
    inner: A,
    run: &'c Run<'c>,
    index: usize,
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Items<'_, A> {
    type Error = A::Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, A::Error> {
        loop {
            let sound = self.run.enter(self.index.to_string());
            self.index += 1;
            if sound {
                let item = self.inner.next_element_seed(Seed { inner: seed, run: self.run });
                let item = item.map_err(|error| self.run.fail(error, false))?;
                self.run.leave();
                return Ok(item);
            }
            self.run.leave();
            if self.inner.next_element::<IgnoredAny>()?.is_none() {
                return Ok(None);
            }
        }
    }
}

struct Entries<'c, A> {
    inner: A,
    run: &'c Run<'c>,
    key: String,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Entries<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        while let Some(key) = self.inner.next_key::<String>()? {
            if self.run.enter(key.clone()) {
                let name = seed.deserialize(key.as_str().into_deserializer());
                let name = name.map_err(|error| self.run.fail(error, true))?;
                self.run.leave();
                self.key = key;
                return Ok(Some(name));
            }
            self.run.leave();
            self.inner.next_value::<IgnoredAny>()?;
        }
        Ok(None)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        self.run.enter(std::mem::take(&mut self.key));
        let value = self.inner.next_value_seed(Seed { inner: seed, run: self.run });
        let value = value.map_err(|error| self.run.fail(error, false))?;
        self.run.leave();
        Ok(value)
    }
}

struct Seed<'c, S> {
    inner: S,
    run: &'c Run<'c>,
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Seed<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        self.inner.deserialize(Recovering { inner, run: self.run })
    }
}
