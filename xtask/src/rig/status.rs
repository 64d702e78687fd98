//! The numbers of `blkecho status --json` that runs judge by.

use anyhow::{Context, Result};
use serde_json::Value;

/// Losses that count as lost; the other reasons name what the kernel never showed or what arrived late.
const LOST: [&str; 7] =
    ["completions", "payloads", "payloads_missing", "payloads_shed", "table_full", "unreadable", "malformed"];

/// Counters of the running agent. What it counts itself starts anew with it; losses in the kernel are the probe's.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status {
    /// Bytes that were read back from the disk and sent again.
    pub(crate) resynced_bytes: u64,
    /// Times that everything had to be sent.
    pub(crate) full_syncs: u64,
    /// Events or payloads that did not come through although the kernel showed them, for whatever reason.
    pub(crate) lost: u64,
    /// Commands whose completion the kernel hid; their regions are read back.
    pub(crate) unseen: u64,
}

impl Status {
    /// Finds the agent among the services of the document. A missing counter is an error, never a zero.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let services: Vec<Value> = serde_json::from_str(text).context("`status --json` printed something else")?;
        let agent = services.iter().find(|service| service["role"] == "primary");
        let agent = agent.with_context(|| format!("`status --json` tells of no primary: {text}"))?;
        let find = |key: &str| {
            let number = agent.pointer(&format!("/status/{key}")).and_then(Value::as_u64);
            number.with_context(|| format!("`status --json` names no `{key}`: {text}"))
        };
        let lost: Result<Vec<u64>> = LOST.iter().map(|reason| find(&format!("losses/{reason}"))).collect();
        Ok(Self {
            resynced_bytes: find("resynced_bytes")?,
            full_syncs: find("full_syncs")?,
            lost: lost?.into_iter().sum(),
            unseen: find("losses/unseen")?,
        })
    }
}

/// Whether the standby has no primary and has applied all that it holds.
pub(super) fn is_settled(text: &str) -> Result<bool> {
    let services: Vec<Value> = serde_json::from_str(text).context("`status --json` printed something else")?;
    let standby = services.iter().find(|service| service["role"] == "standby");
    Ok(standby
        .is_some_and(|standby| standby["status"]["state"] == "Listening" && standby["status"]["queued_entries"] == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOSSES: &str = r#"{"completions": 2, "payloads": 1, "payloads_missing": 0, "payloads_shed": 0,
        "table_full": 0, "untracked": 0, "unreadable": 0, "malformed": 0, "unseen": 7, "late": 9}"#;

    fn document(status: &str) -> String {
        format!(r#"[{{"role": "standby", "status": {{}}}}, {{"role": "primary", "status": {status}}}]"#)
    }

    #[test]
    fn the_agent_is_found_and_what_was_hidden_is_no_loss() {
        let text = document(&format!(r#"{{"resynced_bytes": 4096, "full_syncs": 1, "losses": {LOSSES}}}"#));
        let expected = Status { resynced_bytes: 4096, full_syncs: 1, lost: 3, unseen: 7 };
        assert_eq!(Status::parse(&text).expect("all there"), expected);
    }

    #[test]
    fn a_missing_counter_is_no_zero() {
        assert!(Status::parse(&document(r#"{"resynced_bytes": 1, "full_syncs": 0, "losses": {}}"#)).is_err());
        assert!(Status::parse(r#"[{"role": "standby", "status": {}}]"#).is_err());
        assert!(Status::parse("no json").is_err());
    }
}
