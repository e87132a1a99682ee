//! A strict reader of the Prometheus text format, version 0.0.4, for tests.
//!
//! More is asked for than Prometheus does: every family has HELP and TYPE, in this order and before its samples, which stand together;
//! no series and no family comes twice; counters are never negative, and whole but for those of seconds; histograms are cumulative and end with `+Inf`.

use std::collections::{BTreeMap, BTreeSet};

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct Exposition {
    /// By name.
    pub families: BTreeMap<String, Family>,
    /// By series: its name and its labels, in the order of their names, as `name{a="x",b="y"}`.
    pub samples: BTreeMap<String, f64>,
}

/// A metric.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Family {
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// What it says.
    pub help: String,
}

impl Exposition {
    /// The sum of a metric's series whose labels have all of these values (as `name="value"`).
    pub fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let of = self.samples.iter().filter(|(series, _)| series.split('{').next() == Some(name));
        of.filter(|(series, _)| labels.iter().all(|label| series.contains(label))).map(|(_, value)| value).sum()
    }

    /// The family of a sample's name: that of a histogram's parts is the histogram.
    pub fn family_of<'a>(&'a self, name: &'a str) -> &'a str {
        let part = ["_bucket", "_sum", "_count"].into_iter().find_map(|suffix| name.strip_suffix(suffix));
        part.filter(|family| self.families.get(*family).is_some_and(|family| family.kind == "histogram"))
            .unwrap_or(name)
    }
}

/// Reads a page.
///
/// Errors: what is wrong, and in which line (from 1).
pub fn parse(text: &str) -> Result<Exposition, String> {
    if !text.ends_with('\n') {
        return Err("the last line has no end".into());
    }
    let mut page = Exposition::default();
    let (mut current, mut closed) = (None::<String>, BTreeSet::new());
    for (number, line) in (1..).zip(text.lines()) {
        let failed = |why: &str| format!("line {number}: {why}: {line}");
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').ok_or_else(|| failed("no help"))?;
            let family = Family { help: help.into(), ..Family::default() };
            if !is_name(name) || page.families.insert(name.into(), family).is_some() {
                return Err(failed("no name, or told twice"));
            }
            closed.extend(current.replace(name.into()));
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').ok_or_else(|| failed("no type"))?;
            let family = page.families.get_mut(name).filter(|family| family.kind.is_empty());
            let known = ["counter", "gauge", "histogram"].contains(&kind) && current.as_deref() == Some(name);
            family.filter(|_| known).ok_or_else(|| failed("not after its help, or unknown"))?.kind = kind.into();
        } else if !line.is_empty() {
            let (series, name, value) = sample(line).ok_or_else(|| failed("no sample"))?;
            let family = page.family_of(&name).to_owned();
            if current.as_ref() != Some(&family) || closed.contains(&family) {
                return Err(failed("not with its family"));
            }
            let kind = page.families.get(&family).map(|family| family.kind.as_str()).unwrap_or_default();
            if kind.is_empty()
                || !value.is_finite()
                || kind != "gauge"
                    && (value < 0.0
                        || !name.ends_with("_sum") && !name.ends_with("_seconds_total") && value.fract() != 0.0)
            {
                return Err(failed("no type, or a value that it cannot have"));
            }
            if page.samples.insert(series, value).is_some() {
                return Err(failed("told twice"));
            }
        }
    }
    for (name, _) in page.families.iter().filter(|(_, family)| family.kind == "histogram") {
        is_histogram(name, text).ok_or_else(|| format!("{name} is no histogram"))?;
    }
    Ok(page)
}

