//! The numbers of `blkecho status --json` that runs judge by.

use anyhow::{Context, Result};
use serde_json::Value;

/// Counters of the running processes; each starts anew with its process.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status {
    /// Bytes that were read back from the disk and sent again.
    pub(crate) resynced_bytes: u64,
    /// Times that everything had to be sent.
    pub(crate) full_syncs: u64,
    /// Events that the kernel could not hand over, for whatever reason.
    pub(crate) lost: u64,
}

impl Status {
    /// Finds the counters wherever in the document they stand.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let document: Value = serde_json::from_str(text).context("`status --json` printed something else")?;
        let find = |key: &str| sum(&document, key).with_context(|| format!("`status --json` names no `{key}`: {text}"));
        Ok(Self { resynced_bytes: find("resynced_bytes")?, full_syncs: find("full_syncs")?, lost: find("lost")? })
    }
}

/// All numbers under a key, anywhere; a group of numbers (losses by reason) counts as their sum.
fn sum(value: &Value, key: &str) -> Option<u64> {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter_map(|(name, value)| if name == key { Some(total(value)) } else { sum(value, key) })
            .reduce(|a, b| a + b),
        Value::Array(values) => values.iter().filter_map(|value| sum(value, key)).reduce(|a, b| a + b),
        _ => None,
    }
}

fn total(value: &Value) -> u64 {
    match value {
        Value::Object(fields) => fields.values().map(total).sum(),
        Value::Array(values) => values.iter().map(total).sum(),
        value => value.as_u64().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_at_any_depth() {
        let text = r#"[{"role": "primary", "lost": {"ring": 2, "table": 1},
                       "counters": {"resynced_bytes": 4096, "full_syncs": 1}}, {"role": "standby"}]"#;
        let expected = Status { resynced_bytes: 4096, full_syncs: 1, lost: 3 };
        assert_eq!(Status::parse(text).expect("all there"), expected);
    }

    #[test]
    fn a_missing_counter_is_no_zero() {
        assert!(Status::parse(r#"{"resynced_bytes": 1, "full_syncs": 0}"#).is_err());
        assert!(Status::parse("no json").is_err());
    }
}
