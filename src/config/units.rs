//! Sizes, times and shares in YAML: always with a unit. `32MiB`, `1.5GB` (powers of 1000), `30s`, `250ms`, `1m 30s`, `20%`.
//!
//! A bare number is refused with a hint: nobody should have to guess what `timeout: 30` means.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use serde::{Serialize, Serializer};

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// A span of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A span of time that can be switched off by writing `none`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanOrNone(pub Option<Duration>);

/// A share: 0 to 1, written in percent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Share(pub f64);

/// A share that can be switched off by writing `none`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ShareOrNone(pub Option<f64>);

const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];
const SIZE: &str = "a size with a unit, like 512KiB, 32MiB or 12GiB";
const SPAN: &str = "a time with a unit, like 250ms, 30s or 5m";
const SHARE: &str = "a share from 0% to 100%";
const SHARE_OR_NONE: &str = "a share from 0% to 100%, or none";
const SPAN_OR_NONE: &str = "a time with a unit, like 250ms, 30s or 5m, or none";

impl Size {
    /// From text. The largest is 2^63 - 1.
    pub fn parse(text: &str) -> Option<Size> {
        let (number, scale) =
            UNITS.iter().find_map(|(unit, scale)| Some((text.strip_suffix(unit)?.trim_end(), *scale)))?;
        if !number.starts_with(|letter: char| letter.is_ascii_digit()) {
            return None;
        }
        let bytes = match number.parse::<u64>() {
            Ok(whole) => whole.checked_mul(scale)?,
            Err(_) if number.chars().all(|letter| letter.is_ascii_digit() || letter == '.') => {
                (number.parse::<f64>().ok()? * scale as f64).round() as u64
            }
            Err(_) => return None,
        };
        (bytes <= i64::MAX as u64).then_some(Size(bytes))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = UNITS.iter().take(4).find(|(_, scale)| self.0 > 0 && self.0.is_multiple_of(*scale));
        let (unit, scale) = binary.copied().unwrap_or(("B", 1));
        write!(out, "{}{unit}", self.0 / scale)
    }
}

impl Span {
    /// From text. The longest is 100 years.
    pub fn parse(text: &str) -> Option<Span> {
        const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);
        if text == "0" {
            return None;
        }
        humantime::parse_duration(text).ok().filter(|span| *span <= LONGEST).map(Span)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        if Duration::from_millis(millis as u64) != self.0 {
            write!(out, "{}", humantime::format_duration(self.0))
        } else if millis.is_multiple_of(1000) {
            write!(out, "{}s", millis / 1000)
        } else {
            write!(out, "{millis}ms")
        }
    }
}

impl fmt::Display for SpanOrNone {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(span) => Span(span).fmt(out),
            None => out.write_str("none"),
        }
    }
}

impl Share {
    /// From text.
    pub fn parse(text: &str) -> Option<Share> {
        let number = text.strip_suffix('%')?.trim_end();
        if !number.bytes().all(|sign| sign.is_ascii_digit() || sign == b'.') {
            return None;
        }
        let percent: f64 = number.parse().ok()?;
        (0.0..=100.0).contains(&percent).then_some(Share(percent / 100.0))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}%", (self.0 * 1e10).round() / 1e8)
    }
}

impl fmt::Display for ShareOrNone {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(share) => Share(share).fmt(out),
            None => out.write_str("none"),
        }
    }
}

fn parse_share_or_none(text: &str) -> Option<ShareOrNone> {
    if text == "none" { Some(ShareOrNone(None)) } else { Share::parse(text).map(|share| ShareOrNone(Some(share.0))) }
}

fn parse_span_or_none(text: &str) -> Option<SpanOrNone> {
    if text == "none" { Some(SpanOrNone(None)) } else { Span::parse(text).map(|span| SpanOrNone(Some(span.0))) }
}

/// Reads one scalar's text by `parse`; `wanted` is what an error says is allowed.
struct Text<T> {
    parse: fn(&str) -> Option<T>,
    wanted: &'static str,
}

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.wanted)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text.trim()).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

macro_rules! unit {
    ($type:ident, $parse:expr, $wanted:expr, $pattern:expr) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Text { parse: $parse, wanted: $wanted })
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "description": $wanted, "pattern": $pattern })
            }
        }
    };
}

unit!(Size, Size::parse, SIZE, r"^([0-9.]+ ?([KMGT]i?)?B|.*\$\{.*)$");
unit!(Span, Span::parse, SPAN, r"^([0-9]+ ?[a-z]+ ?)+$|\$\{");
unit!(SpanOrNone, parse_span_or_none, SPAN_OR_NONE, r"^none$|^([0-9]+ ?[a-z]+ ?)+$|\$\{");
unit!(Share, Share::parse, SHARE, r"^[0-9.]+ ?%$|\$\{");
unit!(ShareOrNone, parse_share_or_none, SHARE_OR_NONE, r"^none$|^[0-9.]+ ?%$|\$\{");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_need_a_unit_and_round_trip() {
        assert_eq!(Size::parse("32MiB"), Some(Size(32 << 20)));
        assert_eq!(Size::parse("1.5 GB"), Some(Size(1_500_000_000)));
        assert_eq!(Size::parse("7B"), Some(Size(7)));
        for wrong in ["32", "MiB", "-1MiB", "1e3MiB", "9999999999TiB", "1..5GB", "infGiB", "", "12 GiBs"] {
            assert_eq!(Size::parse(wrong), None, "{wrong}");
        }
        for size in [Size(0), Size(1), Size(1536 << 10), Size(12 << 30), Size(1_000_001)] {
            assert_eq!(Size::parse(&size.to_string()), Some(size));
        }
    }

    #[test]
    fn times_need_a_unit_and_round_trip() {
        assert_eq!(Span::parse("250ms"), Some(Span(Duration::from_millis(250))));
        assert_eq!(Span::parse("1m 30s"), Some(Span(Duration::from_secs(90))));
        for wrong in ["30", "0", "s", "-1s", "1 fortnight", "101years", ""] {
            assert_eq!(Span::parse(wrong), None, "{wrong}");
        }
        for millis in [0, 1, 1500, 60_000, 300_000] {
            let span = Span(Duration::from_millis(millis));
            assert_eq!(Span::parse(&span.to_string()), Some(span));
        }
        assert_eq!(parse_span_or_none("none"), Some(SpanOrNone(None)));
    }

    #[test]
    fn shares_need_a_percent_sign_and_round_trip() {
        assert_eq!(Share::parse("20%"), Some(Share(0.2)));
        assert_eq!(Share::parse("12.5 %"), Some(Share(0.125)));
        for wrong in ["20", "0.2", "%", "-1%", "101%", "1e1%", "inf%", "NaN%", "1.2.3%", ""] {
            assert_eq!(Share::parse(wrong), None, "{wrong}");
        }
        for text in ["0%", "0.1%", "12.5%", "33.3%", "100%"] {
            assert_eq!(Share::parse(text).map(|share| share.to_string()).as_deref(), Some(text));
        }
        assert_eq!(parse_share_or_none("none"), Some(ShareOrNone(None)));
    }
}