/// Buckets that rise, in their bounds and counts, to `+Inf`, which is the count.
fn is_histogram(name: &str, text: &str) -> Option<()> {
    let (mut bound, mut count) = (f64::NEG_INFINITY, 0.0);
    let bucket = format!("{name}_bucket{{le=\"");
    for (le, rest) in text.lines().filter_map(|line| line.strip_prefix(&bucket)?.split_once("\"} ")) {
        let (le, here): (f64, f64) = (if le == "+Inf" { f64::INFINITY } else { le.parse().ok()? }, rest.parse().ok()?);
        if le <= bound || here < count {
            return None;
        }
        (bound, count) = (le, here);
    }
    let told = text.lines().find_map(|line| line.strip_prefix(&format!("{name}_count "))?.parse::<f64>().ok())?;
    let sum = text.lines().any(|line| line.starts_with(&format!("{name}_sum ")));
    (bound == f64::INFINITY && told == count && sum).then_some(())
}

/// A line's series, its metric, and its value.
fn sample(line: &str) -> Option<(String, String, f64)> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(mut inside) = rest.strip_prefix('{') {
        loop {
            let (label, after) = inside.split_once("=\"")?;
            let close = closing_quote(after)?;
            let (value, after) = after.split_at(close);
            if !is_name(label) || label.contains(':') || labels.insert(label, value).is_some() {
                return None;
            }
            let after = after.strip_prefix('"')?;
            if let Some(after) = after.strip_prefix('}') {
                rest = after;
                break;
            }
            inside = after.strip_prefix(',')?;
        }
    }
    let value = rest.strip_prefix(' ')?.parse().ok()?;
    let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    let series = if labels.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", labels.join(",")) };
    is_name(name).then(|| (series, name.to_owned(), value))
}

/// Where a label's value ends; `None` too where it has an escape that there is none.
fn closing_quote(text: &str) -> Option<usize> {
    let mut octets = text.bytes().enumerate();
    while let Some((at, octet)) = octets.next() {
        match octet {
            b'"' => return Some(at),
            b'\\' if !matches!(octets.next(), Some((_, b'\\' | b'"' | b'n'))) => return None,
            _ => {}
        }
    }
    None
}

fn is_name(name: &str) -> bool {
    let mut octets = name.bytes();
    octets.next().is_some_and(|first| first.is_ascii_alphabetic() || b"_:".contains(&first))
        && octets.all(|octet| octet.is_ascii_alphanumeric() || b"_:".contains(&octet))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# HELP a_total All.\n# TYPE a_total counter\na_total{y=\"2\",x=\"1 \\\" }\"} 3\n\n# HELP b Now.\n# TYPE b gauge\nb -1.5\n";

    #[test]
    fn a_good_page_is_read() {
        let page = parse(GOOD).unwrap();
        assert_eq!(page.samples["a_total{x=\"1 \\\" }\",y=\"2\"}"], 3.0);
        assert_eq!(
            (page.samples["b"], page.sum("a_total", &["y=\"2\""]), page.sum("a_total", &["y=\"1\""])),
            (-1.5, 3.0, 0.0)
        );
        assert_eq!(page.families["b"], Family { kind: "gauge".into(), help: "Now.".into() });
    }

    #[test]
    fn what_is_wrong_is_told() {
        let histogram = |body: &str| format!("# HELP h H.\n# TYPE h histogram\n{body}");
        for bad in [
            GOOD.trim_end().to_owned(),
            GOOD.to_owned() + "b 2\n",
            GOOD.to_owned() + "a_total 2\n",
            GOOD.to_owned() + "# HELP b Again.\n",
            GOOD.to_owned() + "c 2\n",
            GOOD.replace("# TYPE b gauge\n", ""),
            GOOD.replace("} 3", "} -3"),
            GOOD.replace("} 3", "} 3.5"),
            GOOD.replace("} 3", "} three"),
            GOOD.replace("y=", "x="),
            GOOD.replace("\\\"", "\\t"),
            GOOD.replace("-1.5", "NaN"),
            histogram("h_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n"),
            histogram("h_bucket{le=\"1\"} 2\nh_sum 1\nh_count 2\n"),
            histogram("h_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 3\nh_sum 1\nh_count 2\n"),
        ] {
            assert!(parse(&bad).is_err(), "{bad}");
        }
        let good = histogram("h_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 3\nh_sum 1.5\nh_count 3\n");
        assert!(parse(&good).is_ok(), "{:?}", parse(&good));
    }
}
