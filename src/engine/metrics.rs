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

/// The sum over the values of `label` of a count that several series may tell alike: of those with the same value (or
/// none) the largest counts. `None` if there is no series.
pub(super) fn sum_of_groups(text: &str, name: &str, label: &str) -> Option<u32> {
    let mut groups: Vec<(Option<&str>, f64)> = Vec::new();
    for line in text.lines().map(str::trim) {
        let Some(value) = value(line, name, "") else { continue };
        let group = label_value(line, label);
        match groups.iter_mut().find(|(known, _)| *known == group) {
            Some((_, largest)) => *largest = largest.max(value),
            None => groups.push((group, value)),
        }
    }
    groups.into_iter().map(|(_, value)| value).reduce(|sum, value| sum + value).map(|sum| sum.round() as u32)
}

/// The value of a label, as far as its first quote.
fn label_value<'a>(line: &'a str, label: &str) -> Option<&'a str> {
    let (labels, _) = line.split_once('{')?.1.rsplit_once('}')?;
    let mut starts = labels.match_indices(label);
    starts.find_map(|(at, _)| {
        let begins = at == 0 || labels[..at].ends_with(',');
        let value = labels[at + label.len()..].strip_prefix("=\"")?;
        begins.then(|| value.split('"').next()).flatten()
    })
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
    fn series_of_one_group_are_not_added() {
        let text =
            "g{tp_rank=\"0\",dp_rank=\"0\"} 3\ng{tp_rank=\"1\",dp_rank=\"0\"} 3\ng{tp_rank=\"0\",dp_rank=\"1\"} 4\n";
        assert_eq!(sum_of_groups(text, "g", "dp_rank"), Some(7));
        assert_eq!(sum_of_groups("g{tp_rank=\"0\"} 3\ng{tp_rank=\"1\"} 5\n", "g", "dp_rank"), Some(5));
        assert_eq!(sum_of_groups("g 2\n", "g", "dp_rank"), Some(2));
        assert_eq!(sum_of_groups("h 2\n", "g", "dp_rank"), None);
        assert_eq!(label_value("g{old_dp_rank=\"7\",dp_rank=\"1\"} 4", "dp_rank"), Some("1"));
    }

    #[test]
    fn senseless_values_do_not_count() {
        let text = "g NaN\ng -1\ng +Inf\ng\ng{\ng} 1\ng{x=\"1\"}\n";
        assert_eq!(sum(text, "g", ""), None);
        assert_eq!(sum("g 1e300\n", "g", ""), Some(u32::MAX));
        assert_eq!(largest_share("g 0.25\ng{e=\"1\"} 7\n", "g"), Some(1.0));
    }
}
