//! What a running gateway counted, read from its metrics.

use std::collections::BTreeMap;

use super::{Item, MONTH_SECONDS, Usage};

/// The counters of one export since the gateway started.
#[derive(Clone, Debug, PartialEq)]
pub struct Metered {
    /// How long they counted, in seconds.
    pub seconds: f64,
    /// What they counted.
    pub counted: Usage,
}

/// Why the metrics tell nothing of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoMeter {
    /// No counters of that export.
    #[error("the metrics know no export {0:?} in an object store")]
    NoExport(String),
    /// The start of the process is missing.
    #[error("the metrics do not tell when the gateway started")]
    NoStart,
}

impl Metered {
    /// Reads the counters of `export` out of the text of /metrics, fetched at `now` (seconds since 1970).
    ///
    /// # Errors
    /// See [`NoMeter`].
    pub fn parse(text: &str, export: &str, now: f64) -> Result<Self, NoMeter> {
        let mut counted = Usage::default();
        let mut start = None;
        for (name, labels, value) in text.lines().filter_map(sample) {
            if name == "nbdgate_process_start_time_seconds" {
                start = Some(value);
            }
            let label = |key: &str| labels.get(key).map(String::as_str);
            let Some(cause) = label("cause").filter(|_| label("export") == Some(export)) else { continue };
            let mut item = Item::default();
            match (name, label("method"), label("direction")) {
                ("nbdgate_object_requests_total", Some("put" | "list"), _) => item.puts = value,
                ("nbdgate_object_requests_total", Some("get"), _) => item.gets = value,
                ("nbdgate_object_requests_total", Some("delete"), _) => item.deletes = value,
                ("nbdgate_object_bytes_total", _, Some("up")) => item.sent = value,
                ("nbdgate_object_bytes_total", _, Some("down")) => item.received = value,
                _ => continue,
            }
            counted.add(cause, &item);
        }
        if counted.causes.is_empty() {
            return Err(NoMeter::NoExport(export.to_owned()));
        }
        let start = start.ok_or(NoMeter::NoStart)?;
        Ok(Self { seconds: (now - start).max(1.0), counted })
    }

    /// The same at the same rate for a month, with `stored` bytes in the store.
    pub fn month(&self, stored: f64) -> Usage {
        let factor = MONTH_SECONDS / self.seconds;
        let causes = self.counted.causes.iter().map(|(cause, item)| (cause.clone(), item.times(factor)));
        Usage { causes: causes.collect(), stored }
    }
}

/// Name, labels and value of a line of the text format.
fn sample(line: &str) -> Option<(&str, BTreeMap<&str, String>, f64)> {
    if line.starts_with('#') {
        return None;
    }
    let (head, value) = line.rsplit_once(' ')?;
    let (name, labels) = head.split_once('{').unwrap_or((head, ""));
    let mut found = BTreeMap::new();
    let mut rest = labels.trim_end_matches('}');
    while let Some((key, after)) = rest.split_once("=\"") {
        let (value, end) = quoted(after)?;
        found.insert(key.trim_start_matches(','), value);
        rest = &after[end..];
    }
    Some((name, found, value.parse().ok()?))
}

/// A label's value up to its closing quote, and where it ends.
fn quoted(text: &str) -> Option<(String, usize)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, at + 1)),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# HELP nbdgate_object_requests_total Requests.
nbdgate_process_start_time_seconds 1000
nbdgate_object_requests_total{export=\"vm\",method=\"put\",cause=\"segment\",outcome=\"ok\"} 10
nbdgate_object_requests_total{export=\"vm\",method=\"put\",cause=\"segment\",outcome=\"failed\"} 2
nbdgate_object_requests_total{export=\"vm\",method=\"get\",cause=\"read\",outcome=\"ok\"} 5
nbdgate_object_bytes_total{export=\"vm\",direction=\"up\",cause=\"segment\"} 4096
nbdgate_object_requests_total{export=\"a\\\"b\",method=\"get\",cause=\"read\",outcome=\"ok\"} 7
";

    #[test]
    fn counters_become_a_month() {
        let metered = Metered::parse(TEXT, "vm", 1000.0 + MONTH_SECONDS / 2.0).expect("counters");
        let month = metered.month(100.0);
        assert_eq!(month.causes["segment"], Item { puts: 24.0, sent: 8192.0, ..Item::default() });
        assert_eq!((month.causes["read"].gets, month.stored), (10.0, 100.0));
    }

    #[test]
    fn names_with_quotes_are_found_and_unknown_ones_told() {
        let quoted = Metered::parse(TEXT, "a\"b", 2000.0).expect("counters");
        assert_eq!(quoted.counted.total(), Item { gets: 7.0, ..Item::default() });
        assert_eq!(Metered::parse(TEXT, "x", 2000.0), Err(NoMeter::NoExport("x".to_owned())));
        let without = TEXT.replace("nbdgate_process_start_time_seconds", "other");
        assert_eq!(Metered::parse(&without, "vm", 2000.0), Err(NoMeter::NoStart));
    }
}
