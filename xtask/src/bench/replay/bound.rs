//! What the order of a recording leaves of the throughput, between the kinds of devices for which that was computed.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// One kind: how many commands it serves at once, how much the times for that vary, and what the order leaves there.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Kind {
    units: f64,
    variation: f64,
    ratio: f64,
}

/// What `replay-bench --bounds` told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bounds(Vec<Kind>);

impl Bounds {
    /// From its output.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let list: Vec<Value> = serde_json::from_str(text.trim()).context("replay-bench --bounds printed no list")?;
        ensure!(!list.is_empty(), "replay-bench --bounds tells of no kind of device");
        let kind = |value: &Value| {
            let number = |key: &str| value[key].as_f64().with_context(|| format!("--bounds tells no {key}"));
            Ok(Kind { units: number("units")?, variation: number("variation")?, ratio: number("ratio")? })
        };
        list.iter().map(kind).collect::<Result<_>>().map(Self)
    }

    /// For a device between those kinds: linear in the variation and in the logarithm of the units. A device beyond them is
    /// taken for the last one.
    pub(crate) fn ratio(&self, units: f64, variation: f64) -> Option<f64> {
        let at = |units: f64| {
            let kinds = self.0.iter().filter(|kind| kind.units == units);
            between(kinds.map(|kind| (kind.variation, kind.ratio)), variation)
        };
        let columns = self.0.iter().filter_map(|kind| Some((kind.units.log2(), at(kind.units)?)));
        between(columns, units.max(1.0).log2())
    }
}

/// The value at `place`, between the nearest points below and above it.
fn between(points: impl Iterator<Item = (f64, f64)> + Clone, place: f64) -> Option<f64> {
    let below = points.clone().filter(|(at, _)| *at <= place).max_by(|a, b| a.0.total_cmp(&b.0));
    let above = points.filter(|(at, _)| *at >= place).min_by(|a, b| a.0.total_cmp(&b.0));
    match (below, above) {
        (Some((low, from)), Some((high, to))) if low < high => Some(from + (to - from) * (place - low) / (high - low)),
        (below, above) => below.or(above).map(|(_, value)| value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"[{"units": 1, "variation": 0.0, "ratio": 1.0}, {"units": 1, "variation": 1.0, "ratio": 1.0},
        {"units": 4, "variation": 0.0, "ratio": 1.0}, {"units": 4, "variation": 1.0, "ratio": 0.5}]"#;

    #[test]
    fn kinds_in_between_are_in_between() {
        let bounds = Bounds::parse(TEXT).expect("parses");
        let ratio = |units, variation| bounds.ratio(units, variation).expect("kinds");
        assert_eq!([ratio(1.0, 0.3), ratio(4.0, 0.0), ratio(4.0, 1.0), ratio(4.0, 0.5)], [1.0, 1.0, 0.5, 0.75]);
        assert_eq!([ratio(2.0, 1.0), ratio(0.2, 1.0), ratio(32.0, 7.0)], [0.75, 1.0, 0.5]);
        assert_eq!(Bounds::default().ratio(1.0, 1.0), None);
        assert!(Bounds::parse("[]").is_err() && Bounds::parse("[{}]").is_err());
    }
}
