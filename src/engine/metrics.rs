//! Reads gauges from the Prometheus text format. Own code, because the parser crate at hand skips names with a colon
//! (`vllm:...`, `llamacpp:...`), which are all that is read here. A line that is not understood does not count.

/// The values of every series of `name` whose labels hold `label` (as `key="value"`; empty = any). Only finite values
/// from 0 upwards: nothing else is a sensible gauge here.
pub(super) fn values<'a>(text: &'a str, name: &'a str, label: &'a str) -> impl Iterator<Item = f64> + 'a {
    text.lines().filter_map(move |line| value(line.trim(), name, label))
}

/// The sum over all series of a count; `None` if there is no series.
pub(super) fn sum(text: &str, name: &str, label: &str) -> Option<u32> {
    // A float above u32::MAX becomes u32::MAX.
    values(text, name, label).reduce(|sum, value| sum + value).map(|sum| sum.round() as u32)
}

/// The largest of a share, at most 1; `None` if there is no series.
pub(super) fn largest_share(text: &str, name: &str) -> Option<f64> {
    values(text, name, "").reduce(f64::max).map(|share| share.min(1.0))
}

fn value(line: &str, name: &str, label: &str) -> Option<f64> {
    let rest = line.strip_prefix(name)?;
    let (labels, rest) = match rest.strip_prefix('{') {
        // Label values may hold braces, so the last one closes.
        Some(rest) => rest.rsplit_once('}')?,
        None if rest.starts_with([' ', '\t']) => ("", rest),
        None => return None,
    };
    let value: f64 = rest.split_whitespace().next()?.parse().ok()?;
    (labels.contains(label) && value.is_finite() && value >= 0.0).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_summed_and_other_names_are_not_touched() {
        let text = "# TYPE a:b gauge\na:b{engine=\"0\",m=\"x,}y\"} 2.0\na:b{engine=\"1\"} 3 1700000000\na:b_total 9\n";
        assert_eq!(sum(text, "a:b", ""), Some(5));
        assert_eq!(sum(text, "a:b", "engine=\"1\""), Some(3));
        assert_eq!(sum(text, "a:b_total", ""), Some(9));
        assert_eq!(sum(text, "a", ""), None);
    }

    #[test]
    fn senseless_values_do_not_count() {
        let text = "g NaN\ng -1\ng +Inf\ng\ng{\ng} 1\ng{x=\"1\"}\n";
        assert_eq!(sum(text, "g", ""), None);
        assert_eq!(sum("g 1e300\n", "g", ""), Some(u32::MAX));
        assert_eq!(largest_share("g 0.25\ng{e=\"1\"} 7\n", "g"), Some(1.0));
    }
}
