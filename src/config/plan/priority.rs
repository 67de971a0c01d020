//! A request's class in the queue: the lower goes first; equal ones by arrival.
//!
//! A request that says nothing, or something that is no class, has the default. What it says is brought into the range.

use std::sync::Arc;

/// Where a request's class comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PriorityPlan {
    /// The route.
    Fixed(i16),
    /// A header of the request.
    Header {
        /// Its name, lower case.
        name: Arc<str>,
        /// What may be asked for.
        range: PriorityRange,
    },
    /// A field at the top of the JSON body.
    Body {
        /// Its name; `service_tier` has words instead of numbers.
        field: Arc<str>,
        /// What may be asked for.
        range: PriorityRange,
    },
}

/// The classes that a request may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PriorityRange {
    /// The most urgent.
    pub min: i16,
    /// The least urgent.
    pub max: i16,
    /// Of a request that does not say.
    pub default: i16,
}

impl Default for PriorityPlan {
    fn default() -> Self {
        PriorityPlan::Fixed(0)
    }
}

impl PriorityPlan {
    /// The class of a request with this text in the header or field: of a number its digits, of a text the text itself.
    pub fn class(&self, written: Option<&str>) -> i16 {
        let (range, words) = match self {
            PriorityPlan::Fixed(class) => return *class,
            PriorityPlan::Header { range, .. } => (range, false),
            PriorityPlan::Body { field, range } => (range, **field == *"service_tier"),
        };
        let written = written.map(str::trim).unwrap_or_default();
        let class = tier(written).filter(|_| words).or_else(|| number(written));
        class.map_or(range.default, |class| class.clamp(range.min, range.max))
    }
}

/// What the words of `service_tier` stand for.
fn tier(word: &str) -> Option<i16> {
    match word {
        "priority" => Some(-100),
        "default" | "auto" | "standard" => Some(0),
        "flex" | "batch" => Some(100),
        _ => None,
    }
}

/// A whole number; one that is too large for a class is the nearest that is not.
fn number(digits: &str) -> Option<i16> {
    let plain = digits.strip_prefix(['-', '+']).unwrap_or(digits);
    if plain.is_empty() || !plain.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let beyond = if digits.starts_with('-') { i16::MIN } else { i16::MAX };
    Some(digits.parse().unwrap_or(beyond))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_what_is_written_within_the_range() {
        let range = PriorityRange { min: -50, max: 100, default: 7 };
        let header = PriorityPlan::Header { name: "x-priority".into(), range };
        let field = PriorityPlan::Body { field: "priority".into(), range };
        let tier = PriorityPlan::Body { field: "service_tier".into(), range };
        for (plan, written, class) in [
            (&header, Some("3"), 3),
            (&header, Some(" -7 "), -7),
            (&header, Some("+8"), 8),
            (&header, Some("-2047"), -50),
            (&header, Some("99999999999999999999"), 100),
            (&header, Some("-99999999999999999999"), -50),
            (&header, Some("high"), 7),
            (&header, Some("priority"), 7),
            (&header, Some("1.5"), 7),
            (&header, Some("-"), 7),
            (&header, Some(""), 7),
            (&header, None, 7),
            (&field, Some("-20"), -20),
            (&field, Some("flex"), 7),
            (&tier, Some("priority"), -50),
            (&tier, Some("default"), 0),
            (&tier, Some("auto"), 0),
            (&tier, Some("standard"), 0),
            (&tier, Some("flex"), 100),
            (&tier, Some("batch"), 100),
            (&tier, Some("scale"), 7),
            (&tier, Some("12"), 12),
            (&PriorityPlan::Fixed(-3), Some("5"), -3),
        ] {
            assert_eq!(plan.class(written), class, "{plan:?} {written:?}");
        }
    }
}
